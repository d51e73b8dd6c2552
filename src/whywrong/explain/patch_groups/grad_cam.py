"""Grad-CAM on the last spatial layer, used as a ranking of patches.

Source: Selvaraju et al. 2017, arXiv 1610.02391: channels are weighted by the mean of their gradient over positions, and
the positive part of the sum is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.core.checks import check_images, check_labels
from whywrong.explain import class_maps
from whywrong.models.classifier import Classifier
from whywrong.models.layers.spatial import read_layer, spatial_layer


def grad_cam(
    classifier: Classifier, x: Tensor, target: Tensor, *, layer: str | None = None, grid: tuple[int, int] | None = None
) -> Tensor:
    """Compute Grad-CAM of the logit of a class.

    Args:
        classifier: Must grant access to its layers.
        x: (B, C, H, W), floating point, in [0, 1]; left untouched. One forward pass, and one backward pass to the
            layer.
        target: (B,) int64, the class.
        layer: Module to read; None finds the last spatial layer.
        grid: Rows and columns to pool to (mean of the positions in a cell; bilinear interpolation if the layer is
            coarser); None keeps those of the layer.

    Returns:
        (B, rows, cols) float64, not negative.

    Raises:
        InputError: A shape, type or class breaks the contract above.
        AccessError: The classifier grants no access to its layers.
        ModelError: No spatial layer is found.
    """
    check_images(x)
    check_labels(target, len(x))
    with classifier:
        place = spatial_layer(classifier, (x.shape[1], x.shape[2], x.shape[3]), layer)
        check_labels(target, len(x), classifier.num_classes)

        def finish(logits: Tensor, activation: Tensor, rows: slice) -> Tensor:
            score = logits.gather(1, target[rows].to(logits.device)[:, None]).sum()
            slope = torch.autograd.grad(score, activation)[0]
            patches, slopes = (place.layout.patches(part).double() for part in (activation.detach(), slope))
            return class_maps.grad_cam(patches, slopes).cpu()

        parts = read_layer(classifier, x, place, finish, gradients=1)
    maps = torch.cat([torch.zeros(0, *place.grid, dtype=torch.float64), *parts])
    return maps if grid is None or len(maps) == 0 else pooled(maps, grid)


def pooled(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pool maps (B, h, w) to the resolution of a grid of players.

    A cell takes the mean of its positions; finer cells are interpolated bilinearly.
    """
    coarser = grid[0] <= maps.shape[1] and grid[1] <= maps.shape[2]
    if coarser:
        return nn.functional.adaptive_avg_pool2d(maps[:, None], grid)[:, 0]
    return nn.functional.interpolate(maps[:, None], grid, mode="bilinear", align_corners=False)[:, 0]
