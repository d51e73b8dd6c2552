"""Chart of the mean interaction profile over the errors of a run, with its interval."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from whywrong.core.statistics import resampled_mean
from whywrong.report.methods.base import Chart
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
from whywrong.report.numbers import count
from whywrong.report.primitives.charts import FEWEST, line_chart
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import ChartPanel
from whywrong.report.tables import Row, Tables

DRAWS = 2000


def overview(tables: Tables, summary: RunSummary) -> list[Chart]:
    """Draw the mean profile."""
    panel = mean_profile(tables)
    return [] if panel is None else [panel]


def mean_profile(tables: Tables) -> ChartPanel | None:
    """Draw the mean square of the interactions over all errors, by order.

    With at least 20 errors, the chart also shows an interval over errors.
    """
    if not tables.has("profiles", "ratio", "U", "class", "players", "value"):
        return None
    rows = tables.rows(
        "select item_id, ratio, class, U, M, A, noise_share, exact, value, players, rows, cols from profiles p"
        " join items using (item_id) where p.status = 'ok' and same_as is null and U is not null"
        " and class in ('true', 'target') order by ratio"
    )
    # A run has one model, but a later version may split the image differently: only equal settings are averaged.
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
    """Select the rows of the most frequent measurement setting.

    Also returns the setting, which is value, players, rows and columns.
    """

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
    """Average the curve over errors that have every order.

    Also returns their number; None for fewer than :data:`FEWEST`.
    """
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
    """Compute the mean square including noise from the stored values.

    U is its share that is not noise. If all of it is noise, U says nothing about its size; it is then computed from the
    mean absolute value A as for normal noise.
    """
    if row["noise_share"] < 1:
        return row["U"] / (1 - row["noise_share"])
    return row["A"] ** 2 * np.pi / 2
