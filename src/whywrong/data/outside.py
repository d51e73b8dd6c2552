"""Views of a photograph beyond the model's crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whywrong.data.items import LoadedItem

VIEWS = 5
"""The whole photograph, and windows of the crop's size at its four corners."""


def outside_views(items: Sequence[LoadedItem], *, corners: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Make views that show what the model's crop cuts off.

    The first view is the whole photograph, stretched to the input; the others are windows of the size of the crop at
    the corners of the resized photograph.

    Args:
        items: N items of one model input, at least one, with their photographs.
        corners: Whether the views at the corners are made.

    Returns:
        (N, V, C, H, W) uint8, five views or one; and (N,) bool, whether the photograph extends beyond the
        crop and is not reduced; the views of the others are zero.
    """
    views = np.zeros((len(items), VIEWS if corners else 1, *items[0].pixels.shape), np.uint8)
    there = np.zeros(len(items), bool)
    for row, item in enumerate(items):
        geometry = item.geometry
        right, bottom = geometry.resized_width - geometry.input_width, geometry.resized_height - geometry.input_height
        if geometry.windowed or (right <= 0 and bottom <= 0) or item.image.size != (geometry.width, geometry.height):
            continue
        whole = replace(
            geometry, resized_width=geometry.input_width, resized_height=geometry.input_height, left=0, top=0
        )
        windows = [replace(geometry, left=left, top=top) for top in (0, bottom) for left in (0, right)]
        views[row] = [view.to_input(item.image) for view in (whole, *(windows if corners else ()))]
        there[row] = True
    return views, there
