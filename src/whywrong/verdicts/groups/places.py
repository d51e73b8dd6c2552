"""Descriptions of places in an image."""

from __future__ import annotations

from collections.abc import Sequence


def place_in_words(box: Sequence[float]) -> str:
    """Describe the place of a box, such as ``lower right``.

    Args:
        box: Left, top, right and bottom as shares of the image.
    """
    across, down = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    row = "upper" if down < 1 / 3 else "lower" if down > 2 / 3 else ""
    column = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    if not row and not column:
        return "centre"
    if not row:
        return f"{column} side"
    return f"{row} {column}" if column else f"{row} edge"
