"""The smallest changes found that make the predictions of a run correct."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from whywrong.core.statistics import wilson
from whywrong.core.status import Status
from whywrong.report.methods.base import CauseColumn, Chart, Measure
from whywrong.report.numbers import count, grey_levels, interval, known, percent, sig
from whywrong.report.primitives.charts import Bin, Histogram
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Statistic
from whywrong.report.tables import Row, Tables

EDGES = [2.0**power for power in range(-7, 9)]  # grey levels
FRACTIONS = {0.5: "½", 0.25: "¼", 0.125: "⅛"}


@dataclass(frozen=True, slots=True)
class Distances:
    """Sizes of the smallest changes found in a run.

    Attributes:
        values: (N,) linf size of the smallest change found for each corrected error, in grey levels, ascending.
        statuses: Number of errors by status of the attack.
    """

    values: np.ndarray
    statuses: Counter[str]

    @property
    def fixed(self) -> int:
        """Number of errors for which a correcting change was found."""
        return self.statuses[Status.OK]

    @property
    def attacked(self) -> int:
        """Number of errors that were attacked."""
        return sum(n for status, n in self.statuses.items() if status != Status.ALREADY_CORRECT)


def summarize(tables: Tables) -> Distances | None:
    """Collect the sizes of the smallest changes of a run.

    Returns None if the attack did not run.
    """
    if not tables.has("inverted"):
        return None
    rows = tables.rows("select status, count(*) as n from inverted group by status")
    values = np.sort(tables.array("select rho_linf from inverted where status = 'ok'")) * 255
    return Distances(values, Counter({row["status"]: row["n"] for row in rows}))


def numbers_of(summary: RunSummary) -> Distances | None:
    """Return the result of :func:`summarize` for a run.

    Returns None if the attack did not run.
    """
    return summary.numbers.get("inverted")


def nearer(summary: RunSummary, away: float) -> float:
    """Compute the share of corrected errors whose change exceeds ``away`` grey levels.

    Returns NaN for fewer than 20 corrected errors.
    """
    found = numbers_of(summary)
    if found is None or len(found.values) < 20 or not np.isfinite(away):
        return float("nan")
    return float((found.values > away).mean())


def distance(row: Row) -> float:
    """Return the linf size of the smallest change in grey levels.

    It is infinite if none was found, and -1 if there was no search.
    """
    fix = row["inverted"]
    if fix is None:
        return -1.0
    return 255 * fix["rho_linf"] if fix["status"] == Status.OK else float("inf")


MEASURE = Measure(
    value=distance,
    reading="An error is harder if the smallest change found that corrects it is larger, in grey levels.",
)


def lead(summary: RunSummary) -> list[str]:
    """State how small the changes are that correct the errors."""
    found = numbers_of(summary)
    if found is None:
        return ["The smallest change that corrects each error was not measured: the inverted attack did not run."]
    if not found.attacked:
        return ["The search for the smallest changes has not started yet."]
    if len(found.values) == 0:
        return [f"{found.attacked:,} errors were tried; no change that corrects one of them was found yet."]
    median = float(np.median(found.values))
    whom = (
        "this error" if found.fixed == 1 else f"half of the {count(found.fixed, 'error')} with a known smallest change"
    )
    change = f"changing each colour value (0 to 255) by at most {grey_levels(median)} corrects the prediction"
    sentence = f"For {whom}, {change}."
    left = found.attacked - found.fixed
    if left:
        sentence += f" For {left:,} errors, no correcting change was found within the budget."
    untried = summary.errors - found.attacked
    if untried > 0:
        sentence += f" {count(untried, 'error')} {'has' if untried == 1 else 'have'} not been tried."
    return [sentence]


def statistic(summary: RunSummary) -> Statistic:
    """Count the errors with a known smallest change, with an interval."""
    title, found = "errors with a known smallest change", numbers_of(summary)
    if found is None or not found.attacked:
        return Statistic(title, "n/a", "no error" if not summary.errors else "not measured")
    return Statistic(
        title,
        percent(found.fixed / found.attacked),
        f"95 % interval {interval(wilson(found.fixed, found.attacked))}",
        f"{found.fixed:,} of {found.attacked:,} tried",
    )


def overview(tables: Tables, summary: RunSummary) -> list[Chart]:
    """Draw the histogram of the smallest changes of all errors."""
    found = numbers_of(summary)
    chart = None if found is None else _histogram(found)
    return [] if chart is None else [chart]


def _histogram(found: Distances) -> Histogram | None:
    """Draw the distances of all fixed errors.

    None for fewer than five, which the gallery shows as well.
    """
    values = found.values
    if len(values) < 5:
        return None
    low = max(0, int(np.searchsorted(EDGES, np.quantile(values, 0.01), side="right")) - 1)
    high = min(len(EDGES) - 1, max(low + 5, int(np.searchsorted(EDGES, np.quantile(values, 0.99), side="left"))))
    inner = EDGES[low + 1 : high]  # the outer bins are open
    numbers = np.bincount(np.searchsorted(inner, values, side="right"), minlength=len(inner) + 1)
    labels = ["0", *map(_edge, inner), "more"]
    bins = [
        Bin(labels[i], labels[i + 1], int(n), float(n / numbers.max()), percent(n / len(values)))
        for i, n in enumerate(numbers)
    ]
    below = int((values < 0.5).sum())
    reading = (
        f"For {below:,} of {count(len(values), 'corrected error')} ({percent(below / len(values))}), the smallest"
        " change is less than half a grey level, too small to be stored in an 8-bit image file."
    )
    return Histogram(
        "Size of the smallest change",
        reading,
        bins,
        "largest change of any colour value in grey levels, doubling from bar to bar; height: number of errors",
        "grey levels",
        "Bars of the number of errors by smallest change; the same numbers are in the table below.",
    )


def _edge(value: float) -> str:
    return FRACTIONS.get(value, sig(value) if value > 0.1 else f"1/{round(1 / value)}")


def _medians(tables: Tables) -> dict[str, str]:
    """Compute the median distance of the errors by planted cause, as text."""
    if not tables.has("inverted", "rho_linf"):
        return {}
    rows = tables.rows(
        "select split_part(i.cause, ' ', 1) as cause, median(v.rho_linf) filter (v.status = 'ok') as distance"
        " from inverted v join items i using (item_id) where i.cause is not null group by 1"
    )
    return {row["cause"]: grey_levels(255 * row["distance"]) for row in rows if known(row["distance"])}


CAUSE_COLUMN = CauseColumn(title="median smallest change", texts=_medians)
