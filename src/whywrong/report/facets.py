"""Filters and sort orders of the gallery that methods add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whywrong.report.methods.base import Choice, Facet, MethodReport
from whywrong.report.reports import Reports
from whywrong.report.tables import Row


@dataclass(frozen=True, slots=True)
class Control:
    """A filter of the gallery with its choices; a single choice is shown as a check box."""

    facet: Facet
    choices: list[Choice]

    @property
    def ordered(self) -> bool:
        """Whether the gallery can be sorted by it."""
        return bool(self.facet.order and self.facet.number)


def controls(reports: Reports, rows: Sequence[Row]) -> list[Control]:
    """Collect the filters that apply to these errors.

    Filters without choices are omitted.
    """
    found = []
    for report in reports:
        for facet in report.facets:
            choices = reports.ask(report, "filter", facet.choices, rows, otherwise=[])
            if choices:
                found.append(Control(facet, choices))
    return found


def facet_values(reports: Reports, row: Row) -> dict[str, str]:
    """Return the filter values of one error by facet."""
    return {
        facet.key: reports.ask(report, "filter", facet.value, row, otherwise="")
        for report in reports
        for facet in report.facets
    }


def facet_numbers(reports: Reports, row: Row) -> dict[str, float]:
    """Return the sort values of one error by facet.

    Unknown values are -1.
    """
    return {
        facet.key: reports.ask(report, "order", facet.number, row, otherwise=-1.0)
        for report in reports
        for facet in report.facets
        if facet.number is not None
    }


def badges(reports: Reports, row: Row) -> list[str]:
    """Collect the texts under the tile of one error."""
    found = [reports.ask(one, "badge", one.badge, row, otherwise="") for one in reports if one.badge is not None]
    return [words for words in found if words]


def measuring(reports: Reports) -> MethodReport | None:
    """Find the method whose measure sorts the gallery, or return None."""
    return next((report for report in reports if report.measure is not None), None)
