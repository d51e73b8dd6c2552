"""Evidence for the errors of one shard: every method on the same loaded images, each committed separately."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from whywrong.core.errors import (
    DeviceFailure,
    EnvironmentFailure,
    InputError,
    ModelError,
    ModelRaisedError,
    NonFiniteError,
)
from whywrong.core.randomness import item_keys
from whywrong.core.registry import resolve
from whywrong.core.result import MethodResult
from whywrong.models.memory import device_errors
from whywrong.runs.engines.base import Report
from whywrong.runs.store.schemas import KEYS, THUMBS
from whywrong.runs.store.shards import SCHEMA_FILE, read_maps, shard_name, write_maps, write_table
from whywrong.runs.work.context import Loaded, WorkerContext, as_input, batches, first_line
from whywrong.runs.work.fixes import stored_fixes
from whywrong.runs.work.plan import ExplainPlan, Pending, Row
from whywrong.runs.work.tasks import MethodSpec, ShardTask

_BYTE_MAPS = ("_u8", "_mask")  # suffixes of maps whose values are whole numbers 0..255


@dataclass(slots=True)
class _Outcome:
    tables: list[pa.Table] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    complete: bool = True


class _Refused(Exception):
    """Raised if a method cannot run on this classifier at all."""


def explain(context: WorkerContext, task: ShardTask, plan: ExplainPlan) -> Report:
    """Run the pending methods on the errors of a shard.

    Finished work is committed, also if interrupted.
    """
    loaded = _load(context, task, plan)
    if context.stopping():
        return Report(task=task, complete=False)
    _commit_thumbs(context, task, plan.thumbs, loaded)
    failed: set[str] = set()
    complete = True
    context.costs.begin(plan, context.run_spec.steps, task)
    for step in context.run_spec.steps:
        pending = plan.steps[step.name]
        if not pending.due or step.method.name in context.refused:
            context.costs.end(step)
            continue
        started, before = time.perf_counter(), (context.classifier.forwards, context.classifier.backwards)
        try:
            outcome = _run_step(context, task, step, pending, loaded)
        except _Refused as refusal:
            context.refused[step.method.name] = str(refusal)
            continue
        finally:
            context.costs.end(step)
        spent = {
            "seconds": time.perf_counter() - started,
            "forwards": context.classifier.forwards - before[0],
            "backwards": context.classifier.backwards - before[1],
        }
        _commit(context, task, step, pending, outcome, spent)
        failed |= set(outcome.failed)
        if not outcome.complete:
            complete = False
            break
    return Report(task=task, done=plan.errors, failed=len(failed), refused=dict(context.refused), complete=complete)


def _load(context: WorkerContext, task: ShardTask, plan: ExplainPlan) -> dict[str, Loaded]:
    """Load all errors of the shard at input size, one byte per value: 150 kB per error at 224 px."""
    thumbs = {row["item_id"] for row in plan.thumbs.rows}
    loaded: dict[str, Loaded] = {}
    for batch in batches(task, plan.rows, context.run_spec.batch_size):
        if context.stopping():
            break
        if batch[0]["item_id"] in task.isolated:
            context.at([batch[0]["item_id"]])
            found = [context.load(batch[0], batch[0]["item_id"] in thumbs)]
        else:
            found = context.take(len(batch))
        loaded |= {item.row["item_id"]: _unchanged(item) for item in found}
    reasons = task.reasons
    loaded |= {row["item_id"]: Loaded(row, reasons[row["item_id"]]) for row in plan.rows if row["item_id"] in reasons}
    return loaded


def _unchanged(item: Loaded) -> Loaded:
    if item.reason is None and item.image_id != item.row["image_id"]:
        return Loaded(item.row, "the image changed after it was predicted; run diagnose again")
    return item


def _commit_thumbs(context: WorkerContext, task: ShardTask, pending: Pending, loaded: dict[str, Loaded]) -> None:
    if not pending.due:
        return
    found = [loaded[row["item_id"]] for row in pending.rows]
    rows = [
        {"item_id": item.row["item_id"], "image_id": item.row["image_id"], **item.thumb}
        for item in found
        if item.thumb is not None
    ]
    without = [item.row["item_id"] for item in found if item.thumb is None]
    table = pa.Table.from_pylist(rows, schema=THUMBS)
    whole = table if pending.kept is None else pa.concat_tables([pending.kept, table])
    facts = {"run": context.run_spec.identity, "result_version": 1, "without": without}
    write_table(context.run.thumbs / shard_name(task.shard), whole, facts)


def _run_step(
    context: WorkerContext, task: ShardTask, step: MethodSpec, pending: Pending, loaded: dict[str, Loaded]
) -> _Outcome:
    outcome = _Outcome()
    usable = []
    for row in pending.rows:
        reason = loaded[row["item_id"]].reason
        if reason is None:
            usable.append(row)
        else:
            outcome.failed[row["item_id"]] = [row["image_id"], reason]
    for batch in batches(task, usable, context.run_spec.call_rows):
        if context.stopping():
            outcome.complete = False
            break
        context.at([row["item_id"] for row in batch])
        with context.costs.call(step, batch, task):
            _call(context, task, step, [loaded[row["item_id"]] for row in batch], outcome)
    return outcome


def _call(
    context: WorkerContext, task: ShardTask, step: MethodSpec, items: Sequence[Loaded], outcome: _Outcome
) -> None:
    """Run a method on some errors, and if it raises, on halves of them, so that only the failing image is lost.

    Images go to the device of the classifier here, once per call; methods compute where their images are.
    """
    rows, device = [item.row for item in items], context.classifier.device
    x = as_input([item.pixels for item in items if item.pixels is not None], device)
    y = torch.tensor([row["label"] for row in rows], device=device)
    extra: dict[str, Tensor] = {}
    detail = None
    if "detail" in step.method.takes:
        detail = torch.tensor([step.controls or row["item_id"] in task.details for row in rows])
        extra["detail"] = detail.to(device)
    if "masks" in step.method.takes:
        nothing = np.zeros(x.shape[-2:], dtype=bool)
        extra["masks"] = torch.from_numpy(np.stack([nothing if i.mask is None else i.mask for i in items])).to(device)
    if "fixes" in step.method.takes:
        extra["fixes"] = stored_fixes(context.run, task.shard, [row["item_id"] for row in rows], x)
    keys = item_keys(context.run_spec.seed, [row["item_id"] for row in rows], step.method.name).to(device)
    try:
        with context.classifier, device_errors():
            result = resolve(step.method.function)(context.classifier, x, y, keys=keys, config=step.config, **extra)
    except DeviceFailure:
        raise
    except (ModelError, InputError) as error:
        if not isinstance(error, (ModelRaisedError, NonFiniteError)):
            raise _Refused(str(error)) from error
        reason = first_line(error)  # not the error itself, which holds the memory of the failed call
    except Exception as error:  # noqa: BLE001 - the user's model may raise anything in the middle of a method
        reason = str(error) if isinstance(error, EnvironmentFailure) else first_line(error)
    else:
        context.costs.learn(step, (result.forwards + result.backwards).cpu(), detail)
        table = _table(result, rows, detail)
        if step.controls:  # they are only numbers for comparison
            held_out = pa.array([row["held_out"] for row in rows], pa.bool_())
            outcome.tables.append(table.append_column("held_out", held_out))
            return
        outcome.tables.append(table)
        outcome.maps |= _maps(result, rows)
        return
    if len(items) == 1:
        outcome.failed[rows[0]["item_id"]] = [rows[0]["image_id"], reason]
        return
    half = len(items) // 2
    _call(context, task, step, items[:half], outcome)
    _call(context, task, step, items[half:], outcome)


def _table(result: MethodResult, rows: Sequence[Row], detail: Tensor | None) -> pa.Table:
    keys = pa.Table.from_pylist([{name: row[name] for name in KEYS.names} for row in rows], schema=KEYS)
    table = result.to_arrow()
    if detail is not None and "detailed" not in table.schema.names:
        table = table.append_column("detailed", pa.array(detail.tolist(), pa.bool_()))
    for name in table.schema.names:
        if name not in KEYS.names:
            keys = keys.append_column(table.schema.field(name), table[name])
    return keys


def _maps(result: MethodResult, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    maps = {}
    for name, values in result.maps().items():
        values = values.detach().cpu()
        blank = values.isnan().flatten(1).all(1).tolist() if values.is_floating_point() else [False] * len(values)
        for row, value, empty in zip(rows, values, blank, strict=True):
            if not empty:
                maps[f"{row['item_id']}/{name}"] = _stored_form(name, value)
    return maps


def _stored_form(name: str, value: Tensor) -> np.ndarray:
    if name.endswith(_BYTE_MAPS) and not bool(value.isnan().any() if value.is_floating_point() else False):
        return value.to(torch.uint8).numpy()
    return (value.float() if value.is_floating_point() else value).numpy()


def _commit(
    context: WorkerContext,
    task: ShardTask,
    step: MethodSpec,
    pending: Pending,
    outcome: _Outcome,
    spent: dict[str, Any],
) -> None:
    """Commit maps before the table: a row of the table says that all that belongs to it is stored."""
    name = step.method.name
    tables = [table for table in (pending.kept, *outcome.tables) if table is not None and len(table)]
    whole = pa.concat_tables(tables, promote_options="permissive") if tables else KEYS.empty_table()
    kept = set() if pending.kept is None else set(pending.kept["item_id"].to_pylist())
    path = context.run.map_files(name) / shard_name(task.shard, ".safetensors")
    maps = {} if step.controls else {**read_maps(path, kept), **outcome.maps}
    if maps or (path.exists() and not step.controls):
        write_maps(path, maps, context.run_spec.identity)
    facts = {
        "run": context.run_spec.identity,
        "result_version": step.method.result_version,
        "maps": len(maps),
        "failed": {**pending.facts.get("failed", {}), **outcome.failed},
        **{key: pending.facts.get(key, 0) + value for key, value in spent.items()},
    }
    folder = context.run.parts(name, controls=step.controls)
    if tables and not (folder / SCHEMA_FILE).exists():
        write_table(folder / SCHEMA_FILE, whole.schema.empty_table(), {"run": context.run_spec.identity})
    write_table(folder / shard_name(task.shard), whole, facts)
