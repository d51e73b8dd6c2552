"""List, predict and explain the items of a data set; resumable at every step, extensible later."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from whywrong.core.access import Access
from whywrong.core.registry import DEPTHS
from whywrong.data.sources.base import Source
from whywrong.doors.pairs import input_spec
from whywrong.models.checks.health import accuracy_findings, check_nonfinite_share
from whywrong.models.classifier import Classifier
from whywrong.runs.controls import select_controls
from whywrong.runs.engines.base import Engine, EngineOptions, Report
from whywrong.runs.engines.local import kept_in_memory, worker_cards
from whywrong.runs.engines.main_guard import require_main_guard
from whywrong.runs.engines.names import find_engine
from whywrong.runs.folder import RunFolder
from whywrong.runs.guard import check_apart, open_or_create_run
from whywrong.runs.identity import describe, identity, step_record
from whywrong.runs.interrupts import Interrupted, Stop, StopNow
from whywrong.runs.listing import write_listing
from whywrong.runs.options import RunOptions
from whywrong.runs.progress import Progress, Ticker
from whywrong.runs.queries.errors import write_error_tables
from whywrong.runs.selection import count_reason, labelled_predictions, last_of_sample, select_details
from whywrong.runs.setup import Sample, check_models, choose_steps, filter_by_access, result_schema, settle_classes
from whywrong.runs.store.error_tables import is_large
from whywrong.runs.store.layout import check_folder
from whywrong.runs.store.lock import RunLock
from whywrong.runs.store.progress_file import ProgressFile
from whywrong.runs.store.run_file import write_run_file
from whywrong.runs.store.schemas import KEYS
from whywrong.runs.store.shards import SCHEMA_FILE, write_table
from whywrong.runs.work.costs import expected
from whywrong.runs.work.plan import computed_items, plan_explain, plan_predictions
from whywrong.runs.work.predict import NOT_FINITE
from whywrong.runs.work.tasks import MethodSpec, RunSpec, ShardTask

_FOR_PREDICTIONS = 0.4  # share of a time budget that predictions may use
_FIRST_SAMPLE = 256  # images predicted to estimate how many fit into a time budget


def diagnose(
    classifier: Classifier,
    source: Source,
    out: Path | str,
    options: RunOptions | None = None,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    given: Mapping[str, bytes] | None = None,
) -> RunFolder:
    """Find the misclassified images and gather evidence in a run folder.

    Results of the same run in the folder are kept and not computed again: an interrupted run is resumed; methods,
    depth and ``limit`` may be extended; and if the data changed, only the changed items are recomputed.

    Args:
        classifier: The classifier; without a recipe it exists only in memory and runs in this process.
        source: Labelled images.
        out: Folder of the run; created if missing.
        options: What is computed, and where; default ``RunOptions()``.
        progress: Called at the start of every stage, after every shard, and twice a second while images pass.
        given: Files, by name, that the caller has put into the folder for this run; data beside them may be anywhere.

    Returns:
        The run, complete.

    Raises:
        InputError: A setting is invalid, labels do not match the classes, or there are more workers than GPUs.
        ModelError: The classifier is invalid; NonFiniteError if it returns NaN on more than 5 %.
        DataError: There is nothing to read.
        RunFolderError: The folder cannot be written, is in use, holds something else or another run, or lies in the
            data.
        EnvironmentFailure: Disk or workers fail; the run can be resumed.
        Interrupted: Interrupted by a signal; the run can be resumed.
    """
    options = options or RunOptions()
    worker_cards(classifier, options.workers)
    find_engine(options.engine)
    if options.workers > 1 and not kept_in_memory(classifier, source):
        require_main_guard()
    folder = Path(os.path.abspath(out))  # a model may change the working directory
    steps = choose_steps(options.depth, options.methods, options.options)
    if given is None:
        check_apart(folder, source.spec)
    check_folder(folder, given)
    before = classifier.batch_size
    try:
        with Stop(on_signal=lambda: progress(Progress("stopping", 0, 0, 0, 0))) as stop, RunLock(folder), classifier:
            run = _Diagnosis(classifier, source, folder, options, stop)
            written = ProgressFile(folder, options.workers)

            def shown(now: Progress) -> None:
                progress(now)
                more = {name: getattr(now, name) for name in ("errors", "failed", "passes", "share", "method")}
                written.show(now.stage, now.done, now.total, **more)

            try:
                run.begin(steps)
                run.work(shown)
            finally:
                written.close()
    except StopNow:
        raise Interrupted(f"{folder}: interrupted; finished work is kept, and the same call resumes the run") from None
    finally:
        classifier.batch_size = before
    return RunFolder(folder)


class _Diagnosis:
    """One call of :func:`diagnose`, from the lock to the last commit."""

    def __init__(self, classifier: Classifier, source: Source, folder: Path, options: RunOptions, stop: Stop) -> None:
        self.classifier, self.source, self.folder, self.options, self.stop = classifier, source, folder, options, stop
        self.meta: dict[str, Any] = {}
        self.steps: list[MethodSpec] = []
        self.labels: dict[str, int] = {}

    def begin(self, steps: list[MethodSpec]) -> None:
        """Make all checks that can stop the run, and record its identity."""
        options, decode = self.options, self.options.decode_options
        explicit = options.methods is not None
        granted, _ = filter_by_access(steps, self.classifier.access, explicit=explicit)
        self.spec = input_spec(self.classifier, self.source)
        check_models(granted, self.classifier, self.spec)
        sample = Sample(self.source, self.spec, decode)
        classes, doubts = settle_classes(self.classifier, self.source, sample)
        self.labels = self.source.match_labels(classes)
        now = describe(self.classifier, self.source, classes=classes, spec=self.spec, options=decode, seed=options.seed)
        self.meta, repairs = open_or_create_run(self.folder, now, steps)
        for text in repairs:
            warnings.warn(f"{self.folder}: {text}", stacklevel=4)
        before = self.meta.get("images") if "usable_access" in self.meta else options.images
        self.meta["images"] = None if before is None or options.images is None else max(before, options.images)
        if "usable_access" not in self.meta:
            health = sample.health(self.classifier, self.labels)
            health.raise_on_stop()
            self.meta["usable_access"] = health.access.name
            self.meta["health"] = [asdict(finding) for finding in health.findings]
        self.steps, refused = filter_by_access(steps, Access[self.meta["usable_access"]], explicit=explicit)
        size = options.batch_size or self.meta.get("batch_size") or sample.batch_size(self.classifier)
        self.meta["batch_size"] = size
        self.meta["depth"] = max(options.depth, self.meta["depth"] or options.depth, key=DEPTHS.index)
        self.meta["limit"] = max(options.limit, self.meta["limit"])
        self.meta["methods"] |= {step.method.name: step_record(step) for step in self.steps}
        self.meta["refused"] |= refused
        self.meta["notes"] += repairs
        self.meta["data"]["warnings"] = [*doubts, *self.source.warnings]
        self.meta["data"]["ignored"] = self.source.ignored
        self.meta["complete"] = False
        self.save()
        self.steps += [replace(step, controls=True) for step in self.steps if step.method.role_play]
        for step in self.steps:
            self._declare(step)

    def work(self, progress: Callable[[Progress], None]) -> None:
        """List, predict and explain until done or the time budget is used up."""
        time_budget = self.options.time_budget
        started = time.monotonic()
        run = RunFolder(self.folder)
        facts = {"run": identity(self.meta), "result_version": 1}
        progress(Progress("list", 0, len(self.source), 0, 0))
        items = write_listing(run, self.source, self.labels, shard_size=self.meta["shard_size"], facts=facts)
        self.meta["data"]["items"] = items
        self.save()
        progress(Progress("list", items, items, 0, 0))
        engine = self._engine()
        alarm = None
        if time_budget is not None:
            alarm = threading.Timer(max(0.0, time_budget - (time.monotonic() - started)), self.stop.expire)
            alarm.daemon = True
            alarm.start()
        try:
            if time_budget is not None:
                self._predict_within(run, engine, progress, _FOR_PREDICTIONS * time_budget)
            else:
                self._predict(run, engine, progress)
            self._store_errors(facts)
            self._explain(run, engine, progress)
        except StopNow:
            if not self.stop.expired:
                raise
            self.save()
            return
        finally:
            if alarm is not None:
                alarm.cancel()
            engine.close()
        self.meta["complete"] = True
        self.save()

    def _store_errors(self, facts: Mapping[str, Any]) -> None:
        run = RunFolder(self.folder)
        if is_large(run):
            write_error_tables(run, facts)

    def save(self) -> None:
        """Commit ``run.json``."""
        write_run_file(self.folder, self.meta)

    def _declare(self, step: MethodSpec) -> None:
        path = RunFolder(self.folder).parts(step.method.name, controls=step.controls) / SCHEMA_FILE
        schema = None if path.exists() else result_schema(step)
        if schema is not None:
            own = [field for field in schema if field.name not in KEYS.names]
            own += [pa.field("held_out", pa.bool_())] if step.controls else []
            facts = {"run": identity(self.meta), "result_version": step.method.result_version}
            write_table(path, pa.schema([*KEYS, *own]).empty_table(), facts)

    def _engine(self) -> Engine:
        workers = self.options.workers
        kept = kept_in_memory(self.classifier, self.source)
        if workers > 1 and kept:
            text = f"{kept} only in memory, which no other process can see: one worker does it all"
            warnings.warn(text, stacklevel=5)
            self.meta["notes"].append(text)
            workers = 1
        spec = RunSpec(
            folder=self.folder,
            identity=identity(self.meta),
            seed=self.meta["seed"],
            spec=self.spec,
            options=self.options.decode_options,
            steps=tuple(self.steps),
            batch_size=self.meta["batch_size"],
        )
        run = RunFolder(self.folder)
        options = EngineOptions(
            workers=workers,
            stop=self.stop,
            time_limit=self.options.time_limit,
            items_of=lambda task: [row["item_id"] for row in computed_items(run, task.shard)],
        )
        return find_engine(self.options.engine)(spec, self.classifier, self.source, options)

    def _predict_within(
        self, run: RunFolder, engine: Engine, progress: Callable[[Progress], None], seconds: float
    ) -> None:
        """Predict a first random sample to learn the rate, then as many images as fit into ``seconds``."""
        wanted = self.meta["images"] or self.meta["data"]["items"]
        started = time.monotonic()
        first = min(wanted, max(_FIRST_SAMPLE, self._predicted(run)))
        before = self._predicted(run)
        self.meta["images"] = first
        self._predict(run, engine, progress)
        fresh, spent = self._predicted(run) - before, max(time.monotonic() - started, 1e-3)
        more = int((seconds - spent) * fresh / spent) if fresh else wanted
        self.meta["images"] = min(wanted, first + max(0, more))
        self.save()
        self._predict(run, engine, progress)

    def _predicted(self, run: RunFolder) -> int:
        return run.query("select count(*) as n from predictions where same_as is null")["n"][0].as_py()

    def _predict(self, run: RunFolder, engine: Engine, progress: Callable[[Progress], None]) -> None:
        last = None if self.meta["images"] is None else last_of_sample(run, self.meta["images"])
        due = {shard: len(plan.rows) for shard in run.shards() if (plan := plan_predictions(run, shard, last)).due}
        total = sum(due.values())
        items, nonfinite = self.meta["data"]["items"], count_reason(run, NOT_FINITE)
        check_nonfinite_share(nonfinite, items)
        done = errors = failed = 0
        shown = Ticker(progress, Progress("predict", 0, total, 0, 0))
        for report in engine.run(
            [ShardTask(stage="predict", shard=shard, last=last) for shard in due], shown.on_heartbeat
        ):
            self._note(report)
            done, errors, failed = done + report.done, errors + report.errors, failed + report.failed
            nonfinite += report.nonfinite
            shown.show(done=done, errors=errors, failed=failed)
            check_nonfinite_share(nonfinite, items)  # over all, so that the order of the listing does not matter
        predicted, labels = (torch.from_numpy(column) for column in labelled_predictions(run))
        names = self.meta["model"]["classes"]
        found = accuracy_findings(predicted, labels, len(names), names) if len(labels) else ()
        kept = [finding for finding in self.meta["health"] if not finding.get("of_all")]
        self.meta["health"] = kept + [{**asdict(finding), "of_all": True} for finding in found]

    def _explain(self, run: RunFolder, engine: Engine, progress: Callable[[Progress], None]) -> None:
        run = RunFolder(self.folder)
        details = select_details(run, self.meta["limit"])
        played = any(step.controls for step in self.steps)
        controls = select_controls(run, details, self.meta["seed"]) if played else {}
        tasks, total, work = [], 0, {}
        for shard in run.shards():
            chosen, beside = details.get(shard, frozenset()), controls.get(shard, frozenset())
            plan = plan_explain(run, shard, self.steps, chosen, beside)
            if plan.due:
                tasks.append(ShardTask(stage="explain", shard=shard, details=chosen, controls=beside))
                total += plan.errors
                work[shard] = expected(plan, tuple(self.steps), tasks[-1])
        done = failed = 0
        shown = Ticker(progress, Progress("explain", 0, total, 0, 0, share=0.0), work)
        for report in engine.run(tasks, shown.on_heartbeat):
            self._note(report)
            done, failed = done + report.done, failed + report.failed
            shown.over(report.task.shard)
            shown.show(done=done, errors=done, failed=failed)

    def _note(self, report: Report) -> None:
        self.meta["refused"] |= report.refused
        if not report.complete:
            raise StopNow
