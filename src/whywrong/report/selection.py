"""Which errors the report shows in full, and in which order."""

from __future__ import annotations

from whywrong.core.status import Status
from whywrong.report.tables import Row, Tables

SINGLE = ("inverted", "covering", "cam", "patch_groups", "runner_up")  # views with one row an error
SEVERAL = ("profiles", "counterfactuals")  # views with several


def select(tables: Tables, limit: int) -> tuple[list[Row], int]:
    """At most ``limit`` errors with everything stored about them, and how many distinct errors there are.

    Errors with identical bytes and label are one, under all their names. Errors explained in full come first, then
    those of the class pairs with fewest errors shown so far, so that every confusion is seen before any is seen twice.

    Returns:
        Rows of view ``errors`` with ``item`` (row of ``items``), the row or rows of every method's view under its name
        (None where there are none) and ``copies`` (keys of the items that are the same image), farthest from right
        first.
    """
    if not tables.has("errors"):
        return [], 0
    ids = tables.rows(
        f"""with one as (
              select coalesce(i.same_as, e.item_id) as item_id, any_value(e.label) as label,
                     any_value(e.predicted) as predicted
              from errors e join items i on i.item_id = e.item_id group by 1),
            full_ones as ({_explained(tables)}),
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
    errors, items = tables.by_item("errors", chosen), tables.by_item("items", chosen)
    found = {view: tables.by_item(view, chosen) for view in SINGLE}
    several = {view: tables.grouped_by_item(view, chosen) for view in SEVERAL}
    copies = _copies(tables, chosen)
    rows = [
        Row(
            errors[item],
            item=items.get(item, Row()),
            copies=copies.get(item, []),
            **{view: rows.get(item) for view, rows in {**found, **several}.items()},
        )
        for item in chosen
        if item in errors
    ]
    return sorted(rows, key=_farthest_first), ids[0]["total"]


def _explained(tables: Tables) -> str:
    """SQL: items and by how many methods they were explained in full."""
    parts = []
    if tables.has("inverted", "detailed"):
        parts.append("select item_id from inverted where detailed")
    for view in ("patch_groups", *SEVERAL):
        if tables.has(view, "status"):
            parts.append(f"select distinct item_id from {view} where status = 'ok'")
    every = " union all ".join(parts) or "select null::varchar as item_id where false"
    return f"select item_id, count(*) as methods from ({every}) group by item_id"


def _copies(tables: Tables, chosen: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    wanted = set(chosen)
    for row in tables.rows("select same_as, key from items where same_as is not null order by key"):
        if row["same_as"] in wanted:
            found.setdefault(row["same_as"], []).append(row["key"])
    return found


def _farthest_first(row: Row) -> tuple[float, float, str]:
    return -distance(row), -(row["confidence"] or 0.0), row["item_id"]


def distance(row: Row) -> float:
    """Distance to right in grey levels (linf); infinite where no fix is known, -1 where none was looked for."""
    fix = row["inverted"]
    if fix is None:
        return -1.0
    return 255 * fix["rho_linf"] if fix["status"] == Status.OK else float("inf")
