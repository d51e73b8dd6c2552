"""Part of view ``covering``: the place that accounts for an error, if one is confirmed, and what it was tested with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.core.discoveries import LEAST_CONTROLS, LEVEL
from whywrong.report.numbers import count, known, percent, shown, sig
from whywrong.report.primitives.sections import Block, Context, Overlay, Part, true_class
from whywrong.report.summary import SKIPPED
from whywrong.report.tables import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

NONE_FOUND = (
    "No single place was found to account for this error; the map shows where the model is sensitive, for any class."
)
UNIT = 1000  # the window is drawn in a box of so many units a side


def part(context: Context) -> Part | None:
    """What covering shows of one error; None where there is no row of it or it was not to be explained in full."""
    row = context.row["covering"]
    if row is None or row["status"] == SKIPPED:
        return None
    if row["status"] != "ok":
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Part(blocks=[Block("Covering", "refused", [("refused", "", reason)])])
    if not row["place_confirmed"]:
        return Part(sentences=[_not_confirmed(row)], blocks=[_block(row, context)])
    caption = Markup("Hidden here, the image is read as {}: a place confirmed.").format(context.true)
    return Part(
        sentences=[_confirmed(row, context)],
        overlays=[Overlay("place", "Place", str(caption), path=_path(row), width=UNIT, height=UNIT)],
        blocks=[_block(row, context)],
    )


def _confirmed(row: Row, context: Context) -> Markup:
    area = percent(round(row["width"] * row["height"], 2))
    controls = int(row["controls"])
    as_much = round(row["p"] * (controls + 1)) - 1
    do = "does" if as_much == 1 else "do"
    return Markup(
        "Hiding this place ({} of the image) brings out {}, and no other class as much; of {} read right, asked for"
        " their runner-up, {} {} as well. Of the places confirmed in this run about one in ten may be chance."
    ).format(area, true_class(context.true), count(controls, "image"), f"{as_much:,}" if as_much else "none", do)


def _not_confirmed(row: Row) -> Markup:
    if row["place_confirmed"] is None:
        return Markup(
            "Whether one place accounts for this error was not tested: that takes at least {} that the model reads"
            " right to compare with."
        ).format(count(LEAST_CONTROLS, "image"))
    return Markup(NONE_FOUND)


def _path(row: Row) -> str:
    """The window as an SVG path."""
    x, y, width, height = (round(UNIT * row[name], 1) for name in ("left", "top", "width", "height"))
    return f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z"


def _block(row: Row, context: Context) -> Block:
    verdict = {True: "place confirmed", False: "no place confirmed", None: "not tested"}[row["place_confirmed"]]
    rows = [
        ("brought out of the labelled class", percent(row["p_true"]), "largest probability with one window hidden"),
        (
            "brought out of any other class",
            percent(row["p_rival"]),
            f"largest with one window hidden: {context.names[row['rival']]}",
        ),
        ("V", sig(row["v"]), "the difference of the two"),
        (
            "best window",
            "turns the answer into the labelled class" if row["turned"] else "does not turn the answer",
            "",
        ),
        (
            "windows that turn the answer",
            f"{int(row['turned_windows']):,}",
            "no evidence by itself: it also happens to most images read right, asked for their runner-up",
        ),
    ]
    if known(row["p"]):
        level = f"confirmed by Benjamini-Hochberg at {percent(LEVEL)} over all errors asked"
        against = f"share of {count(int(row['controls']), 'image')} read right with a V as large; {level}"
        rows.append(("P", sig(row["p"], 2), against))
    rows.append(("cost", count(int(row["forwards"] or 0), "forward pass", "forward passes"), ""))
    return Block("Covering", verdict, rows)


def draw_covering(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Photograph with the window that brings the asked class out most, then its probability by window.

    The figure makes no claim: whether a place is confirmed takes the other images of a run.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns, cover = result.columns(), result.maps()["cover"].cpu().numpy()
    figure = Figure(figsize=(2.7 * 2, 3.0 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), row in zip(axes, rows, strict=True):
        photo = np.moveaxis(np.clip(x[row].detach().cpu().float().numpy(), 0, 1), 0, -1)
        left.imshow(photo.squeeze(-1) if photo.shape[-1] == 1 else photo, cmap="gray", vmin=0, vmax=1)
        for axis in (left, right):
            axis.set_xticks([])
            axis.set_yticks([])
        if columns["status"][row] != "ok":
            reason = columns["reason"][row] or ""
            left.set_title("image", fontsize=9)
            right.set_title(f"{columns['status'][row]}: {reason}".replace("_", " ").strip(": ")[:60], fontsize=9)
            right.set_frame_on(False)
            continue
        x0, y0, width, height = (float(columns[name][row]) for name in ("left", "top", "width", "height"))
        down, across = photo.shape[:2]
        corner = (x0 * across - 0.5, y0 * down - 0.5)
        for colour, line in (("black", 3.0), ("white", 1.5)):
            left.add_patch(
                Rectangle(corner, width * across, height * down, fill=False, edgecolor=colour, linewidth=line)
            )
        turned = "becomes the asked class" if columns["turned"][row] else "keeps another class"
        left.set_title(f"covered here, the image {turned}", fontsize=8)
        left.set_xlabel(f"V = {float(columns['v'][row]):.2g}", fontsize=8)
        shown = right.imshow(cover[row], cmap="viridis", vmin=0)
        right.set_title("where the model is sensitive", fontsize=9)
        right.set_xlabel("probability of the asked class, by covered window", fontsize=8)
        figure.colorbar(shown, ax=right, shrink=0.8)
    return figure
