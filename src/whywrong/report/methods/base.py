"""What the report knows of a method: one :class:`MethodReport` each, of built-ins and plug-ins alike.

``Method.report`` names it. Everything but the section of one error may be left out, and no other module of the report
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

COVERED = "Patches were covered with pixels, since this model cannot leave them out: covering may add a cue of its own."

Chart = ChartPanel | Bars | Histogram


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a menu: what tiles carry, what people read, and how many errors it shows."""

    key: str
    label: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """What the gallery can be narrowed by.

    Attributes:
        key: Name of the control and of the attribute of a tile; letters only.
        title: Label of the control.
        value: What a tile carries.
        choices: The lines of the menu for these errors; without any the control is not drawn. A single one is a box to
            tick.
        every: The first line of the menu, which narrows nothing; empty for a box to tick.
        order: Label of an order by ``number``, smallest first; empty for none.
        number: Of an error; negative if unknown, which comes last.
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
    """How hard an error is: a number for the bar of its tile and the order of all of them.

    Attributes:
        value: Of an error; infinite if it was looked for and not found, negative if it was not looked for.
        text: A value as people read it.
        full: The value at which a bar is full, given the method's numbers of the run; None without any value.
        reading: A sentence on bars and numbers, given that value.
    """

    value: Callable[[Row], float]
    text: Callable[[float], str]
    full: Callable[[Any], float | None]
    reading: Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseColumn:
    """A column of the table of planted causes: its title, and a text by cause."""

    title: str
    texts: Callable[[Tables], dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodReport:
    """Everything the report shows of one method.

    Attributes:
        method: Its name, which is that of its view.
        section: What it shows of one error; None if the run holds nothing of it.
        order: Place of its sentences and charts among those of other methods, smallest first.
        rows_per_error: Whether its view has one row an error, or several; ``Context.row`` holds a row or a list.
        explained: SQL condition on its view: the error was explained in full. Such errors are shown first.
        answered: Statuses that are no refusal.
        further_views: Views beside its own whose passes count as well.
        figure: ``draw(result, x, rows)``, a matplotlib figure, for ``whywrong.plot``.
        summarize: Its own numbers of the whole run; None if it did not run. Handed to the functions below.
        lead: Sentences under the headline.
        statistic: A number beside accuracy and errors.
        overview: Charts over all errors.
        facets: What the gallery can be narrowed by.
        measure: How hard an error is; the first method that has one orders the gallery.
        badge: A few words under the tile of an error.
        cause_column: Column of the table of planted causes.
        nouns: One of its results and several, as in a count of refusals.
        papers: What to cite.
        limits: What its results do not say; ``limits_of_run`` adds sentences with numbers of the run.
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
