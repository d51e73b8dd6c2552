"""Report of ``cam``, the evidence for the predicted class compared with the labelled class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import known, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.axes import grid, lay, photo_of, show, to_numpy, under
from whywrong.report.primitives.overlays import common_scale, density
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class, wrong_class
from whywrong.report.tables import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row.
    """
    cam = context.row["cam"]
    if cam is None:
        return None
    difference = context.maps("cam").get("difference")
    found = Section(blocks=[_block(cam)])
    if cam["status"] != "ok":
        return found
    if difference is not None and difference.any():
        cells = overlays.density(difference)
        found.overlays.append(
            Overlay(
                "evidence",
                "Evidence",
                f"Evidence for {context.wrong} minus evidence for the labelled class, by place.",
                cells=cells,
                resolution=f"{cells.shape[0]} × {cells.shape[1]} cells",
                rank=20,
            )
        )
    if known(cam["evidence"]):
        found.sentences.append(sentence(cam, half_cells(difference), context.wrong, context.true))
    if not cam["exact"]:
        found.caveats.append(
            "The evidence map is approximate for this architecture: it does not have to sum to the logits."
        )
    return found


def sentence(cam: Row, half: int, wrong: str, true: str) -> Markup:
    """Compare the evidence for the two classes in a sentence.

    ``half`` is the result of :func:`half_cells`.
    """
    cells = int(cam["rows"]) * int(cam["cols"])
    evidence = float(cam["evidence"])
    if evidence <= 0:
        return Markup(
            "The evidence map favours {} by {} logits; the prediction depends on terms outside the map."
        ).format(true_class(true), sig(-evidence))
    text = Markup("The evidence for {} exceeds that for {} by {} logits").format(
        wrong_class(wrong), true_class(true), sig(evidence)
    )
    if half:
        text += Markup("; {} of {} cells hold half of the evidence for {}").format(
            f"{half:,}", f"{cells:,}", wrong_class(wrong)
        )
    return text + Markup(".")


def half_cells(difference: np.ndarray | None) -> int:
    """Count the fewest cells that hold half of the positive sum of a map (h, w).

    Returns 0 if no value is positive.
    """
    if difference is None:
        return 0
    positive = np.sort(np.clip(difference, 0, None), axis=None)[::-1]
    total = positive.sum()
    if total <= 0:
        return 0
    return int(np.searchsorted(np.cumsum(positive), total / 2) + 1)


def _block(cam: Row) -> Block:
    if cam["status"] != "ok":
        return Block("Evidence map", "refused", [("refused", "", shown(cam["reason"] or "no reason given"))])
    kind = {"cam": "class activation map", "hirescam": "HiResCAM"}.get(cam["kind"], cam["kind"])
    due = "must sum to the logit difference" if cam["exact"] else "does not have to sum to the logit difference here"
    rows = [
        (
            "evidence for the predicted class",
            f"{sig(cam['evidence'])} logits",
            "sum of the map; predicted minus labelled",
        ),
        ("map", f"{cam['rows']} × {cam['cols']} cells", f"{kind} at layer {cam['layer']}; {due}"),
        ("residual", sig(cam["residual"], 2), "difference between sum and logits, as a share of all absolute values"),
    ]
    return Block("Evidence map", f"{sig(cam['evidence'])} logits for the predicted class", rows)


def draw_cam(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the photograph and three evidence maps on one scale.

    The maps are the evidence for the wrong class, for the true class, and their difference.
    """
    columns, maps = result.columns(), {name: to_numpy(values) for name, values in result.maps().items()}
    signs = {"wrong": 1.0, "true": -1.0, "difference": 1.0}
    titles = {"wrong": "for the wrong class", "true": "for the true class", "difference": "difference"}
    kinds = [kind for kind in signs if kind in maps]
    figure, axes = grid(len(rows), 1 + len(kinds))
    for line, row in zip(axes, rows, strict=True):
        photo = photo_of(x, row)
        show(line[0], photo, "image")
        cells = {kind: density(signs[kind] * maps[kind][row]) for kind in kinds}
        if columns["status"][row] != "ok" or not all(np.isfinite(values).all() for values in cells.values()):
            for axis in line[1:]:
                show(axis, None, f"refused: {columns['reason'][row]}" if "reason" in columns else "refused")
            continue
        scale = common_scale(list(cells.values()))
        for axis, kind in zip(line[1:], kinds, strict=True):
            rows_cols = " × ".join(map(str, cells[kind].shape))
            show(axis, under(photo), f"{titles[kind]}, {rows_cols} cells")
            lay(axis, cells[kind], scale, photo.shape)
        line[-1].set_xlabel(f"blue: true class, orange: wrong class\nfull at ± {sig(scale, 2)} logits per 1 %")
    return figure


CAM = MethodReport(
    method="cam",
    order=30,
    section=section,
    figure=draw_cam,
    nouns=("evidence map",),
    papers=(
        "Class activation map: B. Zhou et al., “Learning Deep Features for Discriminative Localization”, CVPR 2016,"
        " arXiv:1512.04150.",
        "HiResCAM: R. L. Draelos, L. Carin, “Use HiResCAM instead of Grad-CAM for faithful explanations of"
        " convolutional neural networks”, 2020, arXiv:2011.08891.",
    ),
)
