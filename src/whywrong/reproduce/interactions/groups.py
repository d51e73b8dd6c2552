"""Groups of images whose interactions are compared, correctly classified images and errors with three causes.

``correct`` images are predicted as labelled; ``clean_mis`` are misclassified without any change; ``adv_mis`` are
correct images that are misclassified after an attack; ``corrupt_mis`` are correct images that are misclassified after a
corruption; ``control`` are correct images that stay correct under the same corruptions. A made error refers to its
source, so that both can be measured with the same pairs, contexts and classes.

Source: Sumiyasu et al. 2022, arXiv 2210.03349 (the comparison; its attack and corruptions could not be read and are
ours); Ren et al. 2021 (attacks adjusted to one strength, the drop of the true class).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from whywrong.attacks.pgd import PGDConfig
from whywrong.core.errors import InputError
from whywrong.data.corruptions import KINDS, SEVERITIES

GROUPS = ("correct", "clean_mis", "adv_mis", "corrupt_mis", "control")
MADE = ("adv_mis", "corrupt_mis", "control")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsConfig:
    """Settings of :func:`whywrong.reproduce.interactions.make_groups.make_groups`, checked once, when built.

    Attributes:
        groups: Groups to make, of :data:`GROUPS`.
        per_group: Largest number of images of each; fewer than 20 cause a warning.
        eps: Radius of the linf attack in [0, 1] units.
        step_size: Length of its steps, [0, 1] units.
        steps: Its number of steps; all are taken, and the point of highest cross entropy is kept.
        random_start: Whether it starts at a random point of the ball.
        kinds: Corruptions, names of ``whywrong.data.corruptions``; errors are spread over them.
        severity: 1 to 5 for all; None uses for each image the smallest after which it is misclassified, or with
            ``matched_drop`` the one that comes closest to it.
        matched_drop: Drop of the log-odds of the true class, in nats, for attacked and corrupted images alike, so that
            their strengths match; ``corrupt_mis`` for the drop of the corrupted error of the same source; None does not
            adjust strengths. The attack is weakened along the straight line back to the image; with a number, corrupted
            images must come within ``drop_tolerance``.
        drop_tolerance: Share of ``matched_drop``, in (0, 1].
        skip_empty: Whether an empty group is omitted with a note instead of refused.
        seed: Seed of attack and corruption if the caller passes no keys.
    """

    groups: tuple[str, ...] = GROUPS
    per_group: int = 50
    eps: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 20
    random_start: bool = True
    kinds: tuple[str, ...] = ("gaussian_noise", "fog")
    severity: int | None = None
    matched_drop: float | Literal["corrupt_mis"] | None = None
    drop_tolerance: float = 0.25
    skip_empty: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_names("groups", self.groups, GROUPS)
        check_names("kinds", self.kinds, KINDS)
        if self.per_group < 2:
            raise InputError(f"per_group must be at least 2: one image has no interval; got {self.per_group}")
        if self.severity is not None and self.severity not in SEVERITIES:
            raise InputError(f"severity must be a whole number from 1 to 5, or none, got {self.severity!r}")
        if isinstance(self.matched_drop, str):
            if self.matched_drop != "corrupt_mis" or "corrupt_mis" not in self.groups:
                raise InputError(
                    'matched_drop is a number of nats, none, or "corrupt_mis" with that group among the groups; '
                    f"got {self.matched_drop!r}"
                )
        elif self.matched_drop is not None and not 0 < self.matched_drop < float("inf"):
            raise InputError(f"matched_drop must be a positive number of nats, got {self.matched_drop}")
        if not 0 < self.drop_tolerance <= 1:
            raise InputError(f"drop_tolerance must be in (0, 1], got {self.drop_tolerance}")
        _ = self.attack

    @property
    def attack(self) -> PGDConfig:
        """Settings of the attack."""
        return PGDConfig(
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            random_start=self.random_start,
            stop_early=False,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Images of one group, G of them.

    Attributes:
        name: One of :data:`GROUPS`.
        x: (G, C, H, W) in [0, 1].
        rows: (G,) int64, row of the caller's image that each is, or was made from.
        keys: (G,) int64, key of that image, shared by an error and its source.
        y: (G,) int64, true class.
        target: (G,) int64, the class t to compare with: the predicted one of an error, otherwise the runner-up. The
            source is measured with the same.
        log_odds: (G,) float64, log-odds of the true class, in nats.
        drop: (G,) float64, drop of the log-odds from the source; 0 for unchanged images.
        made_by: Change of each image: "", "pgd", or kind and severity of the corruption.
    """

    name: str
    x: Tensor
    rows: Tensor
    keys: Tensor
    y: Tensor
    target: Tensor
    log_odds: Tensor
    drop: Tensor
    made_by: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups by name, and how they were made.

    Attributes:
        groups: The requested groups.
        x: (N, C, H, W), the caller's images, including sources.
        settings: Attack, corruptions and strengths in one sentence.
        notes: Limits of the comparison.
        forwards, backwards: Passes needed to make them.
    """

    groups: dict[str, Group]
    x: Tensor
    settings: str
    notes: tuple[str, ...]
    forwards: int
    backwards: int

    def __getitem__(self, name: str) -> Group:
        if name not in self.groups:
            raise InputError(f"there is no group {name}; there are: {', '.join(self.groups)}")
        return self.groups[name]


def check_names(setting: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an empty list of names, a duplicate, or an unknown name.

    Raises:
        InputError: The message lists the setting and the known names.
    """
    odd = [name for name in names if name not in known]
    if odd:
        raise InputError(f"{setting} are of {', '.join(known)}; got {odd[0]!r}")
    if not names or len(set(names)) != len(names):
        raise InputError(f"{setting} must name at least one and none twice, got {list(names)}")
