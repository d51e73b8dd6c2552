"""Interface between the report and a method, one :class:`MethodReport` each, for built-ins and plug-ins alike.

``Method.report`` names it. Everything except the section of one error is optional, and no other module of the report
knows a method by its name.
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
    """An entry of a menu, with the value of tiles, the text for people, and the number of errors."""

    key: str
    label: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """A filter of the gallery.

    Attributes:
        key: Name of the control and of the attribute of a tile; letters only.
        title: Label of the control.
        value: Value of a tile.
        choices: Entries of the menu for these errors; without any the control is not drawn. A single one is a check
            box.
        every: First entry of the menu, which filters nothing; empty for a check box.
        order: Label of an order by ``number``, smallest first; empty for none.
        number: Sort value of an error; negative if unknown, which comes last.
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
    """How hard an error is, as a number for the order of the gallery.

    Attributes:
        value: Value of an error; infinite if the search found nothing, negative if there was no search.
        reading: A sentence that says what is measured, and in which unit.
    """

    value: Callable[[Row], float]
    reading: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseColumn:
    """A column of the table of planted causes, with its title and a text by cause."""

    title: str
    texts: Callable[[Tables], dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodReport:
    """Everything that the report shows of one method.

    Attributes:
        method: Its name, which is that of its view.
        section: Its section on one error; None if the run has no result for it.
        order: Position of its sentences and charts among those of other methods, smallest first.
        rows_per_error: Whether its view has one row per error, or several; ``Context.row`` holds a row or a list.
        explained: SQL condition on its view for errors explained in full, which are shown first.
        answered: Statuses that are not refusals.
        further_views: Further views whose passes count as well.
        figure: ``draw(result, x, rows)``, a matplotlib figure, for ``whywrong.plot``.
        summarize: Its own numbers of the whole run; None if it did not run. Passed to the functions below.
        lead: Sentences under the headline.
        statistic: A number shown beside accuracy and errors.
        overview: Charts over all errors.
        facets: Filters of the gallery.
        measure: How hard an error is; the first method that has one orders the gallery.
        badge: A few words under the tile of an error.
        cause_column: Column of the table of planted causes.
        nouns: Singular and plural of its results, used to count refusals.
        papers: Papers to cite.
        limits: Limits of its results; ``limits_of_run`` adds sentences with numbers of the run.
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
