"""Windows of fine content as vectors whose products are correlations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

FLOOR = 0.03  # root mean square below which content counts as flat: compression noise, not a mark
_DIMENSIONS = 192  # three channels of 8 x 8 pixels; larger windows are projected
_FOR_AXES = 512  # images from which the axes are computed


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Square windows of a quarter of the side, at an eighth of the side from each other.

    Attributes:
        edge: Side of the images in pixels.
        side: Side of a window.
        steps: Shifts in pixels, in each direction, at which a window is searched in another image; up to half of the
            distance between windows.
        places: Top and left of each window.
        axes: (values of a window, 192) float32, principal axes of windows with more values, or None.
    """

    edge: int
    side: int
    steps: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    axes: np.ndarray | None

    @classmethod
    def of(cls, detail: np.ndarray) -> Windows:
        """Lay windows over images (N, 3, E, E) of at least 16 x 16 pixels."""
        edge = detail.shape[-1]
        side, stride = edge // 4, edge // 8
        starts = sorted({*range(0, edge - side + 1, stride), edge - side})
        steps = sorted({round(step) for step in np.linspace(-(stride // 2), stride // 2, 5).tolist()}, key=abs)
        plain = cls(edge, side, tuple(steps), tuple(product(starts, starts)), None)
        return cls(plain.edge, plain.side, plain.steps, plain.places, _principal_axes(detail, plain))

    def near(self, place: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the place itself, then the other places that are searched, all inside the image."""
        top, left = place
        last = self.edge - self.side
        near = [(top + down, left + right) for down in self.steps for right in self.steps]
        return [(top, left) for top, left in near if 0 <= top <= last and 0 <= left <= last]

    def box(self, place: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return a window as left, top, right, bottom in shares of the image."""
        top, left = place
        return (left / self.edge, top / self.edge, (left + self.side) / self.edge, (top + self.side) / self.edge)

    def vectors(self, detail: np.ndarray, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return one window of all images as vectors, so that products of two are correlations.

        The mean of each channel is removed. Windows whose content is weak are shortened, so that flat areas do not
        correlate.

        Args:
            detail: (N, 3, E, E) float32, fine content.
            place: Top and left of the window.

        Returns:
            (N, D) float32 vectors of length at most 1, and their energy (N,) float32.
        """
        top, left = place
        part = detail[:, :, top : top + self.side, left : left + self.side]
        if self.axes is None:
            part = (part - part.mean((2, 3), keepdims=True)).reshape(len(part), -1)
        else:
            part = part.reshape(len(part), -1) @ self.axes  # which are orthogonal to the means
        energy = np.einsum("nd,nd->n", part, part)
        part /= np.sqrt(energy + np.float32(FLOOR**2 * 3 * self.side**2))[:, None]
        return part, energy


def _principal_axes(detail: np.ndarray, windows: Windows) -> np.ndarray | None:
    """Compute the principal axes of evenly spaced images, which bound the cost of large windows."""
    values = 3 * windows.side**2
    if values <= _DIMENSIONS or not len(detail):
        return None
    chosen = np.unique(np.linspace(0, len(detail) - 1, min(len(detail), _FOR_AXES)).astype(int))
    scatter = np.zeros((values, values))
    for place in windows.places:
        vectors, _ = windows.vectors(detail[chosen], place)
        scatter += vectors.T @ vectors
    return np.ascontiguousarray(np.linalg.eigh(scatter)[1][:, -_DIMENSIONS:].astype(np.float32))
