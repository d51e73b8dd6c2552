"""What a claim is: a function of classifiers, data and a config that ends in an effect, an interval and a verdict.

A claim is one line in ``core/registry.py``; its function is ``claim(models, data, config) -> ClaimResult``, in
which ``models`` is a sequence of classifiers and ``data`` an object like :class:`LabelledImages`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from whywrong.core.config import config_dict, make_config
from whywrong.core.errors import InputError
from whywrong.core.registry import claims, resolve
from whywrong.models import Classifier

Verdict = Literal["holds", "does not hold", "undecided"]


class LabelledImages(Protocol):
    """Images with labels, prepared for one classifier at a time."""

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """Images (B, C, H, W) in [0, 1] at the input size of ``classifier``, classes (B,) int64, item ids."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TensorImages:
    """Labelled images that are in memory: ``x`` (N, C, H, W) in [0, 1] and ``y`` (N,) int64."""

    x: Tensor
    y: Tensor
    batch_size: int = 64

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """The same images for every classifier; row numbers serve as item ids."""
        for start in range(0, len(self.x), self.batch_size):
            rows = slice(start, start + self.batch_size)
            x = self.x[rows]
            yield x, self.y[rows], [str(start + i) for i in range(len(x))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """The outcome of one claim on one model (or pair) and one set of images.

    Attributes:
        name: Name of the claim, ``family.number``.
        title: The claim in one sentence.
        effect: The number on which the verdict rests.
        effect_name: What that number is, with its unit.
        interval: Its 95 % interval.
        n: Errors it was measured on.
        verdict: ``holds``, ``does not hold``, or ``undecided`` where the interval covers the bound.
        sentence: The outcome in words and numbers.
        numbers: Everything else that was measured, by name.
        samples: Values behind the figure, one list a curve.
        config: Settings of the claim.
        models: Identities of the classifiers.
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
    config: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; numbers that are not finite become null."""
        return _plain(dataclasses.asdict(self))


def run_claim(
    name: str, models: Sequence[Classifier], data: LabelledImages, settings: Mapping[str, Any] | None = None
) -> ClaimResult:
    """Test one registered claim.

    Args:
        name: As in ``inverted.1``.
        models: As many classifiers as the claim compares.
        data: Labelled images.
        settings: Settings of the claim; unknown ones are refused with the nearest.

    Raises:
        InputError: No such claim, another number of models, or a setting that breaks its contract.
    """
    known = claims()
    if name not in known:
        listed = "; ".join(f"{claim.name}: {claim.title}" for claim in known.values())
        raise InputError(f'no claim "{name}"; there are: {listed}')
    claim = known[name]
    if len(models) != claim.models:
        raise InputError(f"claim {name} takes {claim.models} model(s), got {len(models)}")
    config = make_config(resolve(claim.config), settings or {}, name)
    result: ClaimResult = resolve(claim.function)(models, data, config)
    return dataclasses.replace(
        result,
        name=claim.name,
        title=claim.title,
        config=config_dict(config),
        models=[model.identity for model in models],
    )


def decide(low: float, high: float, bound: float, *, above: bool = True) -> Verdict:
    """Compare an interval with a bound; ``above`` asks for effects at or above it, else below it."""
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if above:
        return "holds" if low >= bound else "does not hold" if high < bound else "undecided"
    return "holds" if high < bound else "does not hold" if low >= bound else "undecided"


def both(*verdicts: Verdict) -> Verdict:
    """One verdict over parts that must all hold."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "undecided" if "undecided" in verdicts else "holds"


def error_batches(
    classifier: Classifier, data: LabelledImages, *, limit: int | None, batch_size: int = 64
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """The images that the classifier gets wrong, in batches of ``batch_size``, at most ``limit`` in all.

    Rows whose answer is not finite are left out: they are failures of the model and not errors.
    """
    held: list[tuple[Tensor, Tensor, list[str]]] = []
    waiting, found = 0, 0
    for x, y, ids in data.batches(classifier):
        logits, _ = classifier.logits_or_faults(x)  # NaN in the rows at fault
        wrong = ((logits.argmax(1) != y) & logits.isfinite().all(1)).nonzero().flatten()
        if limit is not None:
            wrong = wrong[: limit - found]
        found += len(wrong)
        if len(wrong):
            held.append((x[wrong], y[wrong], [str(ids[i]) for i in wrong.tolist()]))
            waiting += len(wrong)
        full = limit is not None and found >= limit
        if held and (waiting >= batch_size or full):
            yield _join(held)
            held, waiting = [], 0
        if full:
            return
    if held:
        yield _join(held)


def _join(held: list[tuple[Tensor, Tensor, list[str]]]) -> tuple[Tensor, Tensor, list[str]]:
    images, labels, ids = zip(*held, strict=True)
    return torch.cat(images), torch.cat(labels), [name for part in ids for name in part]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
