"""Diagnose planted errors without a look at their causes, as ``whywrong diagnose`` and ``whywrong verdict`` do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.input_spec import InputSpec
from whywrong.core.registry import find_analysis
from whywrong.data.objects.opening import open_any
from whywrong.data.sources.base import Source
from whywrong.models.classifier import Classifier
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.planting.verdicts.subjects import Subjects
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.diagnose import diagnose
from whywrong.runs.options import RunOptions
from whywrong.runs.progress import Progress
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.config import VerdictConfig

IMAGES = "images.npz"  # errors and correct images, with labels and nothing else
RUN = "run"


@dataclass(frozen=True, slots=True, eq=False)
class Blind:
    """Verdicts on the planted errors.

    Attributes:
        row: (N,), int64, rows of the planted errors that have a verdict.
        p: (N, 8), float64, calibrated probabilities of the classes.
        sets: (N, 8), bool, which classes are in the 90 % set.
        cause: Cause of each error as shown, or ``undetermined``.
        tested: ``supported``, ``contradicted`` or ``untested``.
        stage: (N,), int64, stage of the cascade after which each error left.
        signs: (N, S), float64, normal scores; NaN if not measured.
        sign_names, sign_groups: Name and group of each sign.
        record: Record of the analysis.
        seconds: Wall time of the analysis.
        pass_seconds: Wall time of one forward pass of one image, in batches as in the analysis.
    """

    row: np.ndarray
    p: np.ndarray
    sets: np.ndarray
    cause: tuple[str, ...]
    tested: tuple[str, ...]
    stage: np.ndarray
    signs: np.ndarray
    sign_names: tuple[str, ...]
    sign_groups: tuple[str, ...]
    record: Mapping[str, Any]
    seconds: float
    pass_seconds: float


def write_images(errors: PlantedErrors, subjects: Subjects, reference: Tensor, spec: InputSpec, folder: Path) -> Source:
    """Write errors and correct images to a file that holds their labels and nothing of their causes.

    Args:
        errors: Planted errors; they come first.
        subjects: Images of the model.
        reference: Rows of correct images.
        spec: Input of the model. If it resizes and crops, images get a margin, so that its crop returns their pixels.
        folder: Folder of the benchmark.
    """
    x = torch.cat([errors.x, subjects.x[reference]]).permute(0, 2, 3, 1).numpy()
    labels = torch.cat([errors.label, subjects.y[reference]]).numpy()
    margin = 0 if spec.resize is None else max(0, spec.resize - min(spec.height, spec.width))
    if margin:
        before = round(margin / 2.0)  # half to even, as the crop rounds
        around = (before, margin - before)
        x = np.pad(x, ((0, 0), around, around, (0, 0)), mode="reflect")
    np.savez(folder / IMAGES, images=x, labels=labels)
    return open_any(folder / IMAGES, label_by="index")


def give_blind(
    classifier: Classifier,
    source: Source,
    count: int,
    folder: Path,
    *,
    helpers: Sequence[Classifier] = (),
    combiner: Combiner | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Blind:
    """Diagnose the images of a source and give verdicts on its errors.

    Args:
        classifier: The model.
        source: Result of :func:`write_images`.
        count: Number of planted errors, which come first in the source.
        folder: Folder of the benchmark, which gets a run; it is resumed if it is there.
        helpers: Other models.
        combiner: Combiner instead of the one that ships with the package.
        settings: Of :class:`whywrong.verdicts.config.VerdictConfig`.
        progress: Called with the progress.
    """
    run = diagnose(
        classifier, source, folder / RUN, RunOptions(methods=(), seed=0), progress=progress or (lambda _: None)
    )
    began = time.monotonic()
    result = run_analysis(
        find_analysis("verdict"),
        classifier,
        {"data": source},
        run.path,
        config=VerdictConfig(**(settings or {})),
        models=helpers,
        inputs=None if combiner is None else {"combiner": combiner},
        options=AnalysisOptions(),
        progress=progress,
    )
    seconds = time.monotonic() - began
    tables = {name: table.to_pylist() for name, table in result.tables().items()}
    place = {entry.item_id: row for row, entry in enumerate(source.entries())}
    rows = sorted((place[one["item_id"]], one) for one in tables["verdicts"] if place[one["item_id"]] < count)
    return _blind(rows, tables["signs"], place, result.record, seconds, _pass_seconds(classifier, source))


def _blind(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    sign_rows: Sequence[Mapping[str, Any]],
    place: Mapping[str, int],
    record: Mapping[str, Any],
    seconds: float,
    pass_seconds: float,
) -> Blind:
    p, sets = np.zeros((len(rows), len(CLASSES))), np.zeros((len(rows), len(CLASSES)), dtype=bool)
    for at, (_, one) in enumerate(rows):
        for cause in one["causes"] or ():
            p[at, CLASSES.index(cause["cause"])] = cause["probability"]
        p[at, CLASSES.index(ORDINARY)] = one["ordinary"] or 0.0
        sets[at, [CLASSES.index(name) for name in one["set90"] or () if name in CLASSES]] = True
    groups = {one["sign"]: one["group"] for one in sign_rows}
    names = tuple(groups)
    column, of_row = {name: at for at, name in enumerate(names)}, {row: at for at, (row, _) in enumerate(rows)}
    signs = np.full((len(rows), len(names)), np.nan)
    for one in sign_rows:
        row = of_row.get(place[one["item_id"]])
        if row is not None and one["normal"] is not None:
            signs[row, column[one["sign"]]] = one["normal"]
    return Blind(
        row=np.array([row for row, _ in rows], np.int64),
        p=p,
        sets=sets,
        cause=tuple(one["cause"] for _, one in rows),
        tested=tuple(one["tested"] for _, one in rows),
        stage=np.array([one["stage"] for _, one in rows], np.int64),
        signs=signs,
        sign_names=names,
        sign_groups=tuple(groups.values()),
        record=record,
        seconds=seconds,
        pass_seconds=pass_seconds,
    )


def _pass_seconds(classifier: Classifier, source: Source) -> float:
    """Measure the time of one forward pass of one image, the least of three batches."""
    spec = classifier.preprocess
    assert spec is not None
    x = torch.rand(32, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(0))
    times = []
    with classifier:
        for _ in range(3):
            began = time.monotonic()
            classifier.predict(x.to(classifier.device))
            times.append(time.monotonic() - began)
    return min(times) / len(x)
