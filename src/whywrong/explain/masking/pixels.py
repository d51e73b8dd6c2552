"""Players that are cells of pixels; an absent cell takes the values of a baseline image or of its surroundings.

No baseline is neutral: a flat colour creates edges that the photograph does not have, a blur keeps coarse content, and
a filled cell depends on the visible cells, so hiding one cell also changes the filling of its hidden neighbours.
Results state their baseline; compare several if it matters.

Source: Deng et al. 2022 and Ren et al. 2021 (cells of a g x g grid at the data's mean colour).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.masking.inpainting import inpaint
from whywrong.models.classifier import Classifier

Baseline = Literal["image_mean", "data_mean", "blur", "inpainted"]
BASELINES = ("image_mean", "data_mean", "blur", "inpainted")


class PixelCells:
    """Images with some cells shown and the others hidden.

    Args:
        classifier: Returns the logits.
        x: (B, C, H, W) in [0, 1]; left untouched.
        grid: g; cell k covers rows (k // g) H/g and columns (k mod g) W/g onwards, all channels together.
        baseline: Replacement for hidden cells: ``image_mean``, the mean colour of the image itself; ``data_mean``, the
            mean of the classifier's normalisation, which is zero after it; ``blur``, the image after a Gaussian;
            ``inpainted``, the result of :func:`whywrong.explain.masking.inpainting.inpaint` from the visible cells.
        blur_sigma: Standard deviation of that Gaussian, in pixels; None uses the longer side of a cell.

    Attributes:
        rows, cols: g and g.
        baseline_image: (B, C, H, W) in [0, 1], the images with all cells hidden.
        full: (B, K) float32, logits of the whole images, one pass each.

    Raises:
        InputError: The grid does not divide the image, or the baseline is unavailable.
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
        self._inpainted = baseline == "inpainted"
        self._hidden = _baseline(classifier, self._x, baseline, blur_sigma or max(height, width) / grid)
        self.baseline_image = self._hidden.expand_as(self._x)
        self.full = classifier.logits(self._x)

    @property
    def players(self) -> int:
        """Number n of players."""
        return self.rows * self.cols

    def masked(self, masks: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Show the cells of ``masks`` (Q, n) of images ``rows`` (Q,) and hide the others.

        Returns (Q, C, H, W). ``out`` of that shape is reused if possible, which saves memory.
        """
        rows = rows.to(self._x.device)
        height, width = self._x.shape[2:]
        shown = masks.to(self._x.device).view(len(masks), 1, self.rows, self.cols)
        shown = shown.repeat_interleave(height // self.rows, 2).repeat_interleave(width // self.cols, 3)
        if self._inpainted:
            return inpaint(self._x[rows], shown, self._hidden[rows])
        if len(rows) and bool((rows == rows[0]).all()):  # the usual case: no copies of one image
            return torch.where(shown, self._x[rows[:1]], self._hidden[rows[:1]], out=out)
        image = torch.index_select(self._x, 0, rows, out=out)
        return torch.where(shown, image, self._hidden[rows], out=image)

    def near_baseline(self, tolerance: float = 4 / 255) -> Tensor:
        """Return the share (B,) of cells that look the same if only they are hidden.

        Pixels may differ by ``tolerance``. Such cells can hardly interact, and lower the mean strength of the image.
        Filled cells are often among them.
        """
        if not self._inpainted:
            return self._alike(self._x, self.baseline_image, tolerance).double().mean((1, 2))
        others = ~torch.eye(self.players, dtype=torch.bool)
        share = torch.zeros(len(self._x), dtype=torch.float64)
        for row in range(len(self._x)):
            for cells in torch.arange(self.players).split(64):
                hidden = self.masked(others[cells], torch.full_like(cells, row))
                alike = self._alike(self._x[row].expand_as(hidden), hidden, tolerance).flatten(1)  # (c, n)
                share[row] += float(alike[torch.arange(len(cells)), cells].sum()) / self.players
        return share

    def _alike(self, x: Tensor, other: Tensor, tolerance: float) -> Tensor:
        """Select the cells whose pixels all differ by at most ``tolerance``.

        Returns (B, g, g) bool.
        """
        channels, height, width = x.shape[1:]
        gap = (x - other).abs().reshape(-1, channels, self.rows, height // self.rows, self.cols, width // self.cols)
        return gap.amax((1, 3, 5)).cpu() <= tolerance

    def logits(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Classify masked images a batch at a time, (Q, K) float32."""
        step, parts = self._classifier.batch_size, list[Tensor]()
        # One buffer for all batches: allocating this much memory costs more than filling it.
        buffer = self._x.new_empty(min(step, len(masks)), *self._x.shape[1:])
        with self._classifier:
            for start in range(0, len(masks), step):
                some = slice(start, min(start + step, len(masks)))
                image = self.masked(masks[some], rows[some], buffer[: some.stop - start])
                # The pixels were checked before: no need to check them again in every pass.
                parts.append(self._classifier.logits(image, bounded=False))
        return torch.cat(parts)


def check_grid(grid: int, height: int, width: int) -> None:
    """Refuse an invalid grid, or one that does not divide the sides.

    Raises:
        InputError: The message lists grids that do.
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
    """Find the largest grid of at most 16 x 16 cells that divides the image.

    Raises:
        InputError: Only a grid of one cell does.
    """
    for grid in range(min(16, height, width), 1, -1):
        if height % grid == 0 and width % grid == 0:
            return grid
    raise InputError(f"no grid of 2 x 2 to 16 x 16 cells divides {height} x {width}; resize the images")


def _baseline(classifier: Classifier, x: Tensor, baseline: str, sigma: float) -> Tensor:
    """Return the baseline, (B, C, 1, 1) for one colour, otherwise (B, C, H, W)."""
    if baseline in ("image_mean", "inpainted"):
        return x.mean((2, 3), keepdim=True)
    if baseline == "blur":
        return gaussian_filter(x, sigma).clamp(0, 1)
    mean = classifier.preprocess.mean if classifier.preprocess else None
    if mean is None:
        raise InputError(
            'the classifier names no mean colour of its data (it takes images in [0, 1]); use baseline "image_mean"'
        )
    return x.new_tensor(mean).view(1, -1, 1, 1).expand(len(x), -1, -1, -1)
