"""The analysis that names what units detect, and splits the change of each error over them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from whywrong.core.errors import DataError
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisResult
from whywrong.explain.dissection.config import DissectionConfig
from whywrong.explain.dissection.confusions import Confusion, confusions
from whywrong.explain.dissection.counting import Counts
from whywrong.explain.dissection.null import Null
from whywrong.explain.dissection.pairs import (
    Drawn,
    PairEffects,
    Pairs,
    Silenced,
    ToDraw,
    draw,
    pair_effects,
    silenced_answers,
)
from whywrong.explain.dissection.probes import concept_names, concept_source
from whywrong.explain.dissection.sweeps import First, Part, first_sweep, null_of, second_sweep
from whywrong.explain.dissection.tables import Example, dissection_table, effect_table, example_table
from whywrong.explain.dissection.thresholds import find_thresholds, merge_top
from whywrong.models.layers.spatial import spatial_layer

_CHUNK, _PAIRS = 256, 32
_DRAWS = 3  # sets of random units that are silenced as the control


@dataclass(frozen=True, slots=True)
class Mask:
    """Effect of silencing some units on the images of the data.

    Attributes:
        units: Number of units.
        correct: Images predicted correctly.
        corrected: Errors that become correct.
        broken: Correct images that become errors.
    """

    units: int
    correct: float
    corrected: float
    broken: float


@dataclass(frozen=True, slots=True, eq=False)
class DissectionResult(AnalysisResult):
    """Result of a network dissection.

    Attributes:
        layer: Name of the layer.
        source: Source of the concepts, ``planted``, ``masks`` or ``painted``.
        concepts: Their names.
        thresholds: (U,), float32.
        counts: Overlap of units and concepts.
        null: The permutation null.
        confusions: Effects of units by confusion, all errors first; empty without errors.
        examples: Pictures for the page.
        silenced: Silencing the suspects, and the mean over random sets of units; empty without suspects.
        described: Plain values for the page.
        config: The settings.
    """

    layer: str
    source: str
    concepts: tuple[str, ...]
    thresholds: Tensor
    counts: Counts
    null: Null
    confusions: tuple[Confusion, ...]
    examples: tuple[Example, ...]
    silenced: tuple[Mask, ...]
    described: Mapping[str, Any]
    config: DissectionConfig

    @property
    def record(self) -> Mapping[str, Any]:
        """Values for the page beside the tables."""
        return self.described

    def tables(self) -> Mapping[str, pa.Table]:
        """Return units, their effects on errors, and their examples."""
        return {
            "dissection": dissection_table(self),
            "unit_effects": effect_table(self.confusions, self.described["model"]["classes"]),
            "unit_examples": example_table(self.examples),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """All images that could be used: entries, label, predicted and largest activation of each."""

    entries: list[Entry]
    label: Tensor
    predicted: Tensor
    peak: Tensor


def dissection(context: AnalysisContext, *, config: DissectionConfig) -> DissectionResult:
    """Name what the units of a layer detect, and find the units that promote errors.

    Args:
        context: Its images are ``data``.
        config: Settings.

    Raises:
        AccessError: The classifier grants no access to its layers.
        ModelError: The layer does not exist.
        InputError: The concepts do not fit the data.
        DataError: Fewer than two images can be used.
    """
    images = context.images["data"]
    source = concept_source(config, images)
    names = concept_names(source, images)
    layer = spatial_layer(
        context.classifier, (images.spec.channels, images.spec.height, images.spec.width), config.layer or None
    )
    probes = ("layer", "concepts", "quantile", "images_each", "seed")
    firsts = list(context.over_images("first sweep", first_sweep, settings=probes))
    pool, thresholds = _merge(context, firsts, config)
    parts = [
        Part(tuple(pool.entries[start : start + _CHUNK]), thresholds) for start in range(0, len(pool.entries), _CHUNK)
    ]
    counts = functools.reduce(operator.add, context.over("second sweep", second_sweep, parts, settings=probes))
    spread = np.unique(np.linspace(0, len(pool.entries) - 1, config.null_images).round().astype(int)).tolist()
    (null,) = context.over(
        "null",
        null_of,
        [Part(tuple(pool.entries[row] for row in spread), thresholds)],
        settings=(*probes, "permutations", "null_images"),
    )
    found = confusions(*_effects(context, pool, config), config)
    suspects = sorted({unit for one in found for unit in one.suspects.tolist()})
    result = DissectionResult(
        layer.name,
        source,
        names,
        thresholds,
        counts,
        null,
        found,
        (),
        _silence(context, pool, suspects, config),
        {},
        config,
    )
    examples = _examples(context, pool, result)
    described = _describe(context, result, pool, [one for first in firsts for one in first.failed], suspects)
    return replace(result, examples=examples, described=described)


def _merge(context: AnalysisContext, firsts: list[First], config: DissectionConfig) -> tuple[_Pool, Tensor]:
    ids = [item for first in firsts for item in first.item_ids]
    if len(ids) < 2:
        raise DataError(f"dissection needs at least 2 images that can be read, got {len(ids)}")
    known = context.entries(ids)
    kept = max(first.top.values.shape[1] for first in firsts) * len(firsts)
    top = functools.reduce(lambda one, two: merge_top(one, two, kept), (first.top for first in firsts))
    columns = (torch.cat([getattr(first, name) for first in firsts]) for name in ("label", "predicted", "peak"))
    return _Pool([known[item] for item in ids], *columns), find_thresholds(top, config.quantile)


def _effects(
    context: AnalysisContext, pool: _Pool, config: DissectionConfig
) -> tuple[list[PairEffects], list[PairEffects]]:
    """Split the change of errors, and of correct images of the same labels, over units."""
    wrong = ((pool.label >= 0) & (pool.label != pool.predicted)).nonzero().flatten()[: config.errors]
    spare: dict[int, list[int]] = {}
    for row in (pool.label == pool.predicted).nonzero().flatten().tolist():
        spare.setdefault(int(pool.label[row]), []).append(row)
    control, into = [], []
    for row in wrong.tolist():
        rows = spare.get(int(pool.label[row]))
        if rows:
            control.append(rows.pop(0))
            into.append(int(pool.predicted[row]))
    units = _pairs(pool, wrong.tolist(), pool.predicted[wrong].tolist(), control=False)
    others = _pairs(pool, control, into, control=True)
    settings = ("layer", "patched", "seed")
    results = list(context.over("effects", pair_effects, [*units, *others], settings=settings))
    return results[: len(units)], results[len(units) :]


def _pairs(pool: _Pool, rows: list[int], other: list[int], *, control: bool) -> list[Pairs]:
    chunks = [slice(start, start + _PAIRS) for start in range(0, len(rows), _PAIRS)]
    return [
        Pairs(
            tuple(pool.entries[row] for row in rows[part]),
            pool.label[torch.tensor(rows[part])],
            torch.tensor(other[part]),
            control,
        )
        for part in chunks
    ]


def _silence(context: AnalysisContext, pool: _Pool, suspects: list[int], config: DissectionConfig) -> tuple[Mask, ...]:
    """Classify all images without the suspects, and without as many random other units."""
    others = [unit for unit in range(pool.peak.shape[1]) if unit not in suspects]
    if not suspects or len(others) < len(suspects):
        return ()
    rng = np.random.default_rng(config.seed)
    sets = [suspects, *(sorted(rng.choice(others, len(suspects), replace=False).tolist()) for _ in range(_DRAWS))]
    starts = range(0, len(pool.entries), _CHUNK)
    units = [
        Silenced(tuple(pool.entries[start : start + _CHUNK]), torch.tensor(one)) for one in sets for start in starts
    ]
    answers = list(context.over("silenced", silenced_answers, units, settings=("layer",)))
    known = pool.label >= 0
    right = (pool.label == pool.predicted) & known
    made = []
    for number in range(len(sets)):
        parts = answers[number * len(starts) : (number + 1) * len(starts)]
        now = (torch.cat([part.predicted for part in parts]) == pool.label) & known
        counts = ((now).sum(), (now & ~right).sum(), (right & ~now).sum())
        made.append([float(value) for value in counts])
    return Mask(len(suspects), *made[0]), Mask(len(suspects), *np.mean(made[1:], axis=0).tolist())


def _examples(context: AnalysisContext, pool: _Pool, result: DissectionResult) -> tuple[Example, ...]:
    """Draw the images in which the shown units are most active."""
    config = result.config
    units = shown_units(result)
    if not units or not config.examples:
        return ()
    rows = {unit: pool.peak[:, unit].topk(min(config.examples, len(pool.peak))).indices.tolist() for unit in units}
    wanted = [ToDraw(tuple(pool.entries[row] for row in rows[unit]), torch.tensor([unit])) for unit in units]
    drawn: list[Drawn] = list(context.over("pictures", draw, wanted, settings=("layer",)))
    return tuple(
        Example(
            unit, rank, pool.entries[row].item_id, pool.entries[row].key, int(pool.label[row]),
            int(pool.predicted[row]), float(pool.peak[row, unit]), picture.tobytes(), one[0].tolist(),
        )
        for unit, found in zip(units, drawn, strict=True)
        for rank, (row, picture, one) in enumerate(zip(rows[unit], found.pictures, found.maps, strict=True))
    )  # fmt: skip


def shown_units(result: DissectionResult) -> list[int]:
    """Select the units to draw.

    They are those that promote errors most, then the clearest detectors.
    """
    table = dissection_table(result)
    promoted = np.nan_to_num(np.array(table["promoted"].to_pylist(), dtype=float), nan=-np.inf)
    iou = np.array(table["iou"].to_pylist(), dtype=float) * np.array(table["detects"].to_pylist())
    half = result.config.shown_units // 2 if np.isfinite(promoted).any() else 0
    first = np.argsort(-promoted, kind="stable")[:half].tolist()
    rest = [unit for unit in np.argsort(-iou, kind="stable").tolist() if unit not in first and iou[unit] > 0]
    return [*first, *rest[: result.config.shown_units - len(first)]]


def _describe(
    context: AnalysisContext,
    result: DissectionResult,
    pool: _Pool,
    failed: list[tuple[str, str]],
    suspects: list[int],
) -> dict[str, Any]:
    images, classifier = context.images["data"], context.classifier
    known = pool.label >= 0
    whole = next(iter(result.confusions), None)
    return {
        "model": {
            "source": getattr(classifier.recipe, "model", None),
            "identity": classifier.identity,
            "classes": list(images.classes.names),
        },
        "data": images.source.to_dict(),
        "title": images.title,
        "layer": result.layer,
        "units": len(result.thresholds),
        "concepts": {"source": result.source, "names": list(result.concepts)},
        "images": len(pool.entries),
        "labelled": int(known.sum()),
        "correct": int(((pool.label == pool.predicted) & known).sum()),
        "explained": 0 if whole is None else whole.errors,
        "controls": 0 if whole is None else whole.controls,
        "residual": None if whole is None else whole.residual,
        "patched": None if whole is None else whole.patched,
        "suspects": suspects,
        "silenced": [
            {"units": one.units, "correct": one.correct, "corrected": one.corrected, "broken": one.broken}
            for one in result.silenced
        ],
        "failed": [list(one) for one in failed],
        "passes": list(context.passes),
    }
