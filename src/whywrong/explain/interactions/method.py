"""The profile of single errors: how strongly patches cooperate, over the number of other patches that are visible.

Source: Deng et al. 2022 (orders and strength), Sumiyasu et al. 2022 (misclassified images, vision transformers); the
unbiased square U, its error and the noise share are ours. Evidence of one image is small: the profile says how strong
and of which sign its cooperation is, order by order, with the noise of that statement beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.result import ColumnGroup, MethodResult, column, computed, nested, result_class
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.interactions.blocks import block_pairs
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import orders_of
from whywrong.explain.interactions.profile import Profile
from whywrong.explain.masking.coarse import coarse_players
from whywrong.explain.masking.pixels import Baseline
from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.masking.values import CLASSES, KINDS, ValueFunction
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import MethodCall

NUMBERS = ("A", "A_se", "J", "M", "M_se", "pos", "neg", "U", "U_se", "noise_share")
RATIOS = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilesConfig:
    """Settings of :func:`interactions`, checked once, when built.

    Attributes:
        value: ``log_odds``, ``log_prob``, ``logit`` or ``margin``: what a set of visible patches is worth, for the true
            class, the wrong one, and their difference, all from the same passes.
        estimator: ``balanced``, ``shared`` or ``faithful``.
        max_passes: Largest number of passes through the model for one error in total.
        contexts: Largest number of contexts of a pair at one order; the limit on passes is usually reached first.
        precision: Share in (0, 1) of the mean square that may be sampling noise: an order that needs no more contexts
            gets no more, which saves passes where the cap is high. Its pilot takes up to a third of the passes, so
            None, all the cap allows, tells more at the default cap.
        ratios: Orders, as shares in [0, 1] of the n - 2 other patches that are visible. Fewer orders than the 13 of the
            comparisons of groups, so that each can be told from noise in one image.
        blocks: Blocks of neighbouring patches whose pairs are measured, spread over the image.
        side: Patches per side of a block.
        radius: Largest distance of a pair, in patches.
        players: ``auto``, ``tokens`` or ``pixels``: see ``PlayersConfig``.
        grid: g for g x g patches; None uses the largest grid up to 8 x 8 that consists of whole patch tokens or divides
            the image. The comparisons of groups use finer ones.
        baseline: Replacement for hidden cells of pixels.
        seed: Seed of blocks and contexts if no keys are given.

    Example:
        >>> import whywrong as ww
        >>> ww.ProfilesConfig(max_passes=500).estimator
        'balanced'
    """

    value: Literal["log_odds", "log_prob", "logit", "margin"] = "log_odds"
    estimator: Literal["balanced", "shared", "faithful"] = "balanced"
    max_passes: int = 3000
    contexts: int = 256
    precision: float | None = None
    ratios: tuple[float, ...] = RATIOS
    blocks: int = 3
    side: int = 2
    radius: int = 1
    players: Literal["auto", "tokens", "pixels"] = "auto"
    grid: int | None = None
    baseline: Baseline = "image_mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.value not in KINDS:
            raise InputError(f"profiles.value must be one of {', '.join(KINDS)}, got {self.value!r}")
        for name, least in (("blocks", 1), ("side", 2), ("radius", 1)):
            if getattr(self, name) < least:
                raise InputError(f"profiles.{name} must be at least {least}, got {getattr(self, name)}")
        self.estimation((0,))
        PlayersConfig(kind=self.players, grid=self.grid, baseline=self.baseline)
        orders_of(1000, self.ratios)

    def estimation(self, orders: tuple[int, ...]) -> InteractionsConfig:
        """Return the settings with which these orders are estimated."""
        return InteractionsConfig(
            method=self.estimator,
            contexts=self.contexts,
            orders=orders,
            permutations=0,
            precision=None if self.estimator == "faithful" else self.precision,
            max_passes=self.max_passes,
            seed=self.seed,
        )


@result_class
class ProfileEntries(ColumnGroup):
    """Numbers of profiles, one entry an order and class, images one after the other; ``row`` is the image of each."""

    row: Tensor
    order: Sequence[int] = column("int64", "Other patches that are visible.")
    ratio: Sequence[float] = column("float64", "The same as a share of the n - 2 others.")
    value: Sequence[str] = column("string", "The value function, as `log_odds`.")
    of: Sequence[str] = column("string", "Whose value: `true`, `target` or `difference`.", name="class")
    A: Tensor = column("float64", "Mean absolute interaction of the pairs, in units of the value.")
    A_se: Tensor = column("float64", "Its standard error.")
    J: Tensor = column("float64", "A through its mean over the orders.")
    M: Tensor = column("float64", "Mean signed interaction.")
    M_se: Tensor = column("float64", "Its standard error.")
    pos: Tensor = column("float64", "Mean of the positive parts.")
    neg: Tensor = column("float64", "Mean of the negative parts.")
    U: Tensor = column("float64", "Mean square interaction without the upward noise; may be negative.")
    U_se: Tensor = column("float64", "Its standard error.")
    noise_share: Tensor = column("float64", "Share of the mean square that is sampling noise.")
    noisy: Tensor = column("bool", "Whether that share is over 30 %: the number is then not to be shown unmarked.")
    exact: Sequence[bool] = column("bool", "Whether all contexts of the order were taken.")
    units: Tensor = column("int64", "Independent draws behind the errors.")

    @staticmethod
    def of_profile(profile: Profile, rows: Tensor, value: str) -> ProfileEntries:
        """Flatten the profile of rows (N,) of a batch, orders outside, classes inside."""
        images, orders, classes = profile.A.shape
        every = {name: getattr(profile, name).flatten() for name in (*NUMBERS, "noisy")}

        def repeated(values: Sequence[Any]) -> list[Any]:
            return [value for value in values for _ in range(classes)] * images

        return ProfileEntries(
            row=rows.repeat_interleave(orders * classes),
            order=repeated(profile.orders),
            ratio=repeated(profile.ratios),
            value=[value] * (images * orders * classes),
            of=list(CLASSES) * (images * orders),
            exact=repeated(profile.exact),
            units=profile.units_used.flatten().repeat_interleave(classes),
            **every,
        )


@result_class
class ProfilesResult(MethodResult):
    """Profiles of a batch: of rows (N,) int64, those that are ``ok``, in their order; None where there are none.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.ProfilesConfig(grid=4, blocks=1, max_passes=200)
        >>> ww.interactions(classifier, x, y, config=config).grid
        (4, 4)
    """

    status: Sequence[Status] = column("string", "`ok`, `bad_input`, or `skipped`.")
    reason: Sequence[str | None] = column("string", "Why there is no profile; null otherwise.")
    kind: str | None = column("string", "`tokens` or `pixels`; null where no row was looked at.", name="players")
    fallback: str | None = column("string", "Why pixels took the place of tokens; null otherwise.")
    grid_rows: int = column("int64", "Rows of the grid of patches.", name="rows")
    grid_cols: int = column("int64", "Columns of the grid of patches.", name="cols")
    baseline: str | None = column("string", "What hid cells of pixels; null for tokens.")
    estimator: str = column("string", "How the interactions were estimated.")
    pairs: Sequence[int] = column("int64", "Pairs of patches that were measured; 0 without a profile.")
    target: Tensor = column(
        "int64",
        "The class that stands against the true one: the predicted one of an error, else the runner-up; -1 if unknown.",
    )
    entries: ProfileEntries | None = nested(ProfileEntries, as_rows=True)
    value: str
    profile: Profile | None
    rows: Tensor
    forwards: Tensor
    backwards: Tensor

    @computed("int64")
    def passes(self) -> Tensor:
        """Return the passes of each image through the model."""
        return self.forwards

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.grid_rows, self.grid_cols

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """``noise_share`` (B,): the largest over orders and classes; over 0.3, the profile is marked."""
        worst = torch.full((len(self.status),), torch.nan, dtype=torch.float64)
        if self.profile is not None:
            worst[self.rows] = self.profile.noise_share.amax((1, 2))
        return {"noise_share": worst}


@open_inputs
def interactions(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    config: ProfilesConfig | None = None,
) -> ProfilesResult:
    """Measure how strongly neighbouring patches cooperate, order by order.

    The strength is measured for the true and for the wrong class.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), K >= 2.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True class, (B,), int64, in 0..K-1.
        keys: Seed of each image's blocks and contexts, (B,), int64; default (config.seed, row).
        detail: (B,) bool, rows to explain; None explains all.
        config: Settings of the method; None uses the defaults.

    Returns:
        Profiles, with the passes they took: at most ``config.max_passes`` an image.

    Raises:
        InputError: A shape, type, class or grid breaks the contract above, or the cap on passes is too low.
        AccessError: The classifier grants labels only.
        CannotDropTokens: ``players`` is ``tokens`` and the model cannot drop tokens.
        NonFiniteError: The model returned NaN or infinity for an image or a part of it.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.ProfilesConfig(grid=4, blocks=1, max_passes=200)
        >>> ww.interactions(classifier, x, y, config=config).profile.A.shape[0]
        2
    """
    config = config or ProfilesConfig()
    game = profile = None
    target = torch.full((len(x),), -1)
    with MethodCall(
        classifier,
        x,
        y,
        method="profiles",
        access=Access.SCORES,
        keys=keys,
        seed=config.seed,
        detail=detail,
        skips=True,
    ) as call:
        players = coarse_players(classifier, x, kind=config.players, grid=config.grid, baseline=config.baseline)
        rows = call.rows.cpu()
        if len(rows):
            images = (call.x[call.rows], call.y.cpu()[rows], call.keys.cpu()[rows])
            game, profile = _measure(classifier, *images, players, config)
            target[rows] = game.target
            call.count(call.rows, game.forwards.to(x.device))
    return ProfilesResult(
        profile=profile,
        rows=rows,
        entries=ProfileEntries.of_profile(profile, rows, config.value) if profile else None,
        pairs=_pairs(profile, rows, len(x)),
        kind=game.kind if game else None,
        fallback=game.fallback if game else None,
        grid_rows=game.rows if game else 0,
        grid_cols=game.cols if game else 0,
        baseline=config.baseline if game and game.kind == "pixels" else None,
        value=config.value,
        estimator=config.estimator,
        target=target,
        **call.outcome(),
    )


def _pairs(profile: Profile | None, rows: Tensor, batch: int) -> list[int]:
    held = set(rows.tolist())
    return [profile.pairs.shape[1] if profile and row in held else 0 for row in range(batch)]


def _measure(
    classifier: Classifier, x: Tensor, y: Tensor, keys: Tensor, players: PlayersConfig, config: ProfilesConfig
) -> tuple[ImageGame, Profile]:
    functions = [ValueFunction(kind=config.value, of=of) for of in CLASSES]
    game = ImageGame(classifier, x, y, functions=functions, config=players)
    pairs = block_pairs(keys, game.rows, game.cols, side=config.side, blocks=config.blocks, radius=config.radius)
    orders = orders_of(game.players, config.ratios)
    return game, estimate(game, pairs, keys=keys, config=config.estimation(orders))
