"""Settings of the search behind a black box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.attacks.surrogates.named import named_surrogate
from whywrong.core.config import check_radius
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier

Tail = Literal["auto", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackBoxConfig:
    """Settings of :func:`whywrong.attacks.black_box.black_box`, validated on construction.

    At most one of ``own``, ``bank`` and ``distilled`` names the surrogate, so that a result has one tier.

    Attributes:
        own: Model that you trained on the same labelled data, by the name that ``load_classifier`` takes.
        bank: Other models of the same classes, by name.
        distilled: File of a surrogate that was trained on answers of this black box, as ``Surrogate.write`` writes it.
        queries: Most changed images that are asked about each image; 0 asks nothing.
        total: Most changed images asked in one call for all its images, shared in their order; None for no limit.
        eps: Largest change of any pixel, [0, 1] units, at least one grey level.
        first: Length of a direction that is asked first, grey levels: the change of the most changed pixel.
        lengths: Most lengths that are asked along one direction.
        recrafts: How often a direction is computed again, with the surrogate corrected by the answers so far.
        steps: Steps on the surrogate for one direction.
        step_size: Change of each pixel in such a step, [0, 1] units.
        tail: ``auto`` goes on without the surrogate when its directions fail, ``none`` stops.
        labels_only: Use labels also if the black box grants scores.
        confirm: Times that an image that reaches the true class is asked again, for answers that are not repeatable.
        seed: Seed of random numbers, used if no keys are given.

    Example:
        >>> import whywrong as ww
        >>> ww.BlackBoxConfig(own="planted:vit", queries=20).tier
        'own'
    """

    own: str = ""
    bank: tuple[str, ...] = ()
    distilled: str = ""
    queries: int = 100
    total: int | None = None
    eps: float = 16 / 255
    first: float = 4.0
    lengths: int = 3
    recrafts: int = 4
    steps: int = 10
    step_size: float = 2 / 255
    tail: Tail = "auto"
    labels_only: bool = False
    confirm: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_radius("eps", self.eps)
        check_radius("step_size", self.step_size)
        if self.eps * 255 < 1 - 1e-3:
            raise InputError(f"eps must be at least 1/255, one grey level, got {self.eps:g}")
        if not 1 <= self.first <= 255:
            raise InputError(f"first must be in [1, 255] grey levels, got {self.first:g}")
        for name, low, high in (
            ("queries", 0, 1_000_000),
            ("lengths", 1, 100),
            ("recrafts", 0, 10),
            ("steps", 1, 1000),
            ("confirm", 0, 100),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be in {low}..{high}, got {getattr(self, name)}")
        if self.total is not None and self.total < 0:
            raise InputError(f"total must be at least 0, got {self.total}")
        if self.tail not in ("auto", "none"):
            raise InputError(f"tail must be one of auto, none, got {self.tail!r}")
        if sum(map(bool, (self.own, self.bank, self.distilled))) > 1:
            raise InputError("own, bank and distilled are tiers that are never merged; name models of one of them")

    def check_models(self, classifier: Classifier, shape: tuple[int, int, int]) -> None:
        """Refuse a named surrogate that does not fit ``classifier``.

        ``classifier`` takes images (C, H, W). A run calls this before it computes anything.

        Raises:
            InputError, AccessError, ModelError: A model is unknown or cannot be loaded, or as for
                :meth:`whywrong.attacks.surrogates.models.Surrogate.check`.
        """
        surrogate = named_surrogate(self.own, self.bank, self.distilled, classifier)
        if surrogate is not None:
            surrogate.check(classifier, shape)

    @property
    def tier(self) -> str:
        """Tier of the named surrogate: ``own``, ``bank``, ``distilled`` or ``none``."""
        return next((name for name in ("own", "bank", "distilled") if getattr(self, name)), "none")
