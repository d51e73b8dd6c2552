"""Figure of covering for notebooks: the best window, and what each window brings out. Matplotlib only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from whywrong.core.result import MethodResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


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
