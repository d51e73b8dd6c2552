"""Run the robustness analysis and write its results to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whywrong.core.config import make_config
from whywrong.core.registry import find_analysis
from whywrong.data.sources.base import Source
from whywrong.explain.robustness.analysis import RobustnessResult, check_models
from whywrong.explain.robustness.config import RobustnessConfig
from whywrong.models.classifier import Classifier
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.progress import Progress
from whywrong.runs.store.results import read_record

PAGE = "robustness.html"
REMEDY = "`whywrong robustness MODEL... DATA --out DIR`"


@dataclass(frozen=True, slots=True, eq=False)
class RobustnessReport:
    """Results of a robustness comparison and the files written.

    Attributes:
        folder: Output folder.
        record: Models, data and settings of the comparison as plain values, as stored in ``robustness/record.json``.
        rows: Rows of the view ``robustness``, one per perturbation and model.
        tests: Rows of the view ``robustness_tests``.
    """

    folder: Path
    record: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    tests: Sequence[Mapping[str, Any]]

    @property
    def page(self) -> Path:
        """Path of the HTML page with the comparison."""
        return self.folder / PAGE


def robustness_report(
    models: Sequence[Classifier],
    names: Sequence[str],
    source: Source,
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    options: AnalysisOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RobustnessReport:
    """Compare models and write all results except the page.

    Args:
        models: At least one model; all must have the same classes and input size.
        names: Names of the models.
        source: Labelled images.
        folder: Output folder.
        settings: Fields of :class:`RobustnessConfig`.
        options: Workers, engine, and how image files are decoded.
        progress: Callback that receives the progress.

    Raises:
        InputError, DataError: For the same reasons as in :func:`whywrong.explain.robustness.analysis.robustness`.
        RunFolderError: ``folder`` holds a run of another model or other files, or is inside the data.
    """
    analysis = find_analysis("robustness")
    config = make_config(RobustnessConfig, settings or {}, analysis.name)
    check_models(models, names)
    result = run_analysis(
        analysis,
        models[0],
        {"data": source},
        folder,
        config=config,
        models=tuple(models[1:]),
        inputs={"names": tuple(names)},
        options=options,
        progress=progress,
    )
    assert isinstance(result, RobustnessResult)
    tables = result.tables()
    record = {name: value for name, value in read_record(folder, analysis, REMEDY).items() if name != "seal"}
    return RobustnessReport(folder, record, tables["rows"].to_pylist(), tables["tests"].to_pylist())
