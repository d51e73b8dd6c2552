"""Verdicts, groups and advice of a run, as they are stored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from whywrong.report.numbers import shown
from whywrong.report.tables import Row, Tables

UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Counts of the verdicts of a run.

    Attributes:
        errors: Errors with a verdict.
        supported: Errors whose cause is supported by a test.
        labels: Errors whose label a person should check.
        undetermined: Errors without a cause.
    """

    errors: int
    supported: int
    labels: int
    undetermined: int


@dataclass(slots=True)
class Group:
    """A group of errors.

    Attributes:
        number: Number of the group, starting at 1.
        cause: Cause that its errors share; empty if none is named.
        suspected: Whether no test supports the cause.
        members: Item ids, the most typical first.
        advice: Rows of the view ``advice`` for this group.
    """

    number: int
    name: str
    cause: str
    kind: str
    size: int
    share: float
    suspected: bool
    sentence: str
    action: str
    members: list[str]
    place: list[float]
    effect: tuple[float, float, float] | None
    statistics: dict[str, Any]
    advice: list[Row] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Anchor of the group in the page."""
        return f"group-{self.number}"


@dataclass(slots=True)
class Verdicts:
    """Verdicts of a run.

    Attributes:
        numbers: Counts of the verdicts.
        causes: Number of errors by cause and outcome of the test.
        groups: Groups, the most useful first.
    """

    numbers: VerdictCounts
    causes: Counter[tuple[str, str]]
    groups: list[Group]

    def groups_of(self, items: Sequence[str]) -> list[Group]:
        """Return the groups that contain at least one of these items."""
        wanted = set(items)
        return [group for group in self.groups if not wanted.isdisjoint(group.members)]


def read_verdicts(tables: Tables) -> Verdicts | None:
    """Read the verdicts of a run.

    Returns None if the run has no verdicts.
    """
    if not tables.has("verdicts", "item_id", "cause", "tested"):
        return None
    rows = tables.rows("select cause, tested, count(*) as n from verdicts group by all")
    causes: Counter[tuple[str, str]] = Counter()
    for row in rows:  # a test may support a cause that then is not stated
        causes[row["cause"], "untested" if row["cause"] == UNDETERMINED else row["tested"]] += row["n"]
    numbers = VerdictCounts(
        errors=causes.total(),
        supported=sum(n for (_, tested), n in causes.items() if tested == "supported"),
        labels=sum(n for (cause, tested), n in causes.items() if cause == "label" and tested != "supported"),
        undetermined=sum(n for (cause, _), n in causes.items() if cause == UNDETERMINED),
    )
    return Verdicts(numbers, causes, _groups(tables))


def _groups(tables: Tables) -> list[Group]:
    if not tables.has("groups", "group_id", "size", "sentence"):
        return []
    advice: dict[int, list[Row]] = {}
    if tables.has("advice", "group_id"):
        for row in tables.rows("select * from advice"):
            advice.setdefault(row["group_id"], []).append(row)
    found = [_group(row, advice.get(row["group_id"], [])) for row in tables.rows("select * from groups")]
    return sorted(found, key=lambda group: group.number)


def _group(row: Row, advice: list[Row]) -> Group:
    typical = [*(row["medoids"] or ()), *(row["members"] or ())]
    interval = (row["effect"], row["low"], row["high"])
    try:
        statistics = json.loads(row["statistics"] or "{}")
    except ValueError:
        statistics = {}
    return Group(
        number=int(row["group_id"]),
        name=shown(row["name"] or row["kind"] or "group"),
        cause=row["cause"] or "",
        kind=row["kind"] or "",
        size=int(row["size"]),
        share=row["share"] or 0.0,
        suspected=bool(row["suspected"]),
        sentence=shown(row["sentence"] or ""),
        action=shown(row["action"] or ""),
        members=list(dict.fromkeys(typical)),
        place=list(row["place"] or ()),
        effect=None if None in interval else interval,
        statistics=statistics if isinstance(statistics, dict) else {},
        advice=advice,
    )


def verdicts_of(tables: Tables, item_ids: Iterable[str]) -> tuple[dict[str, Row], dict[str, list[Row]]]:
    """Read the verdicts and the tests of some errors, as mappings by item."""
    ids = list(item_ids)
    tests = next((v for v in ("verdict_interventions", "interventions") if tables.has(v, "outcome", "p_holm")), "")
    return tables.by_item("verdicts", ids), tables.grouped_by_item(tests, ids) if tests else {}
