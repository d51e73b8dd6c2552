"""Planted mistakes in a run: what the methods say about errors whose cause is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from whywrong.report.error_view import Case
from whywrong.report.numbers import grey_levels, known
from whywrong.report.tables import Tables

TILES = 8


@dataclass(slots=True)
class Cause:
    """One planted cause.

    Attributes:
        name: Its name.
        planted: Images that carry it; ``errors`` of them are read wrong.
        distance: Median distance to right of these, as text.
        places: How many of those asked have a confirmed place, as text.
        tiles: Anchor, picture and name of a few of them.
    """

    name: str
    planted: int
    errors: int
    distance: str
    places: str
    tiles: list[tuple[str, str, str]] = field(default_factory=list)


def planted_causes(tables: Tables, cases: Sequence[Case]) -> list[Cause]:
    """The planted causes of a run, most frequent first; empty where nothing was planted."""
    if not tables.has("items", "cause") or not tables.has("errors"):
        return []
    name = "split_part(i.cause, ' ', 1)"
    rows = tables.rows(
        f"select {name} as cause, count(*) as planted, count(e.item_id) as errors"
        f" from items i left join errors e using (item_id) where i.cause is not null group by 1 order by errors desc, 1"
    )
    measured = {}
    if tables.has("inverted", "rho_linf"):
        measured = {
            row["cause"]: row
            for row in tables.rows(
                f"select {name} as cause, median(v.rho_linf) filter (v.status = 'ok') as distance"
                " from inverted v join items i using (item_id) where i.cause is not null group by 1"
            )
        }
    placed = {}
    if tables.has("covering", "place_confirmed"):
        placed = {
            row["cause"]: f"{row['confirmed']:,} of {row['asked']:,}"
            for row in tables.rows(
                f"select {name} as cause, count(v.place_confirmed) as asked,"
                " count_if(v.place_confirmed)::bigint as confirmed"
                " from covering v join items i using (item_id) where i.cause is not null group by 1"
            )
            if row["asked"]
        }
    found = []
    for row in rows:
        more = measured.get(row["cause"])
        distance = ""
        if more is not None and known(more["distance"]):
            distance = grey_levels(255 * more["distance"])
        tiles = [(case.anchor, case.mark, case.cause) for case in cases if case.cause.split(" ")[0] == row["cause"]]
        found.append(
            Cause(row["cause"], row["planted"], row["errors"], distance, placed.get(row["cause"], ""), tiles[:TILES])
        )
    return found
