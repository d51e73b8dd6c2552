"""Find the causes of the errors of a finished run and write the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.core.config import make_config
from whywrong.core.errors import EnvironmentFailure, InputError
from whywrong.core.registry import find_analysis
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source, SourceSpec
from whywrong.models.classifier import Classifier
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.folder import RunFolder
from whywrong.runs.labelled import LabelledSource
from whywrong.runs.progress import Progress
from whywrong.runs.store.results import read_record
from whywrong.verdicts.config import VerdictConfig
from whywrong.verdicts.telling.fail_on import Judgement, judge, parse_rule

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from whywrong.verdicts.combiner.model import Combiner

REMEDY = "`whywrong verdict RUN`"


@dataclass(frozen=True, slots=True, eq=False)
class VerdictReport:
    """Verdicts on the errors of a run and the files written.

    Attributes:
        folder: Folder of the run.
        tables: Arrow tables ``verdicts``, ``signs``, ``interventions``, ``groups`` and ``advice``.
        record: Counts, controls, combiner, costs, missing evidence, and remarks.
    """

    folder: Path
    tables: Mapping[str, pa.Table]
    record: Mapping[str, Any]

    @property
    def verdicts(self) -> pd.DataFrame:
        """Verdicts, one row per error."""
        return self._frame("verdicts")

    @property
    def groups(self) -> pd.DataFrame:
        """Groups of errors, one row per group."""
        return self._frame("groups")

    @property
    def advice(self) -> pd.DataFrame:
        """Recommended actions, one row per action and arm of a group."""
        return self._frame("advice")

    def judge(self, rule: str, *, strict: bool = False) -> Judgement:
        """Evaluate a rule on the verdicts, such as ``spurious>5%``.

        Args:
            rule: ``cause[:tested] op number[%]``.
            strict: Whether the rule is undecided if the 95 % interval contains the bound.

        Raises:
            InputError: The rule cannot be parsed.
        """
        return judge(parse_rule(rule), self.tables["verdicts"].select(["cause", "tested"]).to_pylist(), strict=strict)

    def _frame(self, name: str) -> pd.DataFrame:
        try:
            return self.tables[name].to_pandas()
        except ImportError:
            raise EnvironmentFailure(
                f'pandas is not installed; install it, or take the Arrow table: report.tables["{name}"]'
            ) from None


def give_verdicts(
    run: RunFolder,
    classifier: Classifier,
    source: Source,
    *,
    helpers: Sequence[Classifier] = (),
    reference: Source | None = None,
    settings: Mapping[str, Any] | None = None,
    combiner: Combiner | None = None,
    options: AnalysisOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VerdictReport:
    """Run the analysis ``verdict`` on a run.

    Args:
        run: A finished run.
        classifier: The model of the run.
        source: The images of the run.
        helpers: Other models with the same classes. Their predictions are evidence.
        reference: Labelled images whose correctly classified ones become the controls; None takes those of the run.
        settings: Fields of :class:`whywrong.verdicts.config.VerdictConfig`.
        combiner: Turns the evidence into causes; None uses the combiner shipped with the package.
        options: Workers, engine, and how image files are decoded; decoding defaults to that of the run.
        progress: Callback that receives the progress.

    Raises:
        InputError, DataError: For the same reasons as in :func:`whywrong.verdicts.analysis.verdict`.
        RunFolderError: The run belongs to another model.
    """
    analysis = find_analysis("verdict")
    config = make_config(VerdictConfig, settings or {}, analysis.name)
    options = options or AnalysisOptions(decode=decoding_of(run))
    images = {"data": source} if reference is None else {"data": source, "reference": reference}
    result = run_analysis(
        analysis,
        classifier,
        images,
        run.path,
        config=config,
        models=helpers,
        inputs={} if combiner is None else {"combiner": combiner},
        options=options,
        progress=progress,
    )
    record = {name: value for name, value in read_record(run.path, analysis, REMEDY).items() if name != "seal"}
    return VerdictReport(run.path, result.tables(), record)


def adapted_combiner(
    classifier: Classifier,
    source: Source,
    helpers: Sequence[Classifier],
    decode: DecodeOptions,
    progress: Callable[[Progress], None] | None = None,
) -> Combiner:
    """Adapt the shipped combiner to a model, using errors planted in its images.

    Args:
        classifier: The model.
        source: Labelled images in which errors are planted.
        helpers: Other models with the same classes. Their predictions are evidence.
        decode: How image files are decoded.
        progress: Callback that receives the progress after every step.

    Raises:
        DataError: Too few errors can be planted, or the file of the combiner is missing.
    """
    from whywrong.planting.verdicts.adapting import adapt_to_images

    def told(name: str, count: int) -> None:
        if progress is not None:
            progress(Progress(f"adapt {name}", count, max(1, count), 0, 0))

    return adapt_to_images(classifier, LabelledSource(source, decode), helpers=helpers, progress=told).combiner


def model_of(run: RunFolder, load: Callable[[str], Classifier]) -> Classifier:
    """Load the model of a run by the name stored in the run.

    Args:
        run: The run.
        load: Function that loads a model by name.

    Raises:
        InputError: The run stores no name, or the name loads another model because the model options are not stored.
    """
    name = run.meta["model"].get("source")
    if not name:
        raise InputError(f"{run.path}: the model of this run was given in memory; give it again as MODEL (model=...)")
    classifier = load(name)
    if classifier.identity != run.meta["model"]["identity"]:
        raise InputError(
            f"{run.path}: {name} alone does not give the model of this run; give MODEL and its options, such as "
            "--weights, as for the run"
        )
    return classifier


def data_of(run: RunFolder) -> Source:
    """Open the images of a run at the path stored in the run.

    Raises:
        InputError: The images were given in memory.
        DataError: The images no longer exist.
    """
    spec = SourceSpec(**run.meta["data"]["source"])
    if spec.kind == "object":
        raise InputError(f"{run.path}: the data of this run were given in memory; give them again as DATA (data=...)")
    return spec.open()


def decoding_of(run: RunFolder) -> DecodeOptions:
    """Return the options with which the image files of a run are decoded."""
    return make_config(DecodeOptions, run.meta["decoding"], "decoding")
