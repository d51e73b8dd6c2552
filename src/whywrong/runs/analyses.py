"""Run an analysis of data sets in units that are stored, resumed and distributed to workers."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
import pyarrow as pa

from whywrong._version import __version__
from whywrong.core.config import config_dict
from whywrong.core.errors import AccessError, InputError, RunFolderError
from whywrong.core.registry import Analysis, resolve
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Entry, Source
from whywrong.explain.analysis import AnalysisResult, ImageSet, Kept
from whywrong.models.classifier import Classifier
from whywrong.runs import identity
from whywrong.runs.engines.base import Engine, EngineOptions
from whywrong.runs.engines.local import kept_in_memory, worker_cards
from whywrong.runs.engines.main_guard import require_main_guard
from whywrong.runs.engines.names import find_engine
from whywrong.runs.folder import RunFolder
from whywrong.runs.guard import check_apart, quarantine
from whywrong.runs.interrupts import Interrupted, Stop, StopNow
from whywrong.runs.labelled import LabelledSource
from whywrong.runs.progress import Progress, Ticker
from whywrong.runs.store.files import intact, preparing
from whywrong.runs.store.layout import RUN_FILE, UNITS, check_folder, results_folder, survey, tidy
from whywrong.runs.store.lock import RunLock
from whywrong.runs.store.packing import layout, pack, unpack
from whywrong.runs.store.results import write_results
from whywrong.runs.store.run_file import read_run_file
from whywrong.runs.store.shards import read_maps, run_of, shard_name
from whywrong.runs.work.units import PASSES, AnalysisSpec, Sources, UnitTask

R = TypeVar("R")
TIME_LIMIT = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOptions:
    """Options of an analysis.

    Attributes:
        workers: 1 works in this process; more are spawned processes, whose crash does not end the run.
        engine: Where the work runs, see :mod:`whywrong.runs.engines.names`.
        time_limit: Seconds without an image passing, after which a worker process counts as hung.
        decode: How files are decoded.
    """

    workers: int = 1
    engine: str = "local"
    time_limit: float = TIME_LIMIT
    decode: DecodeOptions | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers must be at least 1, got {self.workers}")


def run_analysis(
    analysis: Analysis,
    classifier: Classifier,
    images: Mapping[str, Source],
    out: Path | str,
    *,
    config: Any,
    models: Sequence[Classifier] = (),
    inputs: Mapping[str, Any] | None = None,
    options: AnalysisOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> AnalysisResult:
    """Run an analysis and write its tables to a folder.

    The folder may be that of a run of the same model. Units already stored there are not computed again, so the same
    call resumes an interrupted analysis.

    Args:
        analysis: Its registry entry.
        classifier: The classifier.
        images: Sets of labelled images by name.
        out: Output folder; created if missing.
        config: Frozen config of the analysis.
        models: Further classifiers.
        inputs: Further inputs of the analysis, by name.
        options: Workers, engine, and how files are decoded.
        progress: Called after every unit, and twice a second while images pass.

    Raises:
        AccessError: The classifier grants less access than the analysis needs.
        InputError: A label belongs to no class, or there are more workers than GPUs.
        DataError: There is nothing to read.
        RunFolderError: The folder holds something else or the run of another model, is in use, or lies in the data.
        EnvironmentFailure: Disk or workers fail; the same call resumes.
        Interrupted: Interrupted by a signal; the same call resumes.
    """
    options = options or AnalysisOptions()
    if classifier.access < analysis.access:
        raise AccessError(
            f"{analysis.name} needs access to {analysis.access.name}, this classifier grants {classifier.access.name}"
        )
    report = progress or (lambda _: None)
    folder = Path(os.path.abspath(out))  # a model may change the working directory
    workers = _workers(options.workers, (classifier, *models), images)
    _check_place(folder, classifier, images)
    before = classifier.batch_size
    try:
        with Stop(on_signal=lambda: report(Progress("stopping", 0, 0, 0, 0))) as stop, classifier:
            settled = {name: _settle(name, source, classifier, options.decode) for name, source in images.items()}
            _check_models(config, classifier, settled)
            stop.check()
            with RunLock(folder):
                with preparing(folder):
                    _make_room(folder, analysis)
                context = _Context(analysis, classifier, images, folder, config, settled, stop, report)
                context.models, context.inputs = models, inputs or {}
                context.placement = find_engine(options.engine), workers, options.time_limit
                try:
                    result = resolve(analysis.function)(context, config=config)
                finally:
                    context.close()
                write_analysis(folder, analysis, config, result)
    except StopNow:
        raise Interrupted(f"{folder}: interrupted; finished work is kept, and the same call resumes it") from None
    finally:
        classifier.batch_size = before
    return result


def write_analysis(folder: Path, analysis: Analysis, config: Any, result: AnalysisResult) -> None:
    """Write the tables, the record and the files of a result to a locked folder.

    Raises:
        EnvironmentFailure: The disk is full or fails.
    """
    record = {"whywrong": __version__, "analysis": analysis.name, "config": config_dict(config), **result.record}
    if result.checks:
        record["checks"] = result.checks
    basis = result.basis or _digest([analysis.name, analysis.result_version, config_dict(config)])
    write_results(folder, analysis, result.tables(), record, basis=basis, files=result.files)


def _workers(asked: int, models: Sequence[Classifier], images: Mapping[str, Source]) -> int:
    """Return the possible number of workers."""
    kept = [text for source in images.values() for model in models if (text := kept_in_memory(model, source))]
    if asked > 1 and kept:
        text = f"{kept[0]} only in memory, which no other process can see: one worker does it all"
        warnings.warn(text, stacklevel=3)
        return 1
    worker_cards(models[0], asked)
    if asked > 1:
        require_main_guard()
    return asked


def _check_place(folder: Path, classifier: Classifier, images: Mapping[str, Source]) -> None:
    """Check that the folder is not in the data, of something else, or of the run of another model.

    A run of the same data has been checked, and may hold its own list of them.
    """
    run = read_run_file(folder) if (folder / RUN_FILE).exists() else None
    for source in images.values():
        if run is None or run["data"]["source"] != source.spec.to_dict():
            check_apart(folder, source.spec)
    check_folder(folder)
    if run is None:
        return
    known = run["model"]["identity"]
    if known != classifier.identity:
        raise RunFolderError(
            f"{folder}: the run of another model (identity {known[:12]}, this one {classifier.identity[:12]}); "
            "use another folder"
        )


def _make_room(folder: Path, analysis: Analysis) -> None:
    """Remove what killed writers left, and quarantine damaged files of an earlier analysis."""
    found = survey(folder)
    tidy(folder, found)
    place = results_folder(folder, analysis)
    for path in found.files:
        if path.parent == place and path.name not in analysis.files and not intact(path):
            quarantine(folder, path)


def _settle(name: str, source: Source, classifier: Classifier, decode: DecodeOptions | None) -> ImageSet:
    settled = LabelledSource(source, decode).settle(classifier)
    return ImageSet(
        name=name,
        title=source.title,
        source=source.spec,
        spec=settled.spec,
        classes=settled.classes,
        labels=settled.labels,
        options=decode or DecodeOptions(),
        count=len(source),
    )


def _check_models(config: Any, classifier: Classifier, images: Mapping[str, ImageSet]) -> None:
    """Let an analysis check the classifier and the models of its settings before anything is read or written."""
    if not hasattr(config, "check_models"):
        return
    for one in images.values():
        config.check_models(classifier, (one.spec.channels, one.spec.height, one.spec.width))


class _Context:
    """Implements :class:`whywrong.explain.analysis.AnalysisContext`."""

    models: Sequence[Classifier] = ()
    inputs: Mapping[str, Any]
    placement: tuple[Callable[..., Engine], int, float]

    def __init__(
        self,
        analysis: Analysis,
        classifier: Classifier,
        sources: Mapping[str, Source],
        folder: Path,
        config: Any,
        images: Mapping[str, ImageSet],
        stop: Stop,
        report: Callable[[Progress], None],
    ) -> None:
        self.classifier, self.images = classifier, images
        self._analysis, self._sources, self._folder, self._config = analysis, sources, folder, config
        self._stop, self._report = stop, report
        self._engine: Engine | None = None
        self._passes = np.zeros(2, np.int64)

    def over_images(
        self,
        step: str,
        function: Callable[[Any, tuple[Entry, ...]], R],
        *,
        images: str = "data",
        settings: Sequence[str] | None = None,
    ) -> Iterator[R]:
        """Compute a step over all images of a set, in chunks of fixed size."""
        entries, size = list(self._sources[images].entries()), identity.SHARD_SIZE
        units = [tuple(entries[start : start + size]) for start in range(0, len(entries), size)]
        return self._results(function, self._over(step, function, units, settings, images))

    def over(
        self,
        step: str,
        function: Callable[[Any, Any], R],
        units: Sequence[Any],
        *,
        settings: Sequence[str] | None = None,
    ) -> Iterator[R]:
        """Compute a step over units of any kind."""
        return self._results(function, self._over(step, function, units, settings))

    def once(
        self, step: str, function: Callable[[Any, Any], Any], unit: Any, *, settings: Sequence[str] | None = None
    ) -> Kept:
        """Compute a step of one unit whose result is read by other units."""
        (task,) = self._over(step, function, [unit], settings)
        self._passes += read_maps(task.path, [PASSES])[PASSES]
        kind = get_type_hints(function)["return"]
        path = task.path.relative_to(self._folder).as_posix()
        return Kept(path, f"{kind.__module__}:{kind.__qualname__}", task.identity)

    def read(self, kept: Kept) -> Any:
        """Read a result that :meth:`once` stored."""
        return unpack(resolve(kept.kind), read_maps(self._folder / kept.path))

    def entries(self, item_ids: Sequence[str], images: str = "data") -> dict[str, Entry]:
        """Return the entries of some items of a set by ``item_id``."""
        wanted = set(item_ids)
        listed = ((entry.item_id, entry) for entry in self._sources[images].entries())
        return {item_id: entry for item_id, entry in listed if item_id in wanted}

    @property
    def passes(self) -> tuple[int, int]:
        """Images sent forward and backward through the classifier by all units so far."""
        return int(self._passes[0]), int(self._passes[1])

    def query(self, sql: str) -> pa.Table:
        """Read rows of the run in the folder.

        Raises:
            InputError: The folder holds no run.
        """
        if not (self._folder / RUN_FILE).exists():
            raise InputError(
                f"{self._folder}: {self._analysis.name} reads a run; make one with whywrong diagnose --out"
            )
        return RunFolder(self._folder).query(sql)

    def progress(self, step: str, done: int, total: int) -> None:
        """Report the progress of a step that is computed outside of units."""
        self._stop.check()
        self._report(Progress(step, done, total, 0, 0))

    def close(self) -> None:
        """Stop the workers."""
        if self._engine is not None:
            self._engine.close()

    def _over(
        self,
        step: str,
        function: Callable[..., Any],
        units: Sequence[Any],
        settings: Sequence[str] | None,
        images: str = "",
    ) -> list[UnitTask]:
        """Compute the missing units of a step over images of one set, or over units of any kind."""
        made_of = self._made_of(step, function, settings, [images] if images else list(self.images))
        place = self._folder / UNITS / self._analysis.name / step.replace(" ", "_") / made_of[:12]
        tasks = [
            UnitTask(
                stage=step,
                shard=index,
                function=function,
                unit=unit,
                path=place / shard_name(index, ".safetensors"),
                identity=f"{made_of}-{_packed_digest(unit)}",
                size=len(unit) if images else 1,
                images=images or "data",
            )
            for index, unit in enumerate(units)
        ]
        self._compute(step, [task for task in tasks if not self._is_stored(task)])
        self._forget_others(place)
        return tasks

    def _results(self, function: Callable[..., R], tasks: Sequence[UnitTask]) -> Iterator[R]:
        kind = get_type_hints(function)["return"]
        for task in tasks:
            arrays = read_maps(task.path)
            self._passes += arrays[PASSES]
            yield unpack(kind, arrays)

    def _compute(self, step: str, due: Sequence[UnitTask]) -> None:
        if not due:
            return
        done = failed = 0
        shown = Ticker(self._report, Progress(step, 0, sum(task.size for task in due), 0, 0))
        self._engine = self._engine or self._make_engine()
        for report in self._engine.run(due, shown.on_heartbeat):
            if not report.complete:
                raise StopNow
            done, failed = done + report.done, failed + report.failed
            shown.show(done=done, failed=failed)

    def _make_engine(self) -> Engine:
        make, workers, time_limit = self.placement
        spec = AnalysisSpec(
            config=self._config,
            images=self.images,
            models=tuple(self.models if workers == 1 else [model.recipe for model in self.models]),
            batch_size=self.classifier.batch_size,
            folder=self._folder,
        )
        options = EngineOptions(workers=workers, stop=self._stop, time_limit=time_limit, items_of=_items_of)
        return make(spec, self.classifier, Sources(self._sources), options)

    def _made_of(
        self, step: str, function: Callable[..., Any], settings: Sequence[str] | None, images: Sequence[str]
    ) -> str:
        """Compute a digest of everything that all units of a step depend on."""
        config = config_dict(self._config)
        return _digest(
            [
                self._analysis.name,
                self._analysis.result_version,
                step,
                layout(get_type_hints(function)["return"]),
                [model.identity for model in (self.classifier, *self.models)],
                [self.classifier.device.type, self.classifier.precision],
                {name: asdict(self.images[name]) for name in images},
                config if settings is None else {name: config[name] for name in settings},
            ]
        )

    def _is_stored(self, task: UnitTask) -> bool:
        if not os.path.lexists(task.path):
            return False
        if not intact(task.path):
            quarantine(self._folder, task.path)
            return False
        return run_of(task.path) == task.identity

    def _forget_others(self, place: Path) -> None:
        """Remove results of this step with other settings; only the last settings are kept."""
        for path in survey(self._folder).files:
            if path.parent != place and path.parent.parent == place.parent:
                path.unlink(missing_ok=True)


def _items_of(task: UnitTask) -> list[str]:
    """Return the items of a unit of images, any of which may have crashed a worker; none for other units."""
    entries = getattr(task.unit, "entries", task.unit)
    return [entry.item_id for entry in (entries if isinstance(entries, tuple) else ()) if isinstance(entry, Entry)]


def _packed_digest(unit: Any) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(pack(unit).items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
