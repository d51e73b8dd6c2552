"""Interface between the report and the methods, both built-ins and plug-ins.

``Method.report`` names the :class:`MethodReport` of a method. Everything except the section on one error is optional.
No other module of the report refers to a method by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from whywrong.report.primitives.charts import Bars, Histogram
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import ChartPanel, Context, Section, Statistic
from whywrong.report.tables import Row, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COVERED = (
    "Patches were covered with other pixels, because this model cannot leave them out. The covering may itself act as a"
    " cue."
)

Chart = ChartPanel | Bars | Histogram


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry of a menu, with the value of the tiles, the displayed text, and the number of errors."""

    key: str
    label: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """A filter of the gallery.

    Attributes:
        key: Name of the control and of the attribute of a tile; letters only.
        title: Label of the control.
        value: Computes the value of an error's tile.
        choices: Computes the entries of the menu for some errors. Without entries the filter is omitted; a single entry
            is a check box.
        every: First entry of the menu, which filters nothing; empty for a check box.
        order: Label of the sort order by ``number``, smallest first; empty for no sort order.
        number: Computes the sort value of an error. Negative values are unknown and come last.
    """

    key: str
    title: str
    value: Callable[[Row], str]
    choices: Callable[[Sequence[Row]], list[Choice]]
    every: str = ""
    order: str = ""
    number: Callable[[Row], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Difficulty of errors, which sorts the gallery.

    Attributes:
        value: Computes the difficulty of an error: infinite if the search found nothing, negative if there was no
            search.
        reading: A sentence that says what is measured, and in which unit.
    """

    value: Callable[[Row], float]
    reading: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseColumn:
    """A column of the table of planted causes, with its title and one text per cause."""

    title: str
    texts: Callable[[Tables], dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodReport:
    """Everything that the report shows about one method.

    Attributes:
        method: Name of the method and of its view.
        section: Builds the section on one error; returns None if the run has no result for it.
        order: Sort key of its sentences and charts among those of other methods, smallest first.
        rows_per_error: Whether its view has one row per error or several; ``Context.row`` then holds a row or a list of
            rows.
        explained: SQL condition on its view that selects the errors explained in full, which are shown first.
        answered: Statuses that are not refusals.
        further_views: Further views whose passes are counted.
        figure: ``draw(result, x, rows)`` for ``whywrong.plot``; returns a Matplotlib figure.
        summarize: Computes summary numbers of the run, which the following functions get; None if the method did not
            run.
        lead: Writes sentences under the headline.
        statistic: Computes a number shown beside accuracy and errors.
        overview: Draws charts over all errors.
        facets: Filters of the gallery.
        measure: Difficulty of an error; the first method that has one sorts the gallery.
        badge: Writes a few words under the tile of an error.
        cause_column: Column of the table of planted causes.
        nouns: Singular and plural noun for its results, used to count refusals.
        papers: Papers to cite.
        limits: Sentences on the limits of its results; ``limits_of_run`` adds some with numbers of the run.
        glossary: Words and their meanings.
    """

    method: str
    section: Callable[[Context], Section | None]
    order: int = 100
    rows_per_error: Literal["one", "several"] = "one"
    explained: str = ""
    answered: tuple[str, ...] = ("ok", "skipped")
    further_views: tuple[str, ...] = ()
    figure: Callable[[Any, Any, Sequence[int]], Figure] | None = None
    summarize: Callable[[Tables], Any] | None = None
    lead: Callable[[RunSummary], list[str]] | None = None
    statistic: Callable[[RunSummary], Statistic] | None = None
    overview: Callable[[Tables, RunSummary], list[Chart]] | None = None
    facets: tuple[Facet, ...] = ()
    measure: Measure | None = None
    badge: Callable[[Row], str] | None = None
    cause_column: CauseColumn | None = None
    nouns: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    limits_of_run: Callable[[RunSummary], list[str]] | None = None
    glossary: tuple[tuple[str, str], ...] = ()
