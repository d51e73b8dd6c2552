"""Report of ``smallest_fix``, the smallest change in a norm that corrects the prediction, and its size in all norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.core.status import Status
from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import count, grey_levels, known, percent, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.axes import grid, photo_of, row_of, show, to_numpy
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class
from whywrong.report.tables import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

PLACE = (
    "The place of a smallest change shows where the model is sensitive, for any class; it says nothing about the cause."
)


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not searched.
    """
    fix = context.row["smallest_fix"]
    if fix is None or fix["status"] == Status.SKIPPED:
        return None
    if fix["status"] != Status.OK:
        reason = shown(fix["reason"] or fix["status"].replace("_", " "))
        return Section(blocks=[Block(f"Smallest change in {fix['norm']}", "not found", [("refused", "", reason)])])
    stored = context.maps("smallest_fix")
    change = stored.get("change_u8")
    if change is None and "change" in stored:
        change = 255 * stored["change"]
    return Section(
        sentences=[_sentence(fix, context.true, 0 if change is None else change[0].size)],
        overlays=[] if change is None or not change.any() else [_overlay(change, exact=bool(fix["u8_fixed"]))],
        blocks=[_block(fix)],
        caveats=_caveats(fix),
    )


def size_in_words(fix: Row, pixels: int = 0) -> str:
    """State the size of the change in the norm that was minimised."""
    if fix["norm"] == "l0":
        share = f" ({percent(fix['l0'] / pixels)})" if pixels else ""
        return f"changing {count(int(fix['l0']), 'pixel')}{share}"
    if fix["norm"] == "linf":
        return f"changing each colour value by at most {grey_levels(255 * fix['linf'])}"
    what = "group norm" if fix["norm"] == "groups" else f"{fix['norm']} norm"
    return f"a change of {what} {sig(fix['size'])}"


def _sentence(fix: Row, true: str, pixels: int) -> Markup:
    told = size_in_words(fix, pixels)
    return Markup("In {}, {} turns the prediction into {}.").format(fix["norm"], told, true_class(true))


def _overlay(change: np.ndarray, *, exact: bool) -> Overlay:
    image, factor = overlays.amplified(change, 1024)
    most = grey_levels(float(np.abs(change).max()))
    what = "8-bit change" if exact else "Change"
    caption = f"{what} of least norm × {factor}: the real change is at most {most}; mid grey means no change."
    return Overlay("smallest", f"Smallest × {factor}", caption, image=image, look="opaque", rank=55, starts=False)


def _block(fix: Row) -> Block:
    rows = [
        ("pixels changed (l0)", f"{int(fix['l0']):,}", "in any channel"),
        ("l1 norm", sig(fix["l1"]), "pixels in [0, 1]"),
        ("l2 norm", sig(fix["l2"]), "pixels in [0, 1]"),
        ("largest change (linf)", grey_levels(255 * fix["linf"]), "of a colour value"),
        ("first-order estimate", sig(fix["linear"]), f"of the size in {fix['norm']}; infinite if out of reach"),
        ("margin", f"{sig(fix['margin_before'])} to {sig(fix['margin_after'])} logits", "negative is correct"),
        (
            "correct when tested again",
            "no" if fix["unstable"] else "yes",
            "in a batch with other images, in the same process",
        ),
    ]
    if known(fix["groups"]):
        rows.insert(4, ("group norm", sig(fix["groups"]), "sum over superpixels of their l2 norm"))
    if fix["u8_fixed"]:
        value = f"yes, {grey_levels(255 * fix['u8_linf'])} in {count(int(fix['u8_l0']), 'pixel')}"
        rows.append(("8-bit change", value, "whole grey levels; tested after rounding"))
    else:
        rows.append(("8-bit change", "not found", "or not asked for"))
    passes = f"{int(fix['forwards']):,} forward and {int(fix['backwards']):,} backward passes"
    rows.append(("cost", passes, ""))
    return Block(f"Smallest change in {fix['norm']}", size_in_words(fix), rows)


def _caveats(fix: Row) -> list[str]:
    if not fix["unstable"]:
        return []
    return ["The changed image was classified correctly when found, but not when tested again among other images."]


def draw(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the photograph, the changed photograph, and the amplified change."""
    columns, maps = result.columns(), {name: to_numpy(values) for name, values in result.maps().items()}
    figure, axes = grid(len(rows), 3)
    for line, row in zip(axes, rows, strict=True):
        photo, change = photo_of(x, row), row_of(maps, "change", row)
        fix = Row({name: values[row] for name, values in columns.items()})
        show(line[0], photo, "image")
        if change is None:
            line[0].set_xlabel(str(fix["status"]).replace("_", " "))
            show(line[1], None, "no change found")
            show(line[2], None, "")
            continue
        line[0].set_xlabel(f"correct after {size_in_words(fix)}")
        moved = np.moveaxis(change, 0, -1)
        show(line[1], np.clip(photo + moved, 0, 1), f"smallest change in {fix['norm']}")
        factor = overlays.amplification(255 * change)
        show(line[2], np.clip(0.5 + factor * moved, 0, 1), f"change × {factor}")
        line[2].set_xlabel(f"true change at most {grey_levels(float(255 * np.abs(change).max()))}")
    return figure


SMALLEST_FIX = MethodReport(
    method="smallest_fix",
    order=15,
    section=section,
    figure=draw,
    answered=("ok", "skipped", "no_answer", "already_correct"),
    nouns=("smallest change in a norm", "smallest changes in a norm"),
    papers=(
        "FMN: M. Pintor, F. Roli, W. Brendel, B. Biggio, “Fast Minimum-norm Adversarial Attacks through Adaptive Norm"
        " Constraints”, NeurIPS 2021, arXiv 2102.12827.",
    ),
    limits=(PLACE,),
    glossary=(
        ("l0, l1, l2, linf", "pixels changed, sum of the changes, Euclidean length, and largest change of a value"),
    ),
)
