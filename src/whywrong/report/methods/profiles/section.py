"""Section on the strength of interactions against the share of visible other patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from scipy.special import stdtrit

from whywrong.core.status import Status
from whywrong.report.methods.base import COVERED
from whywrong.report.numbers import count, known, percent, shown, sig
from whywrong.report.primitives.charts import Series, line_chart
from whywrong.report.primitives.sections import (
    Block,
    ChartPanel,
    Context,
    Section,
    Table,
    true_class,
    wrong_class,
)
from whywrong.report.tables import Row

VALUES = {"log_odds": "log-odds", "log_prob": "log-probability", "logit": "logit", "margin": "margin"}
NOISE_MARK = 0.3
LOW, HIGH = 0.2, 0.8  # orders up to and from here are called low and high
ROLES = {"target": "wrong", "true": "true"}
LABELS = {"target": "predicted class", "true": "true class"}


@dataclass(frozen=True, slots=True)
class Curve:
    """Interaction strengths of one class over the orders, (R,) each, in units of the value function.

    Attributes:
        at: Order s divided by n - 2, for n patches, ascending.
        value: sqrt(max(U, 0)) of the debiased mean square U. ``low`` and ``high`` come from its 95 % interval; NaN for
            too few draws.
        noise: Share of the mean square that is due to sampling noise.
        sign, sign_half: Signed mean and half the width of its 95 % interval.
    """

    at: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    noise: np.ndarray
    sign: np.ndarray
    sign_half: np.ndarray

    @property
    def solid(self) -> np.ndarray:
        """(R,) bool, strengths that exceed noise and have a known interval."""
        return (self.noise <= NOISE_MARK) & np.isfinite(self.high)


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not explained in full.
    """
    rows: list[Row] | None = context.row["profiles"]
    if not rows or rows[0]["status"] == Status.SKIPPED:
        return None
    first = rows[0]
    if first["status"] != "ok":
        reason = shown(first["reason"] or "no reason given")
        return Section(blocks=[Block("Interaction profile", "refused", [("refused", "", reason)])])
    value = VALUES.get(first["value"], str(first["value"]))
    curves = {name: found for name in ROLES if (found := curve(rows, name)) is not None}
    if not curves:
        return None
    named = {"target": wrong_class(context.wrong), "true": true_class(context.true)}
    readings = both_readings([(curves[name], named[name]) for name in curves], value)
    chart = line_chart(
        [series(curves[name], ROLES[name], LABELS[name]) for name in curves],
        x_title="% of the other patches that are present",
        y_title=f"strength ({value})",
        described=f"Strength of the interactions of patches, by the {value} of the predicted and of the true class;"
        " the same numbers are in the table below.",
    )
    part = Section(caveats=_caveats(first))
    notes = [noise_note(curves.values()), _how(first)]
    part.panels.append(
        ChartPanel(
            "profile", "How patches work together", readings, chart, list(filter(None, notes)), table(curves, first)
        )
    )
    return part


def curve(rows: Sequence[Row], name: str) -> Curve | None:
    """Build the curve of class ``name`` (``true``, ``target``, ``difference``).

    Returns None if no order has a value.
    """
    chosen = sorted(
        (row for row in rows if row["class"] == name and known(row["U"]) and known(row["ratio"])),
        key=lambda row: row["ratio"],
    )
    if not chosen:
        return None

    def column(key: str) -> np.ndarray:
        return np.array([row[key] if known(row[key]) else np.nan for row in chosen], dtype=np.float64)

    freedom = np.maximum(np.nan_to_num(column("units")) - 1, 1)
    t = stdtrit(freedom, 0.975)
    exact = np.array([bool(row["exact"]) for row in chosen])
    U, half = column("U"), np.where(exact, 0, t * column("U_se"))
    return Curve(
        column("ratio"), _root(U), _root(U - half), _root(U + half), np.nan_to_num(column("noise_share"), nan=1.0),
        column("M"),        np.where(exact, 0, t * column("M_se")),
    )  # fmt: skip


def _root(square: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(square, 0))


def series(curve: Curve, role: str, label: str) -> Series:
    """Convert a curve to a series of the chart."""
    return Series(
        role,
        label,
        curve.at.tolist(),
        curve.value.tolist(),
        curve.low.tolist(),
        curve.high.tolist(),
        (~curve.solid).tolist(),
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """The statement that a curve supports, and its numbers; the class is not named."""

    statement: str
    numbers: str = ""
    sign: str = ""


def both_readings(curves: Sequence[tuple[Curve, Markup]], value: str) -> list[Markup]:
    """Write one sentence per curve that names its class.

    If all curves support the same statement, write a single sentence for all of them.
    """
    found = [(read(curve), name) for curve, name in curves]
    first, name = found[0]
    if len(found) == 2 and (first.statement, first.sign) == (found[1][0].statement, found[1][0].sign) and first.numbers:
        text = Markup("By the {} of {}, {}{}{}. By that of {} it is the same{}.")
        other, other_name = found[1]
        return [text.format(value, name, first.statement, first.numbers, first.sign, other_name, other.numbers)]
    return [
        Markup("By the {} of {}, {}{}{}.").format(value, name, one.statement, one.numbers, one.sign)
        for one, name in found
    ]


def read(curve: Curve) -> Reading:
    """Interpret a curve, using only values that exceed noise."""
    solid = np.flatnonzero(curve.solid)
    if not np.isfinite(curve.high).any():
        return Reading("there are too few samples for an interval, so the strengths are unknown")
    if len(solid) == 0:
        return Reading("no strength stands out from the sampling noise")
    if not curve.value[solid].any():
        return Reading("patches do not interact: each has its effect alone")
    top = solid[int(np.argmax(curve.value[solid]))]
    bottom = solid[int(np.argmin(curve.value[solid]))]
    others = [place for place in solid if _band(curve.at[place]) != _band(curve.at[top])]
    unclear = [place for place in others if curve.high[place] >= curve.low[top]]
    if not others or curve.high[bottom] >= curve.low[top]:
        level = sig(float(np.median(curve.value[solid])), 2)
        return Reading(
            "the strength of interactions does not clearly depend on how much else is visible", f" (around {level})"
        )
    most = "most" if not unclear else "probably most"
    hollow = [place for place in range(len(curve.at)) if not curve.solid[place]]
    if any(not curve.high[place] < curve.low[top] for place in hollow):
        most += ", as far as the noise allows,"
    numbers = f" ({sig(float(curve.value[top]), 2)} with {_present(curve.at[top])} of the others present,"
    numbers += f" {sig(float(curve.value[bottom]), 2)} with {_present(curve.at[bottom])})"
    sign = _sign(float(curve.sign[top]), float(curve.sign_half[top]))
    return Reading(f"patches interact {most} {_when(curve.at[top])}", numbers, sign)


def _present(ratio: Any) -> str:
    return "none" if ratio == 0 else "all" if ratio == 1 else percent(round(float(ratio), 2))


def _band(ratio: Any) -> str:
    return "low" if ratio <= LOW else "high" if ratio >= HIGH else "middle"


def _when(ratio: Any) -> str:
    return {
        "low": "when little else is visible",
        "middle": "when about half of the image is visible",
        "high": "when nearly everything else is visible",
    }[_band(ratio)]


def _sign(mean: float, half: float) -> str:
    if not abs(mean) > half:
        return "; there, helping each other and repeating each other balance"
    return f"; there, they mostly {'help' if mean > 0 else 'repeat or contradict'} each other"


def noise_note(curves: Iterable[Curve]) -> str:
    """Write a sentence on hollow points.

    Returns an empty string if there are none.
    """
    hollow = sum(int((~curve.solid).sum()) for curve in curves)
    if not hollow:
        return ""
    which = "The hollow point is" if hollow == 1 else f"The {hollow} hollow points are"
    return (
        f"{which} unreliable: sampling noise is over {percent(NOISE_MARK)} of the strength, or there were too few"
        " samples for an interval."
    )


def _how(row: Row) -> str:
    what = "tokens of the model left out" if row["players"] == "tokens" else "squares of pixels covered"
    text = f"{row['rows']} × {row['cols']} patches, {what}"
    if known(row["pairs"]):
        text += f"; {count(int(row['pairs']), 'pair')} of neighbours"
    if known(row["passes"]):
        text += f", {count(int(row['passes']), 'pass', 'passes')}"
    return text + ". Bands: 95 % interval over the draws, for these pairs."


def table(curves: dict[str, Curve], row: Row | None = None) -> Table:
    """Tabulate curves over the same orders.

    The table has one row per order and four columns per class.
    """
    head, columns = ["others present"], []
    for name, found in curves.items():
        short = LABELS[name].removesuffix(" class")
        head += [short, "95 % interval", "signed mean", "noise"]
        columns.append([
            (
                sig(float(found.value[i])),
                _interval(found, i),
                f"{sig(float(found.sign[i]), 2)} ± {sig(float(found.sign_half[i]), 2)}",
                percent(round(float(found.noise[i]), 2)),
            )
            for i in range(len(found.at))
        ])  # fmt: skip
    places = next(iter(curves.values())).at.tolist()
    body = [
        [percent(round(ratio, 3)), *(text for column in columns for text in (column[i] if i < len(column) else ()))]
        for i, ratio in enumerate(places)
    ]
    why = f"Patches were covered: {shown(row['fallback'])}." if row is not None and row["fallback"] else ""
    return Table(head, body, why)


def _interval(curve: Curve, i: int) -> str:
    if not np.isfinite(curve.high[i]):
        return "unknown"
    return f"{sig(float(curve.low[i]), 2)} to {sig(float(curve.high[i]), 2)}"


def _caveats(row: Row) -> list[str]:
    if not row["fallback"]:
        return []
    return [COVERED]
