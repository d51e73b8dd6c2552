"""Players that are cells of pixels: an absent cell takes the values of a baseline image.

Source: Deng et al. 2022 and Ren et al. 2021 (cells of a g x g grid at the data's mean colour).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.models.classifier import Classifier

Baseline = Literal["image_mean", "data_mean", "blur"]
BASELINES = ("image_mean", "data_mean", "blur")


class PixelCells:
    """Images with some cells shown and the others hidden.

    Args:
        classifier: Asked for the logits.
        x: (B, C, H, W) in [0, 1]; left untouched.
        grid: g; cell k covers rows (k // g) H/g and columns (k mod g) W/g onwards, all channels together.
        baseline: What hides a cell: ``image_mean``, the mean colour of the image itself; ``data_mean``, the mean of the
            classifier's normalisation, which is zero after it; ``blur``, the image after a Gaussian.
        blur_sigma: Standard deviation of that Gaussian, in pixels; None takes the longer side of a cell.

    Attributes:
        rows, cols: g and g.
        baseline_image: (B, C, H, W) in [0, 1].
        full: (B, K) float32, logits of the whole images, one pass each.

    Raises:
        InputError: A grid that does not divide the image, or a baseline that cannot be had.
    """

    kind = "pixels"

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        grid: int,
        baseline: Baseline = "image_mean",
        blur_sigma: float | None = None,
    ) -> None:
        height, width = x.shape[2:]
        check_grid(grid, height, width)
        self.rows = self.cols = grid
        self._classifier = classifier
        self._x = x.detach()
        self.baseline_image = _baseline(classifier, self._x, baseline, blur_sigma or max(height, width) / grid)
        self.full = classifier.logits(self._x)

    @property
    def players(self) -> int:
        """n."""
        return self.rows * self.cols

    def masked(self, masks: Tensor, rows: Tensor) -> Tensor:
        """(Q, C, H, W): images ``rows`` (Q,) with the cells of ``masks`` (Q, n) shown and the others hidden."""
        rows = rows.to(self._x.device)
        shown = masks.to(self._x.device).view(len(masks), 1, self.rows, 1, self.cols, 1)
        image = torch.where(shown, self._cells(self._x[rows]), self._cells(self.baseline_image[rows]))
        return image.reshape(len(masks), *self._x.shape[1:])

    def near_baseline(self, tolerance: float = 4 / 255) -> Tensor:
        """(B,) share of cells all of whose pixels are within ``tolerance`` of the baseline: they cannot interact."""
        gap = self._cells((self._x - self.baseline_image).abs()).amax((1, 3, 5))  # (B, g, g)
        return (gap <= tolerance).double().mean((1, 2))

    def logits(self, masks: Tensor, rows: Tensor) -> Tensor:
        """(Q, K) float32 of masked images, made and asked a batch at a time."""
        step = self._classifier.batch_size
        with self._classifier:
            parts = [
                self._classifier.logits(self.masked(masks[start : start + step], rows[start : start + step]))
                for start in range(0, len(masks), step)
            ]
        return torch.cat(parts)

    def _cells(self, image: Tensor) -> Tensor:
        channels, height, width = image.shape[1:]
        return image.reshape(-1, channels, self.rows, height // self.rows, self.cols, width // self.cols)


def check_grid(grid: int, height: int, width: int) -> None:
    """Refuse a grid that is no grid or does not divide the sides.

    Raises:
        InputError: Names grids that do.
    """
    if isinstance(grid, bool) or not isinstance(grid, int) or grid < 2:
        raise InputError(f"a grid has at least 2 cells a side, got {grid!r}")
    if height % grid or width % grid:
        fitting = [g for g in range(2, min(height, width, 64) + 1) if height % g == 0 and width % g == 0]
        raise InputError(
            f"a grid of {grid} x {grid} cells does not divide {height} x {width}; "
            f"these do: {', '.join(map(str, fitting)) or 'none'}"
        )


def default_grid(height: int, width: int) -> int:
    """The largest grid of at most 16 x 16 cells that divides the image.

    Raises:
        InputError: Only a grid of one cell does.
    """
    for grid in range(min(16, height, width), 1, -1):
        if height % grid == 0 and width % grid == 0:
            return grid
    raise InputError(f"no grid of 2 x 2 to 16 x 16 cells divides {height} x {width}; resize the images")


def _baseline(classifier: Classifier, x: Tensor, baseline: str, sigma: float) -> Tensor:
    if baseline == "image_mean":
        return x.mean((2, 3), keepdim=True).expand_as(x)
    if baseline == "blur":
        return gaussian_filter(x, sigma).clamp(0, 1)
    mean = classifier.preprocess.mean if classifier.preprocess else None
    if mean is None:
        raise InputError(
            'the classifier names no mean colour of its data (it takes images in [0, 1]); use baseline "image_mean"'
        )
    return x.new_tensor(mean).view(1, -1, 1, 1).expand_as(x)
