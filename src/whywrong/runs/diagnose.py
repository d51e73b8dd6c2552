"""The main job: list, predict, explain; resumable at every step, extensible afterwards."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.registry import DEPTHS, Depth
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source
from whywrong.models.classifier import Classifier
from whywrong.models.health import accuracy_findings, check_nonfinite_share
from whywrong.runs.bench import Bench
from whywrong.runs.effort import expected
from whywrong.runs.engine import Engine, InProcess, Processes
from whywrong.runs.folder import RunFolder, write_run_file
from whywrong.runs.guard import adopt, open_for_writing
from whywrong.runs.identity import describe, identity, step_record
from whywrong.runs.interrupts import Interrupted, Stop, StopNow
from whywrong.runs.job import Job, Report, Sign, Step, Unit
from whywrong.runs.listing import write_listing
from whywrong.runs.lock import RunLock
from whywrong.runs.plan import plan_explain, plan_predictions
from whywrong.runs.predict import NOT_FINITE
from whywrong.runs.schemas import KEYS
from whywrong.runs.selection import count_reason, labelled_predictions, select_details
from whywrong.runs.setup import Sample, check_models, choose_steps, grant, result_schema, settle_classes, settle_spec
from whywrong.runs.shards import SCHEMA_FILE, write_table

TIME_LIMIT = 600.0
_TICK = 0.5  # seconds between signs of life
_LOADERS = 4  # threads that decode; more than this never kept a model on few cores waiting


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: ``list``, ``predict`` or ``explain``.
        done: Items, or errors, of the stage that this call has done.
        total: All that it has to do.
        errors: Wrong items that this call has found.
        failed: Items that could not be used, in this call.
        passes: Images, counted forward and backward, that this stage has sent through the model.
        share: Of ``explain``: how much of its work is done, 0 to 1, by the passes spent and those still expected; None
            in other stages. It moves while a method works, ``done`` only with finished shards.
        method: Of ``explain``: the method in hand; empty where there is none.
    """

    stage: str
    done: int
    total: int
    errors: int
    failed: int
    passes: int = 0
    share: float | None = None
    method: str = ""


def diagnose(
    classifier: Classifier,
    source: Source,
    out: Path | str,
    *,
    depth: Depth = "quick",
    methods: Sequence[str] | None = None,
    limit: int = 200,
    seed: int = 0,
    workers: int = 1,
    batch_size: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    decode_options: DecodeOptions | None = None,
    time_limit: float = TIME_LIMIT,
    progress: Callable[[Progress], None] | None = None,
) -> RunFolder:
    """Find the images that a classifier gets wrong and gather evidence; everything lands in a run folder.

    What the folder already holds of the same run is kept and not computed again: an interrupted run goes on, methods,
    depth and ``limit`` may be added to, and of changed data only what changed is redone.

    Args:
        classifier: The classifier; without a recipe it exists only in memory and runs in this process.
        source: Labelled images.
        out: Folder of the run; made where it is missing.
        depth: Which methods run: ``quick``, ``standard`` or ``deep``.
        methods: Names of methods instead of those of the depth.
        limit: Most errors to explain in full, spread over class pairs.
        seed: Seeds the methods; part of the identity of the run.
        workers: 1 works in this process; more are spawned processes, which may die without taking the run along.
        batch_size: Images in one pass through the model; default planned from a memory probe.
        options: Settings by method, ``{"inverted": {"overshoot": 0.2}}``.
        decode_options: How files are decoded; part of the identity of the run.
        time_limit: Seconds without an image passing, after which a worker process counts as hung.
        progress: Called at the start of every stage, after every shard, and twice a second while images pass.

    Returns:
        The run, complete.

    Raises:
        InputError: A setting breaks its contract, or labels do not match the classes.
        ModelError: The classifier breaks its contract; NonFiniteError where it returns NaN on more than 5 %.
        DataError: There is nothing to read.
        RunFolderError: The folder cannot be written, is in use, or holds another run.
        EnvironmentFailure: Disk or workers fail; the run can be resumed.
        Interrupted: A signal came; the run can be resumed.
    """
    if workers < 1 or limit < 0:
        raise InputError(f"workers must be at least 1 and limit at least 0, got {workers} and {limit}")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    folder = Path(out)
    steps = choose_steps(depth, methods, options or {})
    open_for_writing(folder)
    before = classifier.batch_size
    try:
        with Stop() as stop, RunLock(folder), classifier:
            run = _Diagnosis(classifier, source, folder, decode_options or DecodeOptions(), stop)
            run.begin(steps, depth=depth, limit=limit, seed=seed, batch_size=batch_size, asked_for=methods is not None)
            run.work(workers, time_limit, progress or (lambda _: None))
    except StopNow:
        raise Interrupted(f"{folder}: interrupted; what is committed stays, the same call goes on from there") from None
    finally:
        classifier.batch_size = before
    return RunFolder(folder)


class _Diagnosis:
    """One call of :func:`diagnose`, from the lock to the last commit."""

    def __init__(
        self, classifier: Classifier, source: Source, folder: Path, options: DecodeOptions, stop: Stop
    ) -> None:
        self.classifier, self.source, self.folder, self.options, self.stop = classifier, source, folder, options, stop
        self.meta: dict[str, Any] = {}
        self.steps: list[Step] = []
        self.labels: dict[str, int] = {}

    def begin(
        self,
        steps: list[Step],
        *,
        depth: Depth,
        limit: int,
        seed: int,
        batch_size: int | None,
        asked_for: bool,
    ) -> None:
        """Settle everything that can stop the run, and write down what it is a run of."""
        granted, _ = grant(steps, self.classifier.access, asked_for=asked_for)
        self.spec = settle_spec(self.classifier, self.source)
        check_models(granted, self.classifier, self.spec)
        sample = Sample(self.source, self.spec, self.options)
        classes, doubts = settle_classes(self.classifier, self.source, sample)
        self.labels = self.source.match_labels(classes)
        now = describe(self.classifier, self.source, classes=classes, spec=self.spec, options=self.options, seed=seed)
        self.meta, repairs = adopt(self.folder, now, steps)
        for text in repairs:
            warnings.warn(f"{self.folder}: {text}", stacklevel=4)
        if "usable_access" not in self.meta:
            health = sample.health(self.classifier, self.labels)
            health.raise_on_stop()
            self.meta["usable_access"] = health.access.name
            self.meta["health"] = [asdict(finding) for finding in health.findings]
        self.steps, refused = grant(steps, Access[self.meta["usable_access"]], asked_for=asked_for)
        self.meta["batch_size"] = batch_size or self.meta.get("batch_size") or sample.batch_size(self.classifier)
        self.meta["depth"] = max(depth, self.meta["depth"] or depth, key=DEPTHS.index)
        self.meta["limit"] = max(limit, self.meta["limit"])
        self.meta["methods"] |= {step.method.name: step_record(step) for step in self.steps}
        self.meta["refused"] |= refused
        self.meta["notes"] += repairs
        self.meta["data"]["warnings"] = [*doubts, *self.source.warnings]
        self.meta["data"]["ignored"] = self.source.ignored
        self.meta["complete"] = False
        self.save()
        for step in self.steps:
            self._declare(step)

    def work(self, workers: int, time_limit: float, progress: Callable[[Progress], None]) -> None:
        """List, predict, explain."""
        run = RunFolder(self.folder)
        facts = {"run": identity(self.meta), "result_version": 1}
        progress(Progress("list", 0, len(self.source), 0, 0))
        items = write_listing(run, self.source, self.labels, shard_size=self.meta["shard_size"], facts=facts)
        self.meta["data"]["items"] = items
        self.save()
        progress(Progress("list", items, items, 0, 0))
        engine = self._engine(workers, time_limit)
        try:
            self._predict(run, engine, progress)
            self._explain(run, engine, progress)
        finally:
            engine.close()
        self.meta["complete"] = True
        self.save()

    def save(self) -> None:
        """Commit ``run.json``."""
        write_run_file(self.folder, self.meta)

    def _declare(self, step: Step) -> None:
        path = RunFolder(self.folder).parts(step.method.name) / SCHEMA_FILE
        schema = None if path.exists() else result_schema(step)
        if schema is not None:
            own = [field for field in schema if field.name not in KEYS.names]
            facts = {"run": identity(self.meta), "result_version": step.method.result_version}
            write_table(path, pa.schema([*KEYS, *own]).empty_table(), facts)

    def _engine(self, workers: int, time_limit: float) -> Engine:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if workers > 1 and self.classifier.recipe is None:
            text = "the classifier exists only in memory, which no other process can see: one worker does it all"
            warnings.warn(text, stacklevel=5)
            self.meta["notes"].append(text)
            workers = 1
        job = Job(
            folder=self.folder,
            identity=identity(self.meta),
            seed=self.meta["seed"],
            spec=self.spec,
            options=self.options,
            steps=tuple(self.steps),
            batch_size=self.meta["batch_size"],
            load_threads=max(1, min(_LOADERS, cores // workers)),
            model_threads=max(1, cores // workers),
            recipe=self.classifier.recipe if workers > 1 else None,
            source=self.source.spec if workers > 1 else None,
        )
        if workers > 1:
            return Processes(job, workers, self.stop, time_limit=time_limit)
        self.classifier.batch_size = job.batch_size
        return InProcess(Bench(job, self.classifier, self.source, stopping=lambda: self.stop.requested), self.stop)

    def _predict(self, run: RunFolder, engine: Engine, progress: Callable[[Progress], None]) -> None:
        due = {shard: len(plan.rows) for shard in run.shards() if (plan := plan_predictions(run, shard)).due}
        total = sum(due.values())
        items, nonfinite = self.meta["data"]["items"], count_reason(run, NOT_FINITE)
        check_nonfinite_share(nonfinite, items)
        done = errors = failed = 0
        shown = _Ticker(progress, Progress("predict", 0, total, 0, 0))
        for report in engine.run([Unit(stage="predict", shard=shard) for shard in due], shown.alive):
            self._note(report)
            done, errors, failed = done + report.done, errors + report.errors, failed + report.failed
            nonfinite += report.nonfinite
            shown.show(done=done, errors=errors, failed=failed)
            check_nonfinite_share(nonfinite, items)  # of all, so that the order of the listing does not matter
        predicted, labels = (torch.from_numpy(column) for column in labelled_predictions(run))
        names = self.meta["model"]["classes"]
        found = accuracy_findings(predicted, labels, len(names), names) if len(labels) else ()
        kept = [finding for finding in self.meta["health"] if not finding.get("of_all")]
        self.meta["health"] = kept + [{**asdict(finding), "of_all": True} for finding in found]

    def _explain(self, run: RunFolder, engine: Engine, progress: Callable[[Progress], None]) -> None:
        run = RunFolder(self.folder)
        details = select_details(run, self.meta["limit"])
        units, total, work = [], 0, {}
        for shard in run.shards():
            chosen = details.get(shard, frozenset())
            plan = plan_explain(run, shard, self.steps, chosen)
            if plan.due:
                units.append(Unit(stage="explain", shard=shard, details=chosen))
                total += len(plan.rows)
                work[shard] = expected(plan, tuple(self.steps), units[-1])
        done = failed = 0
        shown = _Ticker(progress, Progress("explain", 0, total, 0, 0, share=0.0), work)
        for report in engine.run(units, shown.alive):
            self._note(report)
            done, failed = done + report.done, failed + report.failed
            shown.over(report.unit.shard)
            shown.show(done=done, errors=done, failed=failed)

    def _note(self, report: Report) -> None:
        self.meta["refused"] |= report.refused
        if not report.complete:
            raise StopNow


class _Ticker:
    """Shows a stage as it goes: after every unit, and twice a second while images pass.

    Args:
        progress: Who is told.
        start: The stage as it begins.
        work: Passes expected of each shard, where the share of the work is shown.
    """

    def __init__(
        self, progress: Callable[[Progress], None], start: Progress, work: Mapping[int, float] | None = None
    ) -> None:
        self._progress, self._last = progress, start
        self._work = work or {}
        self._shares = dict.fromkeys(self._work, 0.0)
        self._shown = time.monotonic()
        progress(start)

    def show(self, **changes: int) -> None:
        """Show the stage with some counts changed."""
        self._last, self._shown = replace(self._last, **changes), time.monotonic()
        self._progress(self._last)

    def over(self, shard: int) -> None:
        """A shard is done."""
        self._move(shard, 1.0)
        self._last = replace(self._last, method="")

    def alive(self, sign: Sign) -> None:
        """Count images that passed, and show them if nothing was shown lately."""
        self._last = replace(self._last, passes=self._last.passes + sign.passed, method=sign.method)
        self._move(sign.shard, sign.share)
        if time.monotonic() - self._shown >= _TICK:
            self.show()

    def _move(self, shard: int, share: float) -> None:
        if self._shares.get(shard, 1.0) < 1.0:  # a sign may come after the report of its shard
            self._shares[shard] = share
            total = sum(self._work.values())
            done = sum(self._work[name] * share for name, share in self._shares.items())
            self._last = replace(self._last, share=done / total if total else 0.0)
