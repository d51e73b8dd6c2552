"""Causes that only drawn pictures can have: near-twins, untrained styles, cues in the scene."""

from __future__ import annotations

from functools import partial

import torch

from whywrong.data.planted import CUES, NAMES, STYLES, TWINS
from whywrong.planting.batch import Candidate, Perturbation, PlantingBatch, redraw

_EXTENTS = (0.5, 0.4, 0.3, 0.2, 0.1)
_WITH_PART = torch.tensor([NAMES.index(whole) for whole, _ in TWINS])
_WITHOUT = torch.tensor([NAMES.index(less) for _, less in TWINS])


def morph(batch: PlantingBatch, severity: int) -> Candidate:
    """Shrink the part that tells an object from its twin, as the handle of a mug.

    Only mug and chair have such a part; the wrong class must be the twin.
    """
    assert batch.scene is not None
    is_whole = batch.y[:, None] == _WITH_PART
    twin = torch.where(is_whole.any(1), _WITHOUT[is_whole.long().argmax(1)], batch.y)
    extent = torch.where(is_whole.any(1), _EXTENTS[severity - 1], batch.scene.extent)
    return redraw(
        batch, batch.scene.but(extent=extent), must=twin, strength=f"{_EXTENTS[severity - 1]:.0%} of the part left"
    )


def style(name: str, batch: PlantingBatch, severity: int) -> Candidate:
    """Draw the same scene in a style that no model was trained on."""
    assert batch.scene is not None
    return redraw(batch, batch.scene.but(style=torch.full_like(batch.y, STYLES.index(name))))


def cue(name: str, batch: PlantingBatch, severity: int) -> Candidate:
    """Add a cue outside the object, which a model may have learnt to use."""
    assert batch.scene is not None
    return redraw(batch, batch.scene.but(cue=torch.full_like(batch.y, CUES.index(name))))


PERTURBATIONS = (
    Perturbation("confusion", "morph", morph, drawn=True),
    *(Perturbation("shift", name, partial(style, name), graded=False, drawn=True) for name in STYLES[1:]),
    *(Perturbation("spurious", name, partial(cue, name), graded=False, drawn=True) for name in CUES),
)
