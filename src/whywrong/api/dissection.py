"""Run a network dissection and write its results to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from whywrong.core.config import make_config
from whywrong.core.registry import find_analysis
from whywrong.data.sources.base import Source
from whywrong.explain.dissection.analysis import DissectionResult
from whywrong.explain.dissection.config import DissectionConfig
from whywrong.models.classifier import Classifier
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.progress import Progress
from whywrong.runs.store.results import read_record

PAGE = "dissection.html"


@dataclass(frozen=True, slots=True, eq=False)
class DissectionReport:
    """Results of a network dissection and the files written.

    Attributes:
        folder: Output folder.
        tables: Arrow tables ``dissection`` (one row per unit), ``unit_effects`` (one row per confusion and unit) and
            ``unit_examples``.
        record: Layer, concepts, counts, and the effect of silencing the units that promote errors.
    """

    folder: Path
    tables: Mapping[str, pa.Table]
    record: Mapping[str, Any]

    @property
    def page(self) -> Path:
        """Path of the HTML page with the units."""
        return self.folder / PAGE


def dissection_report(
    classifier: Classifier,
    source: Source,
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    options: AnalysisOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DissectionReport:
    """Dissect a layer and write all results except the page.

    Args:
        classifier: The model.
        source: Labelled images.
        folder: Output folder.
        settings: Fields of :class:`DissectionConfig`.
        options: Workers, engine, and how image files are decoded.
        progress: Callback that receives the progress.

    Raises:
        InputError, AccessError, ModelError, DataError: For the same reasons as in
            :func:`whywrong.explain.dissection.analysis.dissection`.
        RunFolderError: ``folder`` holds a run of another model or other files, or is inside the data.
    """
    analysis = find_analysis("dissection")
    config = make_config(DissectionConfig, settings or {}, analysis.name)
    result = run_analysis(
        analysis, classifier, {"data": source}, folder, config=config, options=options, progress=progress
    )
    assert isinstance(result, DissectionResult)
    record = read_record(folder, analysis, "`whywrong dissect MODEL DATA --out DIR`")
    return DissectionReport(folder, result.tables(), {name: value for name, value in record.items() if name != "seal"})
