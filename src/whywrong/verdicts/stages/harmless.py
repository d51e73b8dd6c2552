"""Find out which edits change what the images of a data set show, such as a flip of digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from whywrong.core.randomness import item_keys
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.explain.edits import EDITS
from whywrong.verdicts.cases.cases import Cases

QUESTIONED = ("flip", "grey")
"""Edits that are harmless for most images, but not for text, digits, or classes that differ by side or colour."""

LEAST_KEPT = 0.9  # share of correct images that a harmless edit leaves correct
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
    """

    images: int
    kept: tuple[int, ...]


def harmful_edits(context: AnalysisContext, cases: Cases, images: str, seed: int) -> tuple[str, ...]:
    """Return the edits after which less than 90 % of the correct images keep their class.

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
        return ()
    kept = [sum(part.kept[at] for part in parts) for at in range(len(QUESTIONED))]
    return tuple(name for name, count in zip(QUESTIONED, kept, strict=True) if count < LEAST_KEPT * total)


def try_edits(worker: AnalysisWorker, unit: Asked) -> Kept:
    """Count the images of a unit that keep their class after each edit."""
    classifier, images, kept = worker.classifier, 0, [0] * len(QUESTIONED)
    of_item = {entry.item_id: index for entry, index in zip(unit.entries, unit.predicted, strict=True)}
    for batch in worker.batches(unit.entries, unit.images):
        if not len(batch.x):
            continue
        x, ids = batch.x.to(classifier.device), [item.entry.item_id for item in batch.items]
        due = torch.tensor([of_item[item] for item in ids], device=x.device)
        keys = item_keys(unit.seed, ids, "harmless").to(x.device)
        images += len(ids)
        for at, name in enumerate(QUESTIONED):
            kept[at] += _count(worker, EDITS[name].apply(x, keys), due, x.shape[1], name)
    return Kept(images, tuple(kept))


def _count(worker: AnalysisWorker, x: torch.Tensor, due: torch.Tensor, channels: int, name: str) -> int:
    if channels != 3 and EDITS[name].colour:
        return len(due)
    with worker.classifier:
        return int((worker.classifier.predict(x) == due).sum())


def names_of(edits: Sequence[str]) -> str:
    """Return edits in words, for a note."""
    words = {"flip": "mirroring", "grey": "removing the colour"}
    return " and ".join(words[name] for name in edits)
