"""Common corruptions at the smallest severity at which the image is misclassified."""

from __future__ import annotations

from functools import partial

from whywrong.data.corruptions import KINDS as CORRUPTIONS
from whywrong.data.corruptions import corrupt
from whywrong.planting.batch import Candidate, Perturbation, PlantingBatch


def damage(corruption: str, batch: PlantingBatch, severity: int) -> Candidate:
    """Apply ``corruption`` at the given severity."""
    x = corrupt(batch.x, corruption, severity, keys=batch.keys)
    return Candidate(x, batch.y, f"severity {severity}", scene=batch.scene, corruption_severity=severity)


PERTURBATIONS = tuple(Perturbation("corruption", name, partial(damage, name)) for name in CORRUPTIONS)
