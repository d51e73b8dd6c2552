"""Report of ``suppression``, with the cells of the smallest fix that affect the labelled or the predicted class.

A smallest fix is one direction among many, so its cells show where the model is sensitive, not the cause of an error.
The control of every share is the same change with random signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.core.statistics import Interval, mean
from whywrong.core.status import Status
from whywrong.report.methods.base import Chart, MethodReport
from whywrong.report.numbers import count, known, percent, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.axes import grid, lay, photo_of, show, to_numpy, under
from whywrong.report.primitives.charts import FEWEST
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import (
    Block,
    ChartPanel,
    Context,
    Overlay,
    Section,
    Table,
    true_class,
    wrong_class,
)
from whywrong.report.tables import Row, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

TYPES = ("suppression", "promotion", "balanced", "neutral")
MAPS = "Class maps"
SENSITIVITY = (
    "The types of cells show where the model is sensitive to the smallest fix, one direction among many. They do not"
    " show the cause of the error."
)
_CLASS_MAPS = (
    ("cam_alt_suppressed", "Label", "Class activation map of {true} on the image as it is.", -1.0),
    ("cam_alt_promoted", "Prediction", "Class activation map of {wrong} on the image as it is.", 1.0),
    ("cam_ref_suppressed", "Label, fixed", "Class activation map of {true} on the fixed image.", -1.0),
    ("cam_ref_promoted", "Prediction, fixed", "Class activation map of {wrong} on the fixed image.", 1.0),
)


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not explained in full.
    """
    row = context.row["suppression"]
    if row is None or row["status"] == Status.SKIPPED:
        return None
    if row["status"] != Status.OK:
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Section(blocks=[Block("Sensitivity by cell", "refused", [("refused", "", reason)])])
    stored = context.maps("suppression")
    return Section(
        sentences=[_sentence(row, context)],
        overlays=[*_cells(row, stored, context), *_class_maps(stored, context)],
        blocks=[_block(row)],
        caveats=[SENSITIVITY],
    )


def _sentence(row: Row, context: Context) -> Markup:
    text = Markup("Compared with its smallest fix, the image has {} logits less for {} and {} more for {}").format(
        sig(row["total_suppression"]), true_class(context.true), sig(row["total_promotion"]), wrong_class(context.wrong)
    )
    if known(row["control_total_suppression"]):
        text += Markup("; for the same change with random signs, the differences are {} and {}").format(
            sig(row["control_total_suppression"]), sig(row["control_total_promotion"])
        )
    return text + Markup(".")


def _cells(row: Row, stored: dict[str, np.ndarray], context: Context) -> list[Overlay]:
    if "s" not in stored or "g" not in stored:
        return []
    kind, level = _types_of(stored["s"], stored["g"], float(row["eps"]))
    if not (level > 0).any():
        return []
    caption = (
        f"Sensitivity by cell: blue cells of the change mainly lower {context.true}, orange ones mainly raise"
        f" {context.wrong}, violet ones do both; stronger colours mean larger effects."
    )
    on_grid = row["cells"] == "grid"
    resolution = f"{kind.shape[0]} × {kind.shape[1]} cells" if on_grid else f"{int(row['count']):,} {row['cells']}"
    image = overlays.types_png(kind, level)
    return [Overlay("types", "Cells by type", caption, image=image, resolution=resolution, look="blocks", rank=50)]


def _types_of(s: np.ndarray, g: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Classify cells (h, w) and scale their strength to [0, 1]; neutral cells have type 3 and strength 0."""
    least_s, least_g = np.maximum(s, eps), np.maximum(g, eps)
    ratio = np.log2(least_g / least_s)
    kind = np.where(ratio < -1, 0, np.where(ratio > 1, 1, 2))
    kind = np.where((s <= eps) & (g <= eps), 3, kind)
    strength = np.where(kind == 3, 0.0, least_s + least_g)
    peak = float(np.quantile(strength, 0.95)) or float(strength.max())
    return kind, np.clip(strength / peak, 0, 1) if peak > 0 else strength


def _class_maps(stored: dict[str, np.ndarray], context: Context) -> list[Overlay]:
    found = []
    for number, (name, label, caption, sign) in enumerate(_CLASS_MAPS):
        values = stored.get(name)
        if values is None or not values.any():
            continue
        cells = overlays.density(sign * values)
        found.append(
            Overlay(
                f"class-map-{number}",
                label,
                caption.format(true=context.true, wrong=context.wrong),
                cells=cells,
                resolution=f"{cells.shape[0]} × {cells.shape[1]} cells",
                group=MAPS,
                rank=200 + number,
                starts=False,
            )
        )
    return found


def _block(row: Row) -> Block:
    unit = "nats" if row["gauge"] == "logprob" else "logits"
    rows = [
        ("image as a whole", _word(row["image_type"]), f"ratio {sig(row['ratio'], 2)} bits of promotion to suppression")
    ]
    for name in TYPES:
        control = row[f"control_{name}"]
        beside = f"{percent(control)} with random signs" if known(control) else "no control was measured"
        rows.append((f"{name} cells", percent(row[name]), beside))
    rows.append(("counter-acting cells", percent(row["counter_acting"]), "their change has the opposite effect"))
    rows.append(
        (
            "fix in the strongest quarter alone",
            "changes the prediction" if row["removed_quarter"] == 0 else "does not change the prediction",
            f"{percent(1 - row['removed_random'])} of random quarters do; the fix is extended by half its length"
            if known(row["removed_random"])
            else "",
        )
    )
    if known(row["gauge_shift"]):
        rows.append(("other gauges", percent(row["gauge_shift"]), "largest change of the share of a type"))
    rows.append(("other thresholds", percent(row["eps_shift"]), f"with a tenth and ten times {sig(row['eps'])} {unit}"))
    if known(row["residual"]):
        rows.append(("residual", percent(row["residual"]), "share of the whole change that the cells miss"))
    rows.append(("cost", count(int(row["forwards"] or 0), "forward pass", "forward passes"), _how(row)))
    summary = f"{sig(row['total_suppression'])} down, {sig(row['total_promotion'])} up, {unit}"
    return Block("Sensitivity by cell", summary, rows)


def _word(kind: str | None) -> str:
    words = {"suppression": "mainly lowers the label", "promotion": "mainly raises the prediction"}
    return words.get(kind or "", "does both" if kind == "balanced" else "no effect")


def _how(row: Row) -> str:
    return f"{int(row['count']):,} cells ({row['cells']}), mode {row['mode']}, {row['gauge']} scores"


@dataclass(frozen=True, slots=True)
class Mix:
    """Mean shares of the types of cells over the errors of a run, and of the control.

    Attributes:
        errors: Number of errors with a control.
        shares: By type, the share of cells and the share under random signs, each with its interval.
        quarter: Share of errors whose fix fails without its strongest quarter of cells, and without random quarters.
    """

    errors: int
    shares: dict[str, tuple[Interval, Interval]]
    quarter: tuple[Interval, Interval]


def summarize(tables: Tables) -> Mix | None:
    """Average the shares of a run over errors that have a control.

    Returns None if the method did not run.
    """
    names = [name for one in TYPES for name in (one, f"control_{one}")]
    if not tables.has("suppression", *names, "removed_quarter", "removed_random"):
        return None
    found = tables.rows(
        f"select {', '.join(names)}, removed_quarter, removed_random from suppression"
        " where status = 'ok' and control_strength is not null and not isnan(control_strength)"
    )

    def over(column: str, sign: float = 1.0) -> Interval:
        values = np.array([row[column] for row in found], dtype=np.float64)
        return mean(values if sign > 0 else 1 - values, bounds=(0.0, 1.0))

    shares = {name: (over(name), over(f"control_{name}")) for name in TYPES}
    return Mix(len(found), shares, (over("removed_quarter", -1), over("removed_random", -1)))


def overview(tables: Tables, summary: RunSummary) -> list[Chart]:
    """Compare the shares of the types of cells over all errors with the control."""
    mix: Mix | None = summary.numbers.get("suppression")
    if mix is None or mix.errors < FEWEST:
        return []
    rows = [[name, _text(own), _text(control)] for name, (own, control) in mix.shares.items()]
    rows.append(["undone by a quarter of the fix", *map(_text, mix.quarter)])
    table = Table(["cells", "smallest fix", "random signs"], rows, "Mean over errors, with the 95 % interval.")
    own, control = mix.shares["neutral"]
    reading = Markup(
        "Over {} errors, {} of the cells of the smallest fix have no effect on either class; with random signs {}."
    ).format(f"{mix.errors:,}", percent(own.value), percent(control.value))
    notes = [SENSITIVITY]
    return [ChartPanel("suppression", "Sensitivity by cell: suppression and promotion", [reading], None, notes, table)]


def _text(value: Interval) -> str:
    if not known(value.low) or not known(value.high):
        return percent(value.value)
    return f"{percent(value.value)} ({percent(value.low)} to {percent(value.high)})"


def draw_suppression(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw cells coloured by type, and maps of both classes on both images."""
    columns, maps = result.columns(), {name: to_numpy(values) for name, values in result.maps().items()}
    panels = [name for name, *_ in _CLASS_MAPS]
    figure, axes = grid(len(rows), 2 + len(panels))
    for line, row in zip(axes, rows, strict=True):
        photo = photo_of(x, row)
        show(line[0], photo, "image")
        s, g = maps["s"][row], maps["g"][row]
        if columns["status"][row] != Status.OK or not np.isfinite(s).all():
            for axis in line[1:]:
                show(axis, None, f"{columns['status'][row]}: {columns['reason'][row] or ''}".strip(": ")[:60])
            continue
        show(line[1], under(photo), "sensitivity by cell")
        _draw_types(line[1], s, g, float(columns["eps"][row]), photo.shape)
        line[1].set_xlabel(f"blue lowers class {int(columns['suppressed'][row])},\norange raises class"
                           f" {int(columns['promoted'][row])}, violet does both")  # fmt: skip
        cams = {name: maps[name][row] for name in panels if np.isfinite(maps[name][row]).all()}
        scale = overlays.common_scale(list(cams.values()))
        for axis, name in zip(line[2:], panels, strict=True):
            _, place, what = name.split("_")
            number = int(columns[what][row])
            title = f"map of class {number}, {'changed' if place == 'alt' else 'unchanged'}"
            show(axis, under(photo) if name in cams else None, title)
            if name in cams:
                sign = -1.0 if what == "suppressed" else 1.0
                lay(axis, sign * cams[name], scale, photo.shape)
    return figure


def _draw_types(axis: Axes, s: np.ndarray, g: np.ndarray, eps: float, shape: tuple[int, ...]) -> None:
    kind, level = _types_of(s, g, eps)
    colours = np.array([overlays.TRUE_RGB, overlays.WRONG_RGB, overlays.BOTH_RGB, (0, 0, 0)]) / 255
    alpha = np.where(kind == 3, 0.0, 0.12 + (overlays.MAX_ALPHA - 0.12) * level)
    picture = np.concatenate([colours[kind], alpha[..., None]], axis=-1)
    axis.imshow(picture, extent=(-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5), interpolation="nearest")


SUPPRESSION = MethodReport(
    method="suppression",
    order=45,
    section=section,
    figure=draw_suppression,
    explained="status = 'ok'",
    summarize=summarize,
    overview=overview,
    nouns=("comparison with a fix", "comparisons with a fix"),
    papers=(
        "Promotion and suppression: K. Xu et al., “Interpreting Adversarial Examples by Activation Promotion and"
        " Suppression”, 2019, arXiv:1904.02057. For errors and their fixes, and with controls, it is ours.",
    ),
    limits=(SENSITIVITY,),
    glossary=(
        ("suppression", "by how much a change in one part of an image lowers the score of the labelled class"),
        ("promotion", "by how much a change in one part of an image raises the score of the predicted class"),
        ("random signs", "the same change with a random sign in every value, the control for its cells"),
    ),
)
