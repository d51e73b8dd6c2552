"""A toy analysis in one file: how bright the images of each class are, and how far from their mean."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.registry import Analysis
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisResult, AnalysisWorker
from whywrong.report.analyses.base import AnalysisSection


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """Settings of the toy.

    Attributes:
        gain: Factor of every mean.
        power: Of the distance to the mean.
        log: File in which every unit leaves a line, for tests.
    """

    gain: float = 1.0
    power: float = 1.0
    log: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """Of a stretch of images: class, mean level and predicted class of each, and what failed."""

    label: Tensor
    mean: Tensor
    predicted: Tensor
    failed: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class OneClass:
    """A class with the levels of its images."""

    index: int
    levels: np.ndarray


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one class."""

    distance: float


@dataclass(frozen=True, slots=True, eq=False)
class Brightness(AnalysisResult):
    """Of every class."""

    index: list[int]
    mean: list[float]
    distance: list[float]
    failed: list[tuple[str, str]]

    def columns(self) -> Mapping[str, Any]:
        """Columns of the table."""
        return {"class": self.index, "mean": self.mean, "distance": self.distance}

    @property
    def checks(self) -> Mapping[str, Any]:
        """Between which levels the means lie."""
        return {"lowest": min(self.mean), "highest": max(self.mean)}

    @property
    def record(self) -> Mapping[str, Any]:
        """What failed."""
        return {"failed": self.failed}


def brightness(context: AnalysisContext, *, config: ToyConfig) -> Brightness:
    """Measure every class."""
    parts = list(context.over_images("means", means, settings=("gain", "log")))
    label = np.concatenate([part.label.numpy() for part in parts])
    level = np.concatenate([part.mean.numpy() for part in parts])
    units = [OneClass(index, level[label == index]) for index in sorted(set(label.tolist()))]
    spreads = context.over("spread of a class", spread, units)
    return Brightness(
        [unit.index for unit in units],
        [float(unit.levels.mean()) for unit in units],
        [one.distance for one in spreads],
        [pair for part in parts for pair in part.failed],
    )


def means(worker: AnalysisWorker, entries: tuple[Entry, ...]) -> Means:
    """Look at a stretch of images."""
    _log(worker.config, f"means {entries[0].key}")
    label, mean, predicted, failed = [], [], [], []
    for batch in worker.batches(entries):
        failed += [(one.entry.key, one.reason) for one in batch.failed]
        if len(batch.x):
            label.append(batch.y)
            mean.append(worker.config.gain * batch.x.double().mean((1, 2, 3)))
            predicted.append(worker.classifier.predict(batch.x))
    return Means(torch.cat(label), torch.cat(mean), torch.cat(predicted), failed)


def spread(worker: AnalysisWorker, unit: OneClass) -> Spread:
    """Look at one class."""
    _log(worker.config, f"spread {unit.index}")
    return Spread(float((np.abs(unit.levels - unit.levels.mean()) ** worker.config.power).mean()))


def _log(config: ToyConfig, text: str) -> None:
    if config.log:
        with open(config.log, "a") as file:
            file.write(f"{text} {os.getpid()}\n")


def section(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> AnalysisSection:
    """What the report shows of the toy."""
    return AnalysisSection(
        title="How bright the <classes> are",
        sentences=[f"The darkest class has a level of {record['checks']['lowest']:.3f}."],
        header=["class", "level"],
        rows=[[row["class"], f"{row['mean']:.3f}"] for row in rows],
    )


TOY = Analysis(
    name="toy",
    title="how bright the images of a class are",
    access=Access.SCORES,
    function=f"{__name__}:brightness",
    config=f"{__name__}:ToyConfig",
    report=f"{__name__}:section",
)


def lines(log: Path) -> list[str]:
    """What units left in the log, without the process."""
    return [line.rpartition(" ")[0] for line in log.read_text().splitlines()] if log.exists() else []
