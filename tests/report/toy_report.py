"""Everything the report shows of the toy method, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from whywrong.report.methods.base import Choice, Facet, MethodReport
from whywrong.report.primitives.charts import Bars, bars_of
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Block, Context, Overlay, Section
from whywrong.report.tables import Row, Tables


def section(context: Context) -> Section | None:
    """A sentence, a map and a number."""
    row = context.row["toy"]
    if row is None or row["status"] != "ok":
        return None
    return Section(
        sentences=[Markup("As toys go, this is a bright {}.").format(context.true)],
        overlays=[Overlay("toy", "Toy map", "Bright parts.", cells=context.maps("toy")["parts"], resolution="4 × 4")],
        blocks=[Block("Toy", "bright", [("brightness", f"{row['brightness']:.2f}", "of 1")])],
    )


def word(row: Row) -> str:
    """What the gallery is narrowed by."""
    toy = row["toy"]
    return "none" if toy is None else toy["status"]


def choices(rows: Sequence[Row]) -> list[Choice]:
    """The words that occur."""
    words = sorted(map(word, rows))
    return [Choice(one, f"toy {one}", words.count(one)) for one in dict.fromkeys(words)]


def overview(tables: Tables, summary: RunSummary) -> list[Bars]:
    """One bar."""
    number = summary.numbers["toy"]
    return [
        Bars("toy", "Toys of the run", [f"{number} toys are bright."], "toys", bars_of([("bright", number)], number))
    ]


def figure(result: Any, x: Any, rows: Sequence[int]) -> Figure:
    """Nothing but the number of rows."""
    drawn = Figure()
    drawn.suptitle(f"{len(rows)} toys")
    return drawn


TOY = MethodReport(
    method="toy",
    section=section,
    figure=figure,
    summarize=lambda tables: (
        tables.value("select count(*) from toy where status = 'ok'") if tables.has("toy") else None
    ),
    lead=lambda summary: [f"{summary.numbers['toy']} errors are toys."] if "toy" in summary.numbers else [],
    overview=overview,
    facets=(Facet(key="toy", title="Toy", value=word, choices=choices, every="any toy"),),
    badge=lambda row: "bright toy" if word(row) == "ok" else "",
    nouns=("toy map", "toy maps"),
    papers=("A. Toy, “On Toys”, 1926.",),
    limits=("A toy explains nothing.",),
    glossary=(("toy", "a method that only a test knows"),),
)
