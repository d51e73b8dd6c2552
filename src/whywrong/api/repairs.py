"""Run the analysis ``repair`` on a finished run and write its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from whywrong.api.verdicts import decoding_of
from whywrong.core.config import make_config
from whywrong.core.errors import InputError, RunFolderError
from whywrong.core.registry import find_analysis
from whywrong.data.sources.base import Source
from whywrong.models.classifier import Classifier
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.folder import RunFolder
from whywrong.runs.progress import Progress
from whywrong.runs.store.layout import results_folder
from whywrong.runs.store.results import kept_digest, read_record
from whywrong.verdicts.repair.config import RepairConfig
from whywrong.verdicts.repair.result import CARD, LISTS_JSON, WEIGHTS, WORK_CSV, RepairResult

REMEDY = "`whywrong repair RUN`"


@dataclass(frozen=True, slots=True, eq=False)
class RepairReport:
    """Results of a repair and the files written.

    Attributes:
        folder: Folder of the lists of work, the weights and the model card.
        tables: Arrow tables ``repair`` (one row per arm), ``repair_classes``, and ``work`` (one row per error).
        record: Counts and remarks.
    """

    folder: Path
    tables: Mapping[str, pa.Table]
    record: Mapping[str, Any]

    @property
    def weights(self) -> Path | None:
        """Path of the weights of the best safe arm; None if no arm is safe."""
        return self.folder / WEIGHTS if self.record["chosen"] else None

    def repaired(self, classifier: Classifier) -> Classifier:
        """Return a copy of the model with the repaired weights.

        Raises:
            InputError: No safe repair was found, or the weights belong to another model.
        """
        from safetensors.torch import load_file

        from whywrong.models.copies import copy_of

        if self.weights is None:
            raise InputError("no safe repair was found, so there are no weights")
        copied = copy_of(classifier)
        assert copied.module is not None
        try:
            copied.module.load_state_dict(load_file(self.weights))
        except RuntimeError as error:
            raise InputError(f"{self.weights}: the weights are of another model ({error})") from None
        return copied


def repair_run(
    run: RunFolder,
    classifier: Classifier,
    source: Source,
    *,
    train: Source | None = None,
    settings: Mapping[str, Any] | None = None,
    options: AnalysisOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RepairReport:
    """Run the analysis ``repair`` on a run.

    Args:
        run: A finished run.
        classifier: The model of the run.
        source: The images of the run.
        train: Training images that prevent forgetting; None uses correctly classified images of the run.
        settings: Fields of :class:`whywrong.verdicts.repair.config.RepairConfig`.
        options: Workers, engine, and how image files are decoded; decoding defaults to that of the run.
        progress: Callback that receives the progress.

    Raises:
        RunFolderError: The run belongs to another model, or a list of work was edited since it was written.
    """
    analysis = find_analysis("repair")
    config = make_config(RepairConfig, settings or {}, analysis.name)
    folder = results_folder(run.path, analysis)
    for name in (WORK_CSV, LISTS_JSON, WEIGHTS, CARD):
        if os.path.lexists(folder / name) and kept_digest(run.path, analysis, name) is None:
            raise RunFolderError(
                f"{folder / name}: somebody changed this file, and it is kept; move it away to write a new one"
            )
    result = run_analysis(
        analysis,
        classifier,
        {"data": source} if train is None else {"data": source, "train": train},
        run.path,
        config=config,
        options=options or AnalysisOptions(decode=decoding_of(run)),
        progress=progress,
    )
    assert isinstance(result, RepairResult)
    record = {name: value for name, value in read_record(run.path, analysis, REMEDY).items() if name != "seal"}
    return RepairReport(folder, result.tables(), record)
