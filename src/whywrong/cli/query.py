"""``whywrong query``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.streams import console, printable, say, tell

if TYPE_CHECKING:
    import pyarrow as pa


def query(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder written by `whywrong diagnose`.")],
    sql: Annotated[
        str | None, Argument(metavar="SQL", help="A query in DuckDB's SQL; without it, the command lists the views.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="One JSON object per row.")] = False,
    limit: Annotated[
        int,
        Option("--rows", "--limit", metavar="N", help="Print at most N rows of the table; JSON has all.", min=1),
    ] = 200,
) -> None:
    """Query the tables of a run with SQL.

    Views: items, predictions, errors, failed_items, and one for each method that ran.

    \b
    Examples:
      whywrong query runs/a
      whywrong query runs/a "select label_name, predicted_name, count(*) from errors group by all order by 3 desc"
      whywrong query runs/a "select key, 255 * rho_linf from inverted where u8_fixed" --json
    """
    from whywrong import api

    folder = api.open_run(run)
    table = folder.query(
        sql
        or "select table_name as view, string_agg(column_name, ', ' order by ordinal_position) as columns "
        "from information_schema.columns group by table_name order by table_name"
    )
    if as_json:
        from whywrong.runs.queries.query import json_rows

        for row in json_rows(table):
            tell(json.dumps(row))
        return
    _show(table.slice(0, limit))
    if len(table) > limit:
        say(f"{limit:,} of {len(table):,} rows; --rows shows more")
    if sql is None:
        say_next("query", run, "select label_name, predicted_name, count(*) from errors group by all order by 3 desc")


def _show(table: pa.Table) -> None:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for field in table.schema:
        number = str(field.type).startswith(("int", "uint", "float", "double", "decimal"))
        grid.add_column(printable(field.name), justify="right" if number else "left", overflow="fold")
    for row in table.to_pylist():
        grid.add_row(*(_cell(value) for value in row.values()))
    console().print(grid)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(value)
