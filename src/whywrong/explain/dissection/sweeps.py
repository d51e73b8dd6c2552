"""The two sweeps of dissection over its probe images, and its null on some of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisWorker
from whywrong.explain.dissection.counting import Counts, active_maps, count_overlap
from whywrong.explain.dissection.null import Null, permutation_null
from whywrong.explain.dissection.probes import concept_source, grid_side, painted_images, probe, rounds_of
from whywrong.explain.dissection.thresholds import TopValues, merge_top, top_values, values_kept
from whywrong.models.layers.capture import SpatialLayer
from whywrong.models.layers.spatial import read_layer, spatial_layer

_NULL_SIDE = 14  # positions a side in the null, which compares many times


@dataclass(frozen=True, slots=True, eq=False)
class First:
    """Result of the first sweep over some images.

    Attributes:
        top: Largest activations, from which thresholds follow.
        item_ids, keys: The N images that could be used.
        label, predicted: (N,), int64.
        peak: (N, U), float32, largest activation of each unit in the image as it is.
        failed: Key and reason of the other items.
    """

    top: TopValues
    item_ids: tuple[str, ...]
    keys: tuple[str, ...]
    label: Tensor
    predicted: Tensor
    peak: Tensor
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images to count, and the thresholds (U,) of the units."""

    entries: tuple[Entry, ...]
    thresholds: Tensor


def the_layer(worker: AnalysisWorker) -> SpatialLayer:
    """Find the layer that is dissected."""
    spec = worker.images["data"].spec
    return spatial_layer(worker.classifier, (spec.channels, spec.height, spec.width), worker.config.layer or None)


def first_sweep(worker: AnalysisWorker, entries: tuple[Entry, ...]) -> First:
    """Find the largest activations of each unit, and the predictions."""
    layer, images, config = the_layer(worker), worker.images["data"], worker.config
    rounds, painted = rounds_of(config, images), concept_source(config, images) == "painted"
    rows, cols = layer.grid
    units = layer.shape[layer.layout.channel_axis if layer.layout.channel_axis < 0 else 0]
    kept = values_kept(config.quantile, images.count * rounds * rows * cols, units)
    top = TopValues(torch.zeros(units, 0), 0)
    ids: list[str] = []
    keys: list[str] = []
    failed: list[tuple[str, str]] = []
    label, predicted, peak = [torch.zeros(0).long()], [torch.zeros(0).long()], [torch.zeros(0, units)]
    for batch in worker.batches(entries):
        failed += [(one.entry.key, one.reason) for one in batch.failed]
        if not len(batch.x):
            continue
        x = batch.x.to(worker.classifier.device)
        answers, maps = read_maps(worker, layer, x)
        ids += [item.entry.item_id for item in batch.items]
        keys += [item.entry.key for item in batch.items]
        label.append(batch.y)
        predicted.append(answers.argmax(1).cpu())
        peak.append(maps.amax((2, 3)).cpu())
        turns = [painted_images(batch, x, turn, config.seed)[0] for turn in range(rounds)] if painted else [None]
        for turn in turns:
            seen = maps if turn is None else read_maps(worker, layer, turn)[1]
            found = top_values(seen, kept)
            top = merge_top(top, TopValues(found.values.cpu(), found.positions), kept)
    return First(top, tuple(ids), tuple(keys), torch.cat(label), torch.cat(predicted), torch.cat(peak), tuple(failed))


def second_sweep(worker: AnalysisWorker, part: Part) -> Counts:
    """Count the overlap of all units and concepts."""
    layer, images = the_layer(worker), worker.images["data"]
    total: Counts | None = None
    for batch in worker.batches(part.entries):
        for turn in range(rounds_of(worker.config, images) if len(batch.x) else 0):
            one = probe(worker, batch, turn)
            active = active_maps(read_maps(worker, layer, one.x)[1], part.thresholds, grid_side(images))
            found = count_overlap(active, one.masks, one.counted)
            total = found if total is None else total + found
    assert total is not None  # the images were read a moment ago
    return Counts(*(getattr(total, name).cpu() for name in Counts.__slots__))


def null_of(worker: AnalysisWorker, part: Part) -> Null:
    """Compare units with concepts exchanged between images, on a coarse grid."""
    layer, config, fine = the_layer(worker), worker.config, grid_side(worker.images["data"])
    side = min(_NULL_SIDE, fine)
    active, masks = [], []
    for batch in worker.batches(part.entries):
        if not len(batch.x):
            continue
        one = probe(worker, batch, 0)
        active.append(active_maps(read_maps(worker, layer, one.x)[1], part.thresholds, side).bool())
        planes = (one.masks & one.counted[:, None]).unflatten(2, (fine, fine)).float()
        masks.append((torch.nn.functional.adaptive_avg_pool2d(planes, side) >= 0.5).flatten(2))
    found = permutation_null(torch.cat(active), torch.cat(masks), permutations=config.permutations, seed=config.seed)
    return Null(found.observed.cpu(), found.expected.cpu(), found.p.cpu())


def read_maps(worker: AnalysisWorker, layer: SpatialLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (B, K) and the maps (B, U, h, w) of the layer, float32."""
    parts = read_layer(
        worker.classifier, x, layer, lambda logits, activation, _: (logits.float(), layer.layout.patches(activation))
    )
    logits, maps = (torch.cat(column) for column in zip(*parts, strict=True))
    return logits, maps.float()
