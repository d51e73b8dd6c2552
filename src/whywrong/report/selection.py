"""Selection and order of the errors that the report shows in full."""

from __future__ import annotations

from typing import Any

from whywrong.report.analyses.verdict.stored import verdicts_of
from whywrong.report.facets import measuring
from whywrong.report.reports import Reports
from whywrong.report.tables import Row, Tables


def select(tables: Tables, reports: Reports, limit: int) -> tuple[list[Row], int]:
    """Select at most ``limit`` errors with their results, and count distinct errors.

    Errors with identical bytes and label are merged and keep all their names. Errors explained in full are selected
    first, then errors of the class pairs with fewest selected errors, so that every confusion is shown once before any
    is shown twice.

    Returns:
        Rows of view ``errors``, hardest first. Each row also has ``item`` (row of ``items``), ``runner_up``, the row or
        rows
            of every method's view under its name (None if missing), ``verdict`` and ``tests`` (None without a verdict),
            and ``copies`` and ``same`` (keys and ids of all items with the same image).
    """
    if not tables.has("errors"):
        return [], 0
    ids = tables.rows(
        f"""with one as (
              select coalesce(same_as, item_id) as item_id, any_value(label) as label,
                     any_value(predicted) as predicted
              from errors group by 1),
            full_ones as ({_explained(tables, reports)}),
            marked as (
              select one.*, coalesce(f.methods, 0) as methods from one left join full_ones f using (item_id))
            select item_id, count(*) over () as total from marked
            order by methods desc,
                     row_number() over (partition by label, predicted order by methods desc, item_id), item_id
            limit {int(limit)}"""
    )
    if not ids:
        return [], 0
    chosen = [row["item_id"] for row in ids]
    tables.run.locate(chosen)  # all at once, for their maps and thumbnails
    errors, items = tables.by_item("errors", chosen), tables.by_item("items", chosen)
    found: dict[str, dict[str, Any]] = {"runner_up": tables.by_item("runner_up", chosen)}
    for report in reports:
        one = report.rows_per_error == "one"
        found[report.method] = (tables.by_item if one else tables.grouped_by_item)(report.method, chosen)
    verdicts, tests = verdicts_of(tables, chosen)
    copies = _copies(tables, chosen)
    rows = [
        Row(
            errors[item],
            item=items.get(item, Row()),
            copies=[key for _, key in copies.get(item, [])],
            same=[same for same, _ in copies.get(item, [])],
            verdict=verdicts.get(item),
            tests=tests.get(item),
            **{view: rows.get(item) for view, rows in found.items()},
        )
        for item in chosen
        if item in errors
    ]
    return sorted(rows, key=lambda row: _hardest_first(reports, row)), ids[0]["total"]


def _explained(tables: Tables, reports: Reports) -> str:
    """Build the SQL for items and the number of methods that explained them in full."""
    parts = [
        f"select distinct item_id from {report.method} where {report.explained}"
        for report in reports
        if report.explained and tables.has(report.method, "item_id", report.explained.split()[0])
    ]
    every = " union all ".join(parts) or "select null::varchar as item_id where false"
    return f"select item_id, count(*) as methods from ({every}) group by item_id"


def _copies(tables: Tables, chosen: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Find the items that repeat an image, with their keys."""
    found: dict[str, list[tuple[str, str]]] = {}
    wanted = set(chosen)
    for row in tables.rows("select item_id, same_as, key from items where same_as is not null order by key"):
        if row["same_as"] in wanted:
            found.setdefault(row["same_as"], []).append((row["item_id"], row["key"]))
    return found


def _hardest_first(reports: Reports, row: Row) -> tuple[float, float, str]:
    return -difficulty(reports, row), -(row["confidence"] or 0.0), row["item_id"]


def difficulty(reports: Reports, row: Row) -> float:
    """Return the difficulty of an error, see :class:`.methods.base.Measure`.

    It may be infinite or negative.
    """
    report = measuring(reports)
    if report is None or report.measure is None:
        return -1.0
    return float(reports.ask(report, "measure", report.measure.value, row, otherwise=-1.0))
