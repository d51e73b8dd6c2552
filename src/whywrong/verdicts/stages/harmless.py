"""Find out on correct images which edits change what images show, such as a flip of digits, and if answers repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from whywrong.core.randomness import item_keys
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.explain.edits import EDITS
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.measure import Measures

QUESTIONED = ("flip", "grey")
"""Edits that are harmless for most images, but not for text, digits, or classes that differ by side or colour."""

LEAST_KEPT = 0.9  # share of correct images that a harmless edit leaves correct
LEAST_AGREEMENT = 0.98  # share of correct images that get the same answer again
FEWEST = 30
_SIZE = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """Correct images that the edits are tried on.

    Attributes:
        entries: Their entries.
        predicted: Their classes.
        images: Name of their set.
        seed: Seed of the edits.
    """

    entries: tuple[Entry, ...]
    predicted: tuple[int, ...]
    images: str
    seed: int


@dataclass(frozen=True, slots=True)
class Kept:
    """How many images keep their class.

    Attributes:
        images: Number of images.
        kept: Of these, those that keep it after each edit of :data:`QUESTIONED`.
        repeated: Of these, those that keep it if they are asked again as they are.
    """

    images: int
    kept: tuple[int, ...]
    repeated: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What small changes can tell about these images and this model.

    Attributes:
        harmful: Small edits that change what the images show.
        agreement: Share of the correct images that get the same answer again.
    """

    harmful: tuple[str, ...] = ()
    agreement: float = 1.0

    @property
    def steady(self) -> bool:
        """Whether the model repeats its answers, so that a change of the answer says something about the image."""
        return self.agreement >= LEAST_AGREEMENT

    def applied(self, measures: Measures) -> Measures:
        """Leave out what would tell nothing."""
        signs = measures.signs if self.steady else tuple(name for name in measures.signs if name != "survival")
        return replace(measures, harmful=self.harmful, signs=signs)

    def reason(self) -> str:
        """Return why the signs of small changes are refused; empty if they are not."""
        if self.steady:
            return ""
        return (
            f"the model gives another answer to {1 - self.agreement:.0%} of the correct images when they are asked "
            f"again, and at most {1 - LEAST_AGREEMENT:.0%} are allowed"
        )


def try_changes(context: AnalysisContext, cases: Cases, images: str, seed: int) -> Trial:
    """Find the edits after which less than 90 % of the correct images keep their class, and how many repeat it.

    Args:
        context: Of the analysis.
        cases: Correct images; with fewer than 30 nothing is left out.
        images: Name of their set.
        seed: Seed of the edits.
    """
    entries = context.entries(cases.item_ids, images)
    there = [row for row, item in enumerate(cases.item_ids) if item in entries]
    units = [
        Asked(
            tuple(entries[cases.item_ids[row]] for row in rows), tuple(int(cases.predicted[row]) for row in rows),
            images, seed,
        )
        for rows in (there[start : start + _SIZE] for start in range(0, len(there), _SIZE))
    ]  # fmt: skip
    parts = list(context.over("harmless changes", try_edits, units, settings=()))
    total = sum(part.images for part in parts)
    if total < FEWEST:
        return Trial()
    kept = [sum(part.kept[at] for part in parts) for at in range(len(QUESTIONED))]
    harmful = tuple(name for name, count in zip(QUESTIONED, kept, strict=True) if count < LEAST_KEPT * total)
    return Trial(harmful, sum(part.repeated for part in parts) / total)


def try_edits(worker: AnalysisWorker, unit: Asked) -> Kept:
    """Count the images of a unit that keep their class after each edit, and without one."""
    classifier, images, kept, repeated = worker.classifier, 0, [0] * len(QUESTIONED), 0
    of_item = {entry.item_id: index for entry, index in zip(unit.entries, unit.predicted, strict=True)}
    for batch in worker.batches(unit.entries, unit.images):
        if not len(batch.x):
            continue
        x, ids = batch.x.to(classifier.device), [item.entry.item_id for item in batch.items]
        due = torch.tensor([of_item[item] for item in ids], device=x.device)
        keys = item_keys(unit.seed, ids, "harmless").to(x.device)
        images += len(ids)
        repeated += _same(worker, x, due)
        for at, name in enumerate(QUESTIONED):
            kept[at] += _count(worker, EDITS[name].apply(x, keys), due, x.shape[1], name)
    return Kept(images, tuple(kept), repeated)


def _count(worker: AnalysisWorker, x: torch.Tensor, due: torch.Tensor, channels: int, name: str) -> int:
    if channels != 3 and EDITS[name].colour:
        return len(due)
    return _same(worker, x, due)


def _same(worker: AnalysisWorker, x: torch.Tensor, due: torch.Tensor) -> int:
    with worker.classifier:
        return int((worker.classifier.predict(x) == due).sum())


def names_of(edits: Sequence[str]) -> str:
    """Return edits in words, for a note."""
    words = {"flip": "mirroring", "grey": "removing the colour"}
    return " and ".join(words[name] for name in edits)
