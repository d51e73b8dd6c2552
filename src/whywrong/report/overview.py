"""What the methods say over all errors at once: small charts, each with its one-sentence reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from whywrong.core.statistics import resampled_mean
from whywrong.report.methods.profiles.section import (
    LABELS,
    ROLES,
    VALUES,
    Curve,
    both_readings,
    noise_note,
    series,
    table,
)
from whywrong.report.numbers import count, percent, share
from whywrong.report.primitives.charts import line_chart
from whywrong.report.primitives.sections import ChartPanel
from whywrong.report.summary import Facts
from whywrong.report.tables import Row, Tables

OUTCOMES = ("semantic", "undecided", "adversarial", "unchecked", "not reached")
FEWEST = 5  # errors from which a figure over all of them is drawn
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a small bar chart: what it counts, how often, and its length as a share of the longest."""

    label: str
    number: int
    length: float
    share: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A small bar chart with its reading."""

    key: str
    title: str
    readings: list[str]
    axis: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Together:
    """The section over all errors; empty where no method has enough of them."""

    profile: ChartPanel | None
    bars: list[Bars]

    def __bool__(self) -> bool:
        return self.profile is not None or bool(self.bars)


def together(tables: Tables, facts: Facts) -> Together:
    """Every figure over all errors that the run allows."""
    bars = (enough_patches(facts), trust(tables))
    return Together(mean_profile(tables), [chart for chart in bars if chart is not None])


def mean_profile(tables: Tables) -> ChartPanel | None:
    """The mean square of the interactions of all errors, by order, with an interval over errors, from 20 of them."""
    if not tables.has("profiles", "ratio", "U", "class", "players", "value"):
        return None
    rows = tables.rows(
        "select item_id, ratio, class, U, M, A, noise_share, exact, value, players, rows, cols from profiles p"
        " join items using (item_id) where p.status = 'ok' and same_as is null and U is not null"
        " and class in ('true', 'target') order by ratio"
    )
    # A run has one model, but a later version of it may split the image in another way: only like is averaged.
    rows, kind = _most_common(rows)
    curves, errors = {}, 0
    for name in ROLES:
        found, number = _mean_curve([row for row in rows if row["class"] == name])
        if found is not None:
            curves[name], errors = found, max(errors, number)
    if not curves:
        return None
    value = VALUES.get(kind[0], str(kind[0]))
    names = {
        "target": Markup("<em class='wrong'>the predicted class</em>"),
        "true": Markup("<em class='true'>the true class</em>"),
    }
    chart = line_chart(
        [series(curves[name], ROLES[name], LABELS[name]) for name in curves],
        x_title="% of the other patches that are present",
        y_title=f"strength ({value})",
        described=f"Mean strength of the interactions of patches over {errors} errors; the same numbers are in the"
        " table below.",
    )
    what = "tokens left out" if kind[1] == "tokens" else "squares of pixels covered"
    notes = [
        noise_note(curves.values()),
        f"Root of the mean square over {count(errors, 'error')}, {kind[2]} × {kind[3]} patches, {what}. Bands: 95 %"
        " interval over errors, from 20 of them.",
    ]
    readings = both_readings([(curves[name], names[name]) for name in curves], value)
    return ChartPanel("profile", "How patches work together", readings, chart, [n for n in notes if n], table(curves))


def _most_common(rows: list[Row]) -> tuple[list[Row], tuple[str, str, int, int]]:
    """The rows of the most frequent way of measuring, and which it is: value, players, rows, columns."""

    def kind(row: Row) -> tuple[str, str, int, int]:
        return row["value"], row["players"], row["rows"], row["cols"]

    numbers: dict[tuple[str, str, int, int], int] = {}
    for row in rows:
        numbers[kind(row)] = numbers.get(kind(row), 0) + 1
    if not numbers:
        return [], ("", "", 0, 0)
    best = max(numbers, key=lambda key: (numbers[key], str(key)))
    return [row for row in rows if kind(row) == best], best


def _mean_curve(rows: list[Row]) -> tuple[Curve | None, int]:
    """The curve over errors that have every order, and how many these are; None for fewer than :data:`FEWEST`."""
    ratios = sorted({row["ratio"] for row in rows})
    place = {ratio: i for i, ratio in enumerate(ratios)}
    by_item: dict[str, np.ndarray] = {}
    for row in rows:
        numbers = by_item.setdefault(row["item_id"], np.full((3, len(ratios)), np.nan))
        numbers[:, place[row["ratio"]]] = row["U"], row["M"], _raw_square(row)
    whole = [numbers for numbers in by_item.values() if np.isfinite(numbers).all()]
    if len(whole) < FEWEST:
        return None, 0
    stacked = np.stack(whole)  # (N, 3, R)
    U, M, raw = stacked.mean(0)
    (low, sign_low), (high, sign_high) = resampled_mean(stacked[:, :2], DRAWS).interval()
    noise = np.where(raw > 0, np.clip(1 - U / np.maximum(raw, 1e-300), 0, 1), 0.0)
    half = (sign_high - sign_low) / 2
    strength, least, most = (np.sqrt(np.maximum(values, 0)) for values in (U, low, high))
    return Curve(np.array(ratios), strength, least, most, noise, M, half), len(whole)


def _raw_square(row: Row) -> float:
    """The mean square with its noise, from what is stored: U is its share that is no noise.

    Where all of it is noise, U tells nothing of its size; A is then that of normal noise of the same mean square.
    """
    if row["noise_share"] < 1:
        return row["U"] / (1 - row["noise_share"])
    return row["A"] ** 2 * np.pi / 2


def enough_patches(facts: Facts) -> Bars | None:
    """How many patches are enough for the wrong prediction, over all errors, in bins that double."""
    sizes = facts.enough
    if sizes is None or facts.grouped < FEWEST or not facts.patches:
        return None
    edges, low = [0], 1
    while low <= facts.patches:
        edges.append(low)
        low *= 2
    counts = np.bincount(np.searchsorted(edges, sizes, side="right") - 1, minlength=len(edges))
    last = int(np.flatnonzero(counts).max()) if counts.any() else 0
    bars = [
        (_range(edges[i], min(2 * edges[i] - 1, facts.patches) if i else 0), int(counts[i])) for i in range(last + 1)
    ]
    if facts.grouped > len(sizes):
        bars.append(("none found", facts.grouped - len(sizes)))
    if bars[0][1] == 0:
        bars = bars[1:]
    return Bars(
        "patches",
        "How many patches are enough",
        _patch_readings(facts),
        f"smallest group found, of {facts.patches:,} patches",
        _bars(bars, facts.grouped),
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if high <= low else f"{low:,} to {high:,}"


def _bars(numbers: list[tuple[str, int]], total: int) -> list[Bar]:
    most = max((n for _, n in numbers), default=0) or 1
    return [Bar(label, n, n / most, percent(n / total)) for label, n in numbers]


def _patch_readings(facts: Facts) -> list[str]:
    few = max(1, facts.patches // 20)
    sizes = facts.enough if facts.enough is not None else np.zeros(0)
    hits = int((sizes <= few).sum())
    patches = "1 patch" if few == 1 else f"{few:,} patches"
    found = [
        f"For {share(hits, facts.grouped)} of the errors, at most {patches} of {facts.patches:,} alone"
        f" {'is' if few == 1 else 'are'} enough for the wrong prediction."
    ]
    if facts.targeted is not None and len(facts.targeted):
        median = int(np.median(facts.targeted))
        found.append(
            f"{share(len(facts.targeted), facts.grouped)} are read right once some patches are hidden; half of these"
            f" need at most {count(median, 'hidden patch', 'hidden patches')}."
        )
    return found


def trust(tables: Tables) -> Bars | None:
    """What became of the counterfactuals into the true class, at the largest radius, by trust verdict."""
    if not tables.has("counterfactuals", "role", "eps", "trust", "valid"):
        return None
    rows = tables.rows(
        "select role, case when valid then trust else 'not reached' end as verdict, count(*) as n from"
        " (select role, arg_max(trust, eps) as trust, arg_max(valid, eps) as valid"
        " from counterfactuals c join items using (item_id)"
        " where c.status = 'ok' and same_as is null and role in ('true', 'wrong') group by item_id, role)"
        " group by 1, 2"
    )
    numbers = {(row["role"], row["verdict"]): row["n"] for row in rows}
    total = {role: sum(n for (of, _), n in numbers.items() if of == role) for role in ("true", "wrong")}
    if total["true"] < FEWEST:
        return None
    bars = [(word, numbers.get(("true", word), 0)) for word in OUTCOMES]
    believed = numbers.get(("true", "semantic"), 0)
    deeper = numbers.get(("wrong", "semantic"), 0)
    return Bars(
        "trust",
        "What counterfactuals show",
        _trust_readings(believed, total["true"], deeper, total["wrong"]),
        f"trust in the change into the true class, {count(total['true'], 'error')}",
        _bars([bar for bar in bars if bar[1]], total["true"]),
    )


def _trust_readings(believed: int, errors: int, deeper: int, others: int) -> list[str]:
    if not believed and not deeper:
        return [
            f"In {count(errors, 'error')}, no change is known to mean anything to others: none is shown as an"
            " explanation."
        ]
    found = [
        f"For {share(believed, errors)} of the errors, a change into the true class was found that means something to"
        " others as well." + (" The other changes are not to be read as explanations." if believed < errors else "")
    ]
    if others:
        found.append(f"Deeper into the predicted class it is so for {share(deeper, others)}.")
    return found
