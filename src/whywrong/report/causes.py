"""Planted causes in a run, and what the methods report about errors with a known cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from whywrong.report.error_view import ErrorView
from whywrong.report.reports import Reports
from whywrong.report.tables import Tables

TILES = 4


@dataclass(slots=True)
class Cause:
    """A planted cause.

    Attributes:
        name: Name of the cause.
        planted: Number of images with this cause; ``errors`` of them are misclassified.
        texts: Results of the methods as texts, one per column of :func:`cause_titles`.
        tiles: Anchor, picture and name of a few example images.
    """

    name: str
    planted: int
    errors: int
    texts: list[str]
    tiles: list[tuple[str, str, str]] = field(default_factory=list)


def cause_titles(reports: Reports) -> list[str]:
    """Collect the column titles that methods add to the table of planted causes."""
    return [report.cause_column.title for report in reports if report.cause_column is not None]


def planted_causes(tables: Tables, reports: Reports, cases: Sequence[ErrorView]) -> list[Cause]:
    """List the planted causes of a run, most frequent first.

    The list is empty if nothing was planted.
    """
    if not tables.has("items", "cause") or not tables.has("errors"):
        return []
    name = "split_part(i.cause, ' ', 1)"
    rows = tables.rows(
        f"select {name} as cause, count(*) as planted, count(e.item_id) as errors"
        f" from items i left join errors e using (item_id) where i.cause is not null group by 1 order by errors desc, 1"
    )
    columns = [
        reports.ask(report, "planted causes", report.cause_column.texts, tables, otherwise={})
        for report in reports
        if report.cause_column is not None
    ]
    found = []
    for row in rows:
        tiles = [(case.anchor, case.picture, case.cause) for case in cases if case.cause.split(" ")[0] == row["cause"]]
        texts = [column.get(row["cause"], "") for column in columns]
        found.append(Cause(row["cause"], row["planted"], row["errors"], texts, tiles[:TILES]))
    return found
