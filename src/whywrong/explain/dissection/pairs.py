"""Units that promote the errors of a data set, with the same changes of correct images as the control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.randomness import item_keys
from whywrong.core.status import Status
from whywrong.data.batches import to_tensor
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisWorker
from whywrong.explain.dissection.effects import patch_units, silence, unit_effects
from whywrong.explain.dissection.sweeps import read_maps, the_layer
from whywrong.explain.spurious.examples import small_picture
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Images whose change is split over units.

    Attributes:
        entries: The images.
        label: (B,), int64, their labels.
        other: (B,), int64, for errors the predicted class, for controls the class they are moved to.
        control: Whether they are correctly predicted.
    """

    entries: tuple[Entry, ...]
    label: Tensor
    other: Tensor
    control: bool


@dataclass(frozen=True, slots=True, eq=False)
class PairEffects:
    """Effects of units in the pairs for which a change was found.

    Attributes:
        label, other: (N,), int64, suppressed and promoted class.
        s, g: (N, U), float64, suppression and promotion, logits.
        change: (N, 2), float64, change of the two logits.
        residual: (N,), float64.
        fall: (N, n), float64, how far patching each of the strongest units lowers the margin; empty for controls.
    """

    label: Tensor
    other: Tensor
    s: Tensor
    g: Tensor
    change: Tensor
    residual: Tensor
    fall: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Silenced:
    """Images classified while some units are zero: units (n,) int64."""

    entries: tuple[Entry, ...]
    units: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Predicted classes (N,) int64."""

    predicted: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Pictures of images, PNG or JPEG, and the maps (N, U, h, w) float32 of some units."""

    pictures: tuple[np.ndarray, ...]
    maps: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ToDraw:
    """Images to draw, and the units (n,) int64 whose maps are wanted."""

    entries: tuple[Entry, ...]
    units: Tensor


def pair_effects(worker: AnalysisWorker, unit: Pairs) -> PairEffects:
    """Split the change between each image and its fix over the units of the layer."""
    classifier, layer = worker.classifier, the_layer(worker)
    items = list(worker.load(unit.entries))
    x = to_tensor([item.pixels for item in items], worker.images["data"].spec).to(classifier.device)
    into = (unit.other if unit.control else unit.label).to(x.device)
    keys = item_keys(worker.config.seed, [entry.item_id for entry in unit.entries], "dissection").to(x.device)
    plain = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    found = invert(classifier, x, into, keys=keys, detail=plain, config=InvertedConfig(polish_other=0))
    rows = torch.tensor([one == Status.OK for one in found.status]).nonzero().flatten().to(x.device)
    x, moved = x[rows], (x + found.delta.to(x.device))[rows]
    a, b = unit.label.to(x.device)[rows], unit.other.to(x.device)[rows]
    pair = (x, moved) if unit.control else (moved, x)
    if not len(rows):
        units = layer.shape[-1 if layer.channels_last else 0]
        empty = torch.zeros(0, units, dtype=torch.float64)
        none = torch.zeros(0, dtype=torch.float64)
        return PairEffects(
            a.cpu(), b.cpu(), empty, empty, none.new_zeros(0, 2), none, none.new_zeros(0, worker.config.patched)
        )
    effects = unit_effects(classifier, layer, pair, a, b)
    fall = effects.s.new_zeros(len(x), 0)
    count = min(worker.config.patched, effects.s.shape[1])
    if not unit.control and count:
        top = (effects.s + effects.g).topk(count, dim=1).indices
        patched = patch_units(classifier, layer, pair, top).double()
        after = (_margin(classifier, pair[1], a, b))[:, None]
        fall = after - (_at(patched, b) - _at(patched, a))
    parts = (a, b, effects.s, effects.g, effects.change, effects.residual, fall)
    return PairEffects(*(part.cpu() for part in parts))


def _margin(classifier: Classifier, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Compute logit ``b`` minus logit ``a`` (B,) float64."""
    with torch.no_grad():
        logits = classifier.ask(x).double()
    return (logits.gather(1, b[:, None]) - logits.gather(1, a[:, None]))[:, 0]


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    """Select the logit (B, n) of a class per image from (B, n, K)."""
    return logits.gather(2, classes[:, None, None].expand(-1, logits.shape[1], 1))[:, :, 0]


def silenced_answers(worker: AnalysisWorker, unit: Silenced) -> Answers:
    """Classify images while some units are zero."""
    layer = the_layer(worker)
    found = [torch.zeros(0).long()]
    for batch in worker.batches(unit.entries):
        if len(batch.x):
            x = batch.x.to(worker.classifier.device)
            found.append(silence(worker.classifier, layer, x, unit.units).argmax(1).cpu())
    return Answers(torch.cat(found))


def draw(worker: AnalysisWorker, unit: ToDraw) -> Drawn:
    """Read images again, with the maps of some units."""
    items = list(worker.load(unit.entries))
    x = to_tensor([item.pixels for item in items], worker.images["data"].spec).to(worker.classifier.device)
    maps = read_maps(worker, the_layer(worker), x)[1][:, unit.units.to(x.device)].cpu()
    return Drawn(tuple(np.frombuffer(small_picture(item.pixels), np.uint8).copy() for item in items), maps)
