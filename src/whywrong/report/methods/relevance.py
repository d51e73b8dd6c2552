"""Report of ``relevance``, with the pixels that are relevant for the predicted and the labelled class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.core.status import Status
from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import known, percent, shown, sig
from whywrong.report.primitives.axes import grid, lay, photo_of, show, to_numpy, under
from whywrong.report.primitives.overlays import common_scale, signed_png
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class, wrong_class
from whywrong.report.tables import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

RULES = {"epsilon": "epsilon", "gamma": "gamma", "z_plus": "z+", "alpha_beta": "alpha-beta"}
MOSTLY = 0.5  # share of constants above which a map is qualified


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not explained in full.
    """
    row = context.row["relevance"]
    if row is None or row["status"] == Status.SKIPPED:
        return None
    if row["status"] != Status.OK:
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Section(blocks=[Block("Relevance", "refused", [("refused", "", reason)])])
    found = Section(sentences=[sentence(row, context.wrong, context.true)], blocks=[_block(row)])
    difference = context.maps("relevance").get("difference")
    if difference is not None and difference.any():
        caption = f"Pixels with more relevance for {context.wrong} (orange) or for the labelled class (blue)."
        cells = f"{row['rows']} × {row['cols']} cells"
        scale = common_scale([difference], 0.99)
        found.overlays.append(
            Overlay("relevance", "Relevance", caption, image=signed_png(difference, scale), resolution=cells, rank=25)
        )
    absorbed = abs(row["bias"]) + abs(row["softmax"])
    if known(row["bias"]) and absorbed > MOSTLY:
        found.caveats.append(
            f"Constants such as biases have {percent(absorbed)} of the relevance; the map shows the rest."
        )
    return found


def sentence(row: Row, wrong: str, true: str) -> Markup:
    """State how many of the most relevant cells the two classes share."""
    return Markup(
        "{} of the cells with the most relevance for {} are also among those with the most relevance for {}."
    ).format(percent(row["overlap"]).capitalize(), wrong_class(wrong), true_class(true))


def _block(row: Row) -> Block:
    rows = [
        ("same cells", percent(row["overlap"]), "of the strongest tenth of both classes"),
        ("map", f"{row['rows']} × {row['cols']} cells", f"{RULES[row['rule']]} rule; {row['contrast']}"),
        ("difference", sig(row["evidence"]), f"sum of the map, {row['unit']}"),
        ("in constants", percent(row["bias"]), "of the predicted class: biases, shifts, constant tokens"),
        ("residual", sig(row["residual"], 2), "relevance that is neither in the map nor in constants"),
    ]
    if row["softmax"]:
        rows.insert(4, ("in softmaxes", percent(row["softmax"]), "constant terms of attention"))
    return Block("Relevance", f"{percent(row['overlap'])} of the strongest cells shared by both classes", rows)


def draw_relevance(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the photograph and the relevance of both classes.

    The maps show the wrong class, the true class, and their difference.
    """
    columns, maps = result.columns(), {name: to_numpy(values) for name, values in result.maps().items()}
    signs = {"wrong": 1.0, "true": -1.0, "difference": 1.0}
    titles = {"wrong": "for the wrong class", "true": "for the true class", "difference": "difference"}
    figure, axes = grid(len(rows), 1 + len(signs))
    for line, row in zip(axes, rows, strict=True):
        photo = photo_of(x, row)
        show(line[0], photo, "image")
        cells = {kind: sign * maps[kind][row] for kind, sign in signs.items()}
        if columns["status"][row] != "ok" or not all(np.isfinite(values).all() for values in cells.values()):
            for axis in line[1:]:
                show(axis, None, f"refused: {columns['reason'][row]}")
            continue
        for axis, (kind, values) in zip(line[1:], cells.items(), strict=True):
            show(axis, under(photo), titles[kind])
            lay(axis, values, common_scale([values], 0.99), photo.shape)
        line[-1].set_xlabel("blue: true class, orange: wrong class; each map on its own scale")
    return figure


RELEVANCE = MethodReport(
    method="relevance",
    order=35,
    section=section,
    explained="status = 'ok'",
    figure=draw_relevance,
    nouns=("relevance map",),
    papers=(
        "Layer-wise relevance propagation: S. Bach et al., “On Pixel-Wise Explanations for Non-Linear Classifier"
        " Decisions by Layer-Wise Relevance Propagation”, PLOS ONE 10 (2015), e0130140.",
        "AttnLRP: R. Achtibat et al., “AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers”,"
        " ICML 2024, arXiv:2402.05602.",
        "Contrast: J. Gu, Y. Yang, V. Tresp, “Understanding Individual Decisions of CNNs via Contrastive"
        " Backpropagation”, ACCV 2018, arXiv:1812.02100.",
    ),
    limits=("A relevance map distributes a score over the pixels by a rule; it does not show the cause of the error.",),
)
