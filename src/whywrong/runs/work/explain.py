"""Evidence for the errors of one shard: every method on the same loaded images, each committed on its own."""

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
from whywrong.runs.store.schemas import KEYS, THUMBS
from whywrong.runs.store.shards import SCHEMA_FILE, read_maps, shard_name, write_maps, write_table
from whywrong.runs.work.context import Bench, Loaded, as_input, batches, first_line
from whywrong.runs.work.plan import ExplainPlan, Pending, Row
from whywrong.runs.work.tasks import Report, Step, Unit

_BYTE_MAPS = ("_u8", "_mask")  # endings of maps whose values are whole numbers 0..255


@dataclass(slots=True)
class _Outcome:
    tables: list[pa.Table] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    complete: bool = True


class _Refused(Exception):
    """The method cannot run on this classifier at all."""


def explain(bench: Bench, unit: Unit, plan: ExplainPlan) -> Report:
    """Run the pending methods on the errors of a shard; what is done is committed, also when a stop cuts it short."""
    loaded = _load(bench, unit, plan)
    if bench.stopping():
        return Report(unit=unit, complete=False)
    _commit_thumbs(bench, unit, plan.thumbs, loaded)
    failed: set[str] = set()
    complete = True
    bench.effort.begin(plan, bench.job.steps, unit)
    for step in bench.job.steps:
        pending = plan.steps[step.name]
        if not pending.due or step.method.name in bench.refused:
            bench.effort.end(step)
            continue
        started, before = time.perf_counter(), (bench.classifier.forwards, bench.classifier.backwards)
        try:
            outcome = _run_step(bench, unit, step, pending, loaded)
        except _Refused as refusal:
            bench.refused[step.method.name] = str(refusal)
            continue
        finally:
            bench.effort.end(step)
        spent = {
            "seconds": time.perf_counter() - started,
            "forwards": bench.classifier.forwards - before[0],
            "backwards": bench.classifier.backwards - before[1],
        }
        _commit(bench, unit, step, pending, outcome, spent)
        failed |= set(outcome.failed)
        if not outcome.complete:
            complete = False
            break
    return Report(unit=unit, done=plan.errors, failed=len(failed), refused=dict(bench.refused), complete=complete)


def _load(bench: Bench, unit: Unit, plan: ExplainPlan) -> dict[str, Loaded]:
    """All errors of the shard at input size, a byte a value: 150 kB an error at 224 px."""
    thumbs = {row["item_id"] for row in plan.thumbs.rows}
    loaded: dict[str, Loaded] = {}
    for batch in batches(unit, plan.rows, bench.job.batch_size):
        if bench.stopping():
            break
        if batch[0]["item_id"] in unit.singly:
            bench.at([batch[0]["item_id"]])
            found = [bench.load(batch[0], batch[0]["item_id"] in thumbs)]
        else:
            found = bench.take(len(batch))
        loaded |= {item.row["item_id"]: _unchanged(item) for item in found}
    blamed = unit.blamed
    loaded |= {row["item_id"]: Loaded(row, blamed[row["item_id"]]) for row in plan.rows if row["item_id"] in blamed}
    return loaded


def _unchanged(item: Loaded) -> Loaded:
    if item.reason is None and item.image_id != item.row["image_id"]:
        return Loaded(item.row, "the image changed after it was predicted; run diagnose again")
    return item


def _commit_thumbs(bench: Bench, unit: Unit, pending: Pending, loaded: dict[str, Loaded]) -> None:
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
    facts = {"run": bench.job.identity, "result_version": 1, "without": without}
    write_table(bench.run.thumbs / shard_name(unit.shard), whole, facts)


def _run_step(bench: Bench, unit: Unit, step: Step, pending: Pending, loaded: dict[str, Loaded]) -> _Outcome:
    outcome = _Outcome()
    usable = []
    for row in pending.rows:
        reason = loaded[row["item_id"]].reason
        if reason is None:
            usable.append(row)
        else:
            outcome.failed[row["item_id"]] = [row["image_id"], reason]
    for batch in batches(unit, usable, bench.job.call_rows):
        if bench.stopping():
            outcome.complete = False
            break
        bench.at([row["item_id"] for row in batch])
        with bench.effort.call(step, batch, unit):
            _call(bench, unit, step, [loaded[row["item_id"]] for row in batch], outcome)
    return outcome


def _call(bench: Bench, unit: Unit, step: Step, items: Sequence[Loaded], outcome: _Outcome) -> None:
    """Run a method on some errors; where it raises, on halves of them, so that one image costs no other its result.

    Here, once a call, images go to the device of the classifier; methods compute where their images are.
    """
    rows, device = [item.row for item in items], bench.classifier.device
    x = as_input([item.pixels for item in items if item.pixels is not None], device)
    y = torch.tensor([row["label"] for row in rows], device=device)
    extra: dict[str, Tensor] = {}
    detail = None
    if "detail" in step.method.takes:
        detail = torch.tensor([step.controls or row["item_id"] in unit.details for row in rows])
        extra["detail"] = detail.to(device)
    if "masks" in step.method.takes:
        nothing = np.zeros(x.shape[-2:], dtype=bool)
        extra["masks"] = torch.from_numpy(np.stack([nothing if i.mask is None else i.mask for i in items])).to(device)
    keys = item_keys(bench.job.seed, [row["item_id"] for row in rows], step.method.name).to(device)
    try:
        with bench.classifier, device_errors():
            result = resolve(step.method.function)(bench.classifier, x, y, keys=keys, config=step.config, **extra)
    except DeviceFailure:
        raise
    except (ModelError, InputError) as error:
        if not isinstance(error, (ModelRaisedError, NonFiniteError)):
            raise _Refused(str(error)) from error
        reason = first_line(error)  # not the error itself, which holds the memory of the failed call
    except Exception as error:  # noqa: BLE001 - the user's model may raise anything in the middle of a method
        reason = str(error) if isinstance(error, EnvironmentFailure) else first_line(error)
    else:
        bench.effort.learn(step, (result.forwards + result.backwards).cpu(), detail)
        table = _table(result, rows, detail)
        if step.controls:  # they are numbers to compare with, nothing to look at
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
    _call(bench, unit, step, items[:half], outcome)
    _call(bench, unit, step, items[half:], outcome)


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


def _commit(bench: Bench, unit: Unit, step: Step, pending: Pending, outcome: _Outcome, spent: dict[str, Any]) -> None:
    """Maps first: the table says that a row is done, so what belongs to the row must be there before."""
    name = step.method.name
    tables = [table for table in (pending.kept, *outcome.tables) if table is not None and len(table)]
    whole = pa.concat_tables(tables, promote_options="permissive") if tables else KEYS.empty_table()
    kept = set() if pending.kept is None else set(pending.kept["item_id"].to_pylist())
    path = bench.run.map_files(name) / shard_name(unit.shard, ".safetensors")
    maps = {} if step.controls else {**read_maps(path, kept), **outcome.maps}
    if maps or (path.exists() and not step.controls):
        write_maps(path, maps, bench.job.identity)
    facts = {
        "run": bench.job.identity,
        "result_version": step.method.result_version,
        "maps": len(maps),
        "failed": {**pending.facts.get("failed", {}), **outcome.failed},
        **{key: pending.facts.get(key, 0) + value for key, value in spent.items()},
    }
    folder = bench.run.parts(name, controls=step.controls)
    if tables and not (folder / SCHEMA_FILE).exists():
        write_table(folder / SCHEMA_FILE, whole.schema.empty_table(), {"run": bench.job.identity})
    write_table(folder / shard_name(unit.shard), whole, facts)
