"""The analysis of robustness, which compares models on the same changed images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from whywrong.core.errors import DataError, InputError, ModelError
from whywrong.core.randomness import item_keys
from whywrong.core.registry import resolve
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisResult
from whywrong.explain.robustness.config import RobustnessConfig
from whywrong.explain.robustness.kinds import RowKind, chosen_rows
from whywrong.explain.robustness.parts import Part, RowCall, joined
from whywrong.explain.robustness.patches import patch_side, token_side
from whywrong.explain.robustness.tables import Measured, Missing, comparison_table, image_table, row_table, trial_table
from whywrong.models.classifier import Classifier

IMAGES_PER_UNIT = 32


@dataclass(frozen=True, slots=True)
class Listed:
    """Labelled items of a range of images."""

    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowUnit:
    """One row of one model on a few images.

    Attributes:
        row: Name of the row.
        model: Index of the model.
        side, token: Sides of the patch and of the patch tokens in pixels.
        entries: The images.
    """

    row: str
    model: int
    side: int
    token: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of a unit.

    Attributes:
        item_ids, keys: The images that were read.
        labels: (B,) int64.
        parts: What was measured; empty if the row is missing.
        reason: Why the row is missing; empty otherwise.
        failed: Key and reason of images that could not be read.
    """

    item_ids: tuple[str, ...]
    keys: tuple[str, ...]
    labels: Tensor
    parts: tuple[Part, ...]
    reason: str
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RobustnessResult(AnalysisResult):
    """Result of a comparison of robustness.

    Attributes:
        facts: Plain values for the page.
        measured: Rows with answers.
        missing: Rows without, with the reason.
    """

    facts: Mapping[str, Any]
    measured: Sequence[Measured]
    missing: Sequence[Missing]

    @property
    def record(self) -> Mapping[str, Any]:
        """Values for the page beside the tables."""
        return self.facts

    def columns(self) -> Mapping[str, Any]:
        """Return the columns of the rows."""
        return self.tables()["rows"].to_pydict()

    def tables(self) -> Mapping[str, pa.Table]:
        """Return rows, trials, images and tests."""
        names = self.facts["models"]
        return {
            "rows": row_table(self.measured, self.missing, names),
            "trials": trial_table(self.measured, names),
            "images": image_table(self.measured, names),
            "tests": comparison_table(self.measured, names, self.facts["seed"]),
        }


def robustness(context: AnalysisContext, *, config: RobustnessConfig) -> RobustnessResult:
    """Measure the chosen rows for every model on the same images.

    Args:
        context: Its images are ``data``; its input ``names`` holds the name of each model.
        config: Settings.

    Raises:
        InputError: The models differ in classes or input size, one is given twice, or the patch does not fit.
        ModelError: A model cannot classify the unchanged images.
        DataError: No labelled image could be read.
    """
    models = (context.classifier, *context.models)
    names: list[str] = list(context.inputs["names"])
    check_models(models, names)
    spec = context.images["data"].spec
    token = max((token_side(model) for model in models), default=0)
    side = patch_side(config.patch, spec.height, spec.width, token)
    entries = _entries(context, config.images)
    measured, missing, failed = _measured(context, models, config, entries, side, token)
    facts = {
        "models": names,
        "identities": [model.identity for model in models],
        "data": context.images["data"].source.to_dict(),
        "images": max(len(one.part.predicted) for one in measured.values()),
        "classes": len(context.images["data"].classes),
        "input": [spec.channels, spec.height, spec.width],
        "patch": side,
        "token": token,
        "seed": config.seed,
        "failed": [list(pair) for pair in failed.items()],
    }
    return RobustnessResult(facts, list(measured.values()), missing)


def _measured(
    context: AnalysisContext,
    models: Sequence[Classifier],
    config: RobustnessConfig,
    entries: Sequence[Entry],
    side: int,
    token: int,
) -> tuple[dict[tuple[str, int, int], Measured], list[Missing], dict[str, str]]:
    """Measure all rows.

    Returns:
        Rows by name, model and source; rows without answers; and reasons of images that could not be read.

    Raises:
        ModelError: A model cannot classify the unchanged images.
        DataError: No labelled image could be read.
    """
    measured: dict[tuple[str, int, int], Measured] = {}
    missing: list[Missing] = []
    failed: dict[str, str] = {}
    for kind in chosen_rows(config.rows):
        for index, found in _row(context, models, kind, entries, side, token):
            reason = next((one.reason for one in found if one.reason), "")
            failed.update({key: why for one in found for key, why in one.failed})
            if reason and kind.name == "clean":
                raise ModelError(f"{context.inputs['names'][index]} cannot classify these images: {reason}")
            if reason:
                missing.append(Missing(kind.name, kind.title, kind.group, index, reason))
                continue
            for one in _merged(kind, found):
                measured[one.part.name, one.part.model, one.part.source] = one
        if not measured:
            raise DataError(f"{context.images['data'].title}: no labelled image could be read")
    return measured, missing, failed


def check_models(models: Sequence[Classifier], names: Sequence[str]) -> None:
    """Check that models can be compared on the same images.

    Raises:
        InputError: One is given twice, or classes or input sizes differ; names both models.
    """
    known: dict[str, str] = {}
    for model, name in zip(models, names, strict=True):
        if model.identity in known:
            raise InputError(f"{name} and {known[model.identity]} are the same model; give each model once")
        known[model.identity] = name
        _check_pair(models[0], model, (names[0], name))


def _check_pair(first: Classifier, model: Classifier, names: tuple[str, str]) -> None:
    listed = [None if one.classes is None else [str(name) for name in one.classes.names] for one in (first, model)]
    if None not in listed and listed[0] != listed[1]:
        raise InputError(
            f"{names[0]} and {names[1]} differ in their classes or the order of them; name models of the same classes"
        )
    one, other = first.preprocess, model.preprocess
    if one is None or other is None:
        return
    sizes = [f"{spec.channels} x {spec.height} x {spec.width}" for spec in (one, other)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{names[0]} takes images of {sizes[0]} and {names[1]} of {sizes[1]} (channels x height x width); a "
            "comparison on the same pixels needs models of one input size"
        )


def list_labelled(worker: Any, entries: tuple[Entry, ...]) -> Listed:
    """List the items with a label."""
    return Listed(tuple(entry.item_id for entry in entries if entry.label is not None))


def measure(worker: Any, unit: RowUnit) -> Answers:
    """Measure one row of one model on a few images."""
    models = [worker.classifier, *worker.models]
    for model in models:
        worker.watch(model)
    kind = next(kind for kind in chosen_rows(()) if kind.name == unit.row)
    function, config = resolve(kind.function), worker.config
    ids: list[str] = []
    keys: list[str] = []
    labels: list[Tensor] = []
    parts: list[tuple[Part, ...]] = []
    failed: list[tuple[str, str]] = []
    reason = ""
    for batch in worker.batches(unit.entries, "data"):
        failed += [(str(one.entry.key), one.reason) for one in batch.failed]
        if reason or not len(batch.x):
            continue
        here = [item.entry.item_id for item in batch.items]
        call = RowCall(
            models=models,
            own=unit.model,
            x=batch.x,
            y=batch.y,
            keys=item_keys(config.seed, here, f"robustness.{kind.name}").to(batch.x.device),
            config=config,
            side=unit.side,
            token=unit.token,
        )
        try:
            parts.append(function(call))
        except (ModelError, InputError) as error:
            reason, parts = " ".join(str(error).split()), []
            continue
        ids += here
        keys += [str(item.entry.key) for item in batch.items]
        labels.append(batch.y)
    merged = tuple(joined(same) for same in zip(*parts, strict=True))
    return Answers(tuple(ids), tuple(keys), torch.cat([torch.zeros(0).long(), *labels]), merged, reason, tuple(failed))


def _entries(context: AnalysisContext, most: int) -> list[Entry]:
    """Choose labelled images, spread evenly over the data."""
    ids = [item for part in context.over_images("list", list_labelled, settings=()) for item in part.item_ids]
    if not ids:
        raise DataError(f"{context.images['data'].title}: no image has a label")
    number = min(most, len(ids))
    chosen = [ids[index * len(ids) // number] for index in range(number)]
    found = context.entries(chosen)
    return [found[item] for item in chosen if item in found]


def _row(
    context: AnalysisContext,
    models: Sequence[Classifier],
    kind: RowKind,
    entries: Sequence[Entry],
    side: int,
    token: int,
) -> Iterator[tuple[int, list[Answers]]]:
    """Measure a row for all models, as index and answers; a model with too little access only gets the reason."""
    chunks = [tuple(entries[at : at + IMAGES_PER_UNIT]) for at in range(0, len(entries), IMAGES_PER_UNIT)]
    able = [index for index, model in enumerate(models) if model.access >= kind.access]
    units = [RowUnit(kind.name, index, side, token, chunk) for index in able for chunk in chunks]
    found = list(context.over(kind.name, measure, units, settings=kind.settings))
    for index, model in enumerate(models):
        if index in able:
            start = able.index(index) * len(chunks)
            yield index, found[start : start + len(chunks)]
        else:
            reason = f"needs access to {kind.access.name.lower()}, this model grants {model.access.name.lower()}"
            yield index, [Answers((), (), torch.zeros(0).long(), (), reason, ())]


def _merged(kind: RowKind, found: Sequence[Answers]) -> list[Measured]:
    """Merge the answers of the units of a row."""
    full = [one for one in found if one.parts]
    ids = tuple(item for one in full for item in one.item_ids)
    keys = tuple(key for one in full for key in one.keys)
    labels = torch.cat([torch.zeros(0).long(), *(one.labels for one in full)])
    merged = [joined(same) for same in zip(*(one.parts for one in full), strict=True)]
    return [Measured(kind, one, ids, keys, labels) for one in merged]
