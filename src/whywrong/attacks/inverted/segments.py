"""Superpixels: patches of an image that people see as one piece.

Source: SLIC (Achanta et al. 2012), as implemented in scikit-image; their number is ours, docs/methods/inverted.md.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor

MOST_PIXELS = 112 * 112  # SLIC runs on at most this many pixels; outlines of photographs are drawn no finer


def segment_count(height: int, width: int, most: int = 100, smallest: int = 16) -> int:
    """Compute the number of superpixels to request for an image of this size.

    ``most`` from 40 x 40 pixels on, as people name places in a photograph; fewer in small images, in which a superpixel
    keeps ``smallest`` pixels on average (64 superpixels of 4 x 4 at 32 x 32, 4 at 8 x 8). Smaller ones would be mostly
    outline, and say little more than a pixel does.
    """
    return max(1, min(most, height * width // smallest))


def superpixels(x: Tensor, *, most: int = 100, smallest: int = 16, compactness: float = 20.0) -> Tensor:
    """Compute the superpixels of each image, independent of the rest of the batch.

    Large images are segmented at an integer fraction of their size, at most about 112 x 112 pixels, and the labels are
    enlarged again, which is four times faster and moves the outline by one pixel.

    Args:
        x: (B, C, H, W), floating point, in [0, 1]; C = 3 is compared in CIELAB, any other unconverted.
        most: Superpixels requested for a large image; SLIC returns about as many, rarely more.
        smallest: Least average number of pixels per superpixel.
        compactness: Weight of distance against colour in SLIC; at 10 outlines fray in foliage and water, at 20 they
            still follow objects. Grey levels span 0..1 instead of L = 0..100 and use a hundredth of it.

    Returns:
        (B, H, W) int64, 0..S-1 without gaps, S differing between images. A regular grid if SLIC finds less than half
        of the requested number, as in white noise or in tiny images.
    """
    height, width = x.shape[-2:]
    count = segment_count(height, width, most, smallest)
    labels = torch.zeros((len(x), height, width), dtype=torch.int64)
    if count > 1:
        factor = _reduction(height, width)
        colour = x.shape[1] == 3
        weight = compactness if colour else compactness / 100
        small = torch.nn.functional.avg_pool2d(x.detach().float(), factor) if factor > 1 else x.detach().float()
        pixels = small.permute(0, 2, 3, 1).cpu().double().numpy()  # (B, h, w, C)
        for row, image in enumerate(pixels):  # scikit-image takes one image at a time
            found = slic(
                image,
                n_segments=count,
                compactness=weight,
                max_num_iter=5,  # measured: the outlines hardly move afterwards
                sigma=1.0 if count == most else 0.0,  # smooth outlines that texture would fray
                convert2lab=colour,
                start_label=0,
                channel_axis=-1,
            )
            if len(np.unique(found)) < count / 2:
                labels[row] = _grid(height, width, count)
                continue
            large = found.repeat(factor, 0).repeat(factor, 1)
            edge = ((0, height - large.shape[0]), (0, width - large.shape[1]))
            labels[row] = torch.from_numpy(_without_gaps(np.pad(large, edge, mode="edge")))
    return labels.to(x.device)


def _reduction(height: int, width: int) -> int:
    """Compute the integer factor by which an image is reduced before SLIC."""
    factor = 1
    while (height // (factor + 1)) * (width // (factor + 1)) >= MOST_PIXELS:
        factor += 1
    return factor


def _grid(height: int, width: int, count: int) -> Tensor:
    """Make a regular grid (H, W) int64 of about ``count`` nearly square cells."""
    side = math.sqrt(height * width / count)
    rows, columns = (max(1, min(length, round(length / side))) for length in (height, width))
    return (torch.arange(height) * rows // height)[:, None] * columns + torch.arange(width) * columns // width


def _without_gaps(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def segment_sums(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Sum a map over each superpixel.

    Args:
        values: (B, H, W), floating point.
        segments: (B, H, W), int64, 0..count-1.
        count: S.

    Returns:
        (B, S); 0 if an image has no such superpixel.
    """
    sums = values.new_zeros((len(values), count))
    return sums.scatter_add_(1, segments.flatten(1), values.flatten(1))


def paint(chosen: Tensor, segments: Tensor) -> Tensor:
    """Expand values (B, S) of superpixels to their pixels (B, H, W)."""
    return chosen.gather(1, segments.flatten(1)).view_as(segments)
