"""Plan which rows of a shard still need work; stored rows are valid while they agree with the listing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from whywrong.runs.store.schemas import PREDICTIONS_VERSION, UNREADABLE
from whywrong.runs.store.shards import read_facts, read_table, shard_name
from whywrong.runs.store.stored_run import StoredRun
from whywrong.runs.work.tasks import MethodSpec

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pending:
    """Work for one table of one shard.

    Attributes:
        rows: Rows to compute.
        kept: Stored rows that stay; None if there are none.
        facts: Facts of the stored shard; empty if there is none.
        stale: Whether stored rows are dropped, so that the shard is written again even without new rows.
        missing: Whether nothing is stored yet.
    """

    rows: list[Row]
    kept: pa.Table | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    stale: bool = False
    missing: bool = False

    @property
    def due(self) -> bool:
        """Whether the shard has to be written."""
        return bool(self.rows) or self.stale or self.missing


@dataclass(frozen=True, slots=True)
class ExplainPlan:
    """Work for the errors of one shard.

    Attributes:
        steps: By name of the step.
        thumbs: Errors without a thumbnail.
    """

    steps: dict[str, Pending]
    thumbs: Pending

    @property
    def due(self) -> bool:
        """Whether anything has to be written."""
        return self.thumbs.due or any(pending.due for pending in self.steps.values())

    @property
    def errors(self) -> int:
        """Number of errors to load, without controls."""
        return sum("held_out" not in row for row in self.rows)

    @property
    def rows(self) -> list[Row]:
        """Return the errors and controls to load, each once, in the order of the listing."""
        needed = {row["item_id"]: row for p in (*self.steps.values(), self.thumbs) for row in p.rows}
        return sorted(needed.values(), key=lambda row: row["position"])


def computed_items(run: StoredRun, shard: int) -> list[Row]:
    """Return the items of a shard to compute, without duplicates of other items."""
    rows = read_table(run.items / shard_name(shard)).to_pylist()
    return [{**row, "position": at} for at, row in enumerate(rows) if row["same_as"] is None]


def plan_predictions(run: StoredRun, shard: int, last: str | None = None) -> Pending:
    """Plan the items of a shard without a valid prediction.

    Those that could not be read are tried again.

    Args:
        run: The run.
        shard: Index of the shard.
        last: Largest ``item_id`` to predict; None plans all. Stored items beyond it are kept.
    """
    items = {row["item_id"]: row for row in computed_items(run, shard)}
    table, facts = _stored(run.predictions, shard, PREDICTIONS_VERSION)
    if table is None:
        return Pending([row for item, row in items.items() if last is None or item <= last], missing=True)
    valid = [
        _agrees(items.get(row["item_id"]), row) and not (row["stage"] == "read" and row["image_id"] is None)
        for row in table.select(["item_id", "image_id", "label", "stage"]).to_pylist()
    ]
    kept = table.filter(pa.array(valid, pa.bool_()))
    done = set(kept["item_id"].to_pylist())
    rows = [row for item, row in items.items() if item not in done and (last is None or item <= last)]
    return Pending(rows, kept, facts, stale=not all(valid))


def errors_of(run: StoredRun, shard: int) -> dict[str, Row]:
    """Return the misclassified items of a shard by ``item_id``.

    They are rows of the listing with ``image_id`` and ``predicted``.
    """
    return {row["item_id"]: row for row in _labelled(run, shard) if row["predicted"] != row["label"]}


def role_played(run: StoredRun, shard: int, controls: Collection[tuple[str, bool]]) -> dict[str, Row]:
    """Return correctly classified items of a shard as controls.

    Their ``label`` is the runner-up, and ``held_out`` is added.
    """
    held_out = dict(controls)
    return {
        row["item_id"]: {**row, "label": row["top5"][1], "held_out": held_out[row["item_id"]]}
        for row in _labelled(run, shard)
        if row["item_id"] in held_out and row["predicted"] == row["label"] and len(row["top5"] or ()) > 1
    }


def _labelled(run: StoredRun, shard: int) -> list[Row]:
    """Return the rows of the listing that are labelled and have a valid prediction, with the prediction."""
    items = {row["item_id"]: row for row in computed_items(run, shard)}
    table, _ = _stored(run.predictions, shard, PREDICTIONS_VERSION)
    if table is None:
        return []
    columns = ["item_id", "image_id", "label", "status", "predicted", "top5"]
    return [
        {**items[row["item_id"]], **{name: row[name] for name in ("image_id", "predicted", "top5")}}
        for row in table.select(columns).to_pylist()
        if row["status"] == "ok" and row["label"] is not None and _agrees(items.get(row["item_id"]), row)
    ]


def plan_explain(
    run: StoredRun,
    shard: int,
    steps: Collection[MethodSpec],
    details: Collection[str],
    controls: Collection[tuple[str, bool]] = (),
) -> ExplainPlan:
    """Select the errors that still need a result, more detail, or a thumbnail.

    Steps for controls get the selected correctly classified images that were not computed yet; stored ones that are no
    longer selected are dropped.
    """
    errors, played = errors_of(run, shard), role_played(run, shard, controls) if controls else {}
    plans = {
        step.name: _plan_step(run, shard, step, played if step.controls else errors, () if step.controls else details)
        for step in steps
    }
    return ExplainPlan(plans, _plan_thumbs(run, shard, errors))


def _plan_step(
    run: StoredRun, shard: int, step: MethodSpec, errors: Mapping[str, Row], details: Collection[str]
) -> Pending:
    folder = run.parts(step.method.name, controls=step.controls)
    table, facts = _stored(folder, shard, step.method.result_version)
    if table is None:
        return Pending(list(errors.values()), missing=True)
    in_full = set(details) if "detail" in step.method.takes else set()
    valid = [
        _same_error(errors.get(row["item_id"]), row) and (row["detailed"] or row["item_id"] not in in_full)
        for row in _with_detailed(table).to_pylist()
    ]
    kept = table.filter(pa.array(valid, pa.bool_()))
    failed = {
        item: [image, reason]
        for item, (image, reason) in facts.get("failed", {}).items()
        if item in errors and errors[item]["image_id"] == image
    }
    done = {*kept["item_id"].to_pylist(), *failed}
    rows = [row for item, row in errors.items() if item not in done]
    stale = not all(valid) or failed != facts.get("failed", {})
    return Pending(rows, kept, {**facts, "failed": failed}, stale)


def _plan_thumbs(run: StoredRun, shard: int, errors: Mapping[str, Row]) -> Pending:
    path = run.thumbs / shard_name(shard)
    if not path.exists():
        return Pending(list(errors.values()), missing=True)
    table = read_table(path)
    valid = [
        row["item_id"] in errors and errors[row["item_id"]]["image_id"] == row["image_id"]
        for row in table.select(["item_id", "image_id"]).to_pylist()
    ]
    kept = table.filter(pa.array(valid, pa.bool_()))
    facts = read_facts(path)
    done = {*kept["item_id"].to_pylist(), *facts.get("without", ())}
    return Pending([row for item, row in errors.items() if item not in done], kept, facts, not all(valid))


def _stored(folder: Path, shard: int, result_version: int) -> tuple[pa.Table | None, dict[str, Any]]:
    """Return the stored shard of a table; None if it lacks results of that version."""
    path = folder / shard_name(shard)
    if not path.exists():
        return None, {}
    facts = read_facts(path)
    return (read_table(path), facts) if facts["result_version"] == result_version else (None, {})


def _with_detailed(table: pa.Table) -> pa.Table:
    columns = ["item_id", "image_id", "label", "predicted"]
    if "detailed" in table.schema.names:
        return table.select([*columns, "detailed"])
    return table.select(columns).append_column("detailed", pa.nulls(len(table), pa.bool_()))


def _agrees(item: Row | None, row: Row) -> bool:
    """Check if a stored row belongs to the item as it is listed now."""
    if item is None or row["label"] != item["label"]:
        return False
    return item["digest"] is None or item["digest"] == (row["image_id"] or UNREADABLE)


def _same_error(error: Row | None, row: Row) -> bool:
    return error is not None and all(error[name] == row[name] for name in ("image_id", "label", "predicted"))
