"""Interface of a claim, a function of classifiers, data and a config that returns effect, interval and verdict.

A claim is one line in the package of its family. Its function is ``claim(models, data, config) -> ClaimResult``, in
which ``models`` is a sequence of classifiers and ``data`` an object like :class:`LabelledImages`. If its line lists
them in ``takes``, the function also gets ``judges``, ``progress`` or ``cache`` as keyword arguments; the cache lists
all claims of the call under ``claims``, so that the first one can measure what the others need. Claims that take
progress and cache are declared with :func:`claim`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from torch import Tensor

from whywrong.core.statistics import FEWEST, holm
from whywrong.models.classifier import Classifier

Verdict = Literal["holds", "does not hold", "undecided"]
LEVEL = 0.05  # of adjusted p-values


class LabelledImages(Protocol):
    """Images with labels, prepared for one classifier at a time."""

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """Yield images at the input size of ``classifier``, classes and item ids.

        Images are (B, C, H, W) in [0, 1], classes (B,) int64.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TensorImages:
    """Labelled images in memory, ``x`` (N, C, H, W) in [0, 1] and ``y`` (N,) int64."""

    x: Tensor
    y: Tensor
    batch_size: int = 64

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """Yield the same images for every classifier, with row numbers as item ids."""
        for start in range(0, len(self.x), self.batch_size):
            rows = slice(start, start + self.batch_size)
            x = self.x[rows]
            yield x, self.y[rows], [str(start + i) for i in range(len(x))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """Result of one claim on one model (or pair) and one set of images.

    Attributes:
        name: Name of the claim, ``family.number``.
        title: The claim in one sentence.
        effect: The number on which the verdict rests.
        effect_name: Name of that number, with its unit.
        interval: Its 95 % interval.
        n: Number of errors it was measured on.
        verdict: ``holds``, ``does not hold``, or ``undecided`` if the interval contains the bound.
        sentence: The outcome in words and numbers.
        numbers: All other measurements, by name.
        samples: Values of the figure, one list per curve.
        drawing: Further plain values for the claim's own figure.
        pictures: Images and maps for that figure, by name, any shape; not part of :meth:`to_dict`.
        config: Settings of the claim.
        models: Identities of the classifiers.
        judges: Identities of the judges, if any.

    Example:
        >>> import whywrong as ww
        >>> found = {"effect": 0.97, "effect_name": "share of errors with a fix", "interval": (0.91, 0.99), "n": 80}
        >>> words = {"title": "Errors have small fixes.", "sentence": "97 % of 80 errors have a fix."}
        >>> ww.ClaimResult(name="mine.1", verdict="holds", **found, **words).to_dict()["interval"]
        [0.91, 0.99]
    """

    name: str
    title: str
    effect: float
    effect_name: str
    interval: tuple[float, float]
    n: int
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    drawing: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[str] = ()
    judges: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON values.

        Numbers that are not finite become null.
        """
        fields = (entry.name for entry in dataclasses.fields(self) if entry.name != "pictures")
        return _plain({name: getattr(self, name) for name in fields})


@dataclass(frozen=True, slots=True)
class SkippedClaim:
    """A claim of a family that was not tested.

    Attributes:
        name, title: Name and title of the claim.
        reason: Why it was not tested.
        failed: Whether it stopped with an error; otherwise an input that it needs is missing.
    """

    name: str
    title: str
    reason: str
    failed: bool

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return {"name": self.name, "title": self.title, "skipped": self.reason, "failed": self.failed}


@dataclass(frozen=True, slots=True)
class ClaimProgress:
    """Progress of a claim.

    Attributes:
        stage: Current stage, in a few words.
        done, total: Steps of the stage.
        errors, failed: As reported by runs; 0 if not counted.
        passes: Images sent through the model in this stage, if counted.
    """

    stage: str
    done: int
    total: int
    errors: int = 0
    failed: int = 0
    passes: int = 0


C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimContext(Generic[C]):
    """Models, data and settings of one claim; see :func:`claim`.

    Attributes:
        models: The classifiers that the claim compares.
        data: Labelled images.
        config: Settings of the claim.
        progress: Callback for progress; None without one.
        cache: Shared by the claims of one call, which are listed under ``claims``.
    """

    models: Sequence[Classifier]
    data: LabelledImages
    config: C
    progress: Callable[[ClaimProgress], None] | None = None
    cache: MutableMapping[Any, Any] = field(default_factory=dict)

    @property
    def memory(self) -> MutableMapping[Any, Any]:
        """The cache, by its old name; removed in the next release."""
        return self.cache

    @property
    def classifier(self) -> Classifier:
        """The first model, which for most claims is the only one."""
        return self.models[0]

    def report_progress(self, stage: str, done: int, total: int, passes: int = 0) -> None:
        """Report the progress of the claim."""
        if self.progress is not None:
            self.progress(ClaimProgress(stage, done, total, passes=passes))

    tell = report_progress  # the old name; removed in the next release


Asked = ClaimContext  # the old name; removed in the next release


def claim(function: Callable[[ClaimContext[C]], ClaimResult]) -> Callable[..., ClaimResult]:
    """Declare a claim that takes progress and cache.

    Its family lists it with ``takes={"progress", "cache"}``.

    Args:
        function: Takes one :class:`ClaimContext`.

    Returns:
        ``claim(models, data, config, *, progress=None, cache=None)``; ``memory`` is the old name of the cache.
    """

    @functools.wraps(function)
    def with_context(
        models: Sequence[Classifier],
        data: LabelledImages,
        config: C,
        *,
        progress: Callable[[ClaimProgress], None] | None = None,
        cache: MutableMapping[Any, Any] | None = None,
        memory: MutableMapping[Any, Any] | None = None,
    ) -> ClaimResult:
        shared = cache if cache is not None else memory if memory is not None else {}
        return function(ClaimContext(models=models, data=data, config=config, progress=progress, cache=shared))

    return with_context


class Estimate(Protocol):
    """An effect with the ends of its 95 % interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def claim_result(effect: Estimate, **fields: Any) -> ClaimResult:
    """Build a result around an effect with its interval.

    The caller fills in name, title, config and models.
    """
    return ClaimResult(name="", title="", effect=effect.value, interval=(effect.low, effect.high), **fields)


def decide(low: float, high: float, bound: float, *, above: bool = True) -> Verdict:
    """Compare an interval with a bound.

    With ``above`` the effect must be at or above the bound, otherwise below it.
    """
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if above:
        return "holds" if low >= bound else "does not hold" if high < bound else "undecided"
    return "holds" if high < bound else "does not hold" if low >= bound else "undecided"


@dataclass(frozen=True, slots=True)
class Part:
    """An effect that a claim depends on.

    Attributes:
        effect: Effect with its 95 % interval; its ends are NaN if unknown.
        p: Two-sided p-value of the hypothesis that the effect equals ``bound``.
        bound: Value that the effect is compared with.
        above: Whether the claim requires an effect above the bound; otherwise below.
    """

    effect: Estimate
    p: float
    bound: float = 0.0
    above: bool = True


def verdicts_of(parts: Sequence[Part]) -> list[Verdict]:
    """Decide each part of a claim.

    A part is decided only if its interval excludes the bound and its p-value, adjusted by Holm over all parts, is at
    most ``LEVEL``. The adjustment prevents decisions that are due only to the number of parts.
    """
    adjusted = holm(np.array([part.p for part in parts]))
    return [
        decide(part.effect.low, part.effect.high, part.bound, above=part.above) if p <= LEVEL else "undecided"
        for part, p in zip(parts, adjusted, strict=True)
    ]


def bounds_in_words(low: float, high: float, pattern: str = "{:.2g}") -> str:
    """Describe the 95 % interval, or why there is none."""
    if math.isnan(low) or math.isnan(high):
        return f"no interval: fewer than {FEWEST} images, or nearly all alike"
    return f"95 % interval {pattern.format(low)} to {pattern.format(high)}"


def both(*verdicts: Verdict) -> Verdict:
    """Combine the verdicts of parts that must all hold."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "undecided" if "undecided" in verdicts else "holds"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
