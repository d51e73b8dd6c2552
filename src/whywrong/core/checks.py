"""Checks of the shapes, ranges and classes of the arguments of public functions."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.errors import InputError


def check_images(x: Tensor, channels: int | None = None) -> None:
    """Check that images are a float tensor (B, C, H, W).

    Values are checked per row by :func:`bad_rows`.

    Raises:
        InputError: Not a floating-point tensor of four dimensions, or a wrong number of channels.
    """
    if not isinstance(x, Tensor) or x.ndim != 4:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"images must be a tensor (B, C, H, W), got {got}")
    if not x.is_floating_point():
        raise InputError(f"images must be floating point in [0, 1], got {x.dtype}; divide uint8 images by 255")
    if channels is not None and x.shape[1] != channels:
        raise InputError(f"the classifier takes {channels} channels, the images have {x.shape[1]}")


def bad_rows(x: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Find rows with a value that is not finite or lies outside [0, 1].

    Returns:
        (B,) bool, True for a bad row.
    """
    flat = x.detach().flatten(1)
    if flat.shape[1] == 0:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    low, high = flat.amin(1), flat.amax(1)
    return ~((low >= -tolerance) & (high <= 1 + tolerance))  # NaN fails both comparisons


def check_pixel_range(x: Tensor, slack: float = 0.05) -> None:
    """Check that images are roughly in [0, 1], not in 0..255 or already normalised.

    NaN is ignored here and found by :func:`bad_rows`.

    Args:
        x: (B, C, H, W), floating point.
        slack: How far values may lie outside [0, 1]; rounding errors are far smaller.

    Raises:
        InputError: A value lies farther outside; the message names the row and the remedy.
    """
    if not x.numel():
        return
    low, high = x.detach().flatten(1).amin(1), x.detach().flatten(1).amax(1)
    wrong = (low < -slack) | (high > 1 + slack)
    if not bool(wrong.any()):
        return
    row = int(wrong.nonzero()[0])
    least, most = float(low[row]), float(high[row])
    remedy = (
        "divide by 255"
        if least >= -slack and most > 2
        else "give images before normalisation; the classifier normalises them"
        if least < -slack
        else "clip them"
    )
    raise InputError(f"images must be in [0, 1], row {row} is in [{least:.3g}, {most:.3g}]: {remedy}")


def check_labels(y: Tensor, batch: int, classes: int | None = None, what: str = "label") -> None:
    """Check that labels are an int64 tensor (B,) of classes in 0..K-1.

    Args:
        y: The labels.
        batch: Number of images B.
        classes: Number of classes K; if None, the range is not checked.
        what: Word for one label in error messages.

    Raises:
        InputError: Wrong type, length or range; the message names the first bad row.
    """
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"{what}s must be an int64 tensor (B,), got {got}")
    if len(y) != batch:
        raise InputError(f"{batch} images came with {len(y)} {what}s")
    if classes is None:
        return
    wrong = ((y < 0) | (y >= classes)).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"{what} {int(y[row])} of row {row} is outside 0..{classes - 1}")


def check_keys(keys: Tensor, batch: int) -> None:
    """Check that keys are an int64 tensor (B,).

    Raises:
        InputError: Wrong type or length.
    """
    if not isinstance(keys, Tensor) or keys.dtype != torch.int64 or keys.shape != (batch,):
        got = f"{keys.dtype} {tuple(keys.shape)}" if isinstance(keys, Tensor) else type(keys).__name__
        raise InputError(f"keys must be an int64 tensor ({batch},), one an image, got {got}")


def check_classes(classes: int, needed: int = 2) -> None:
    """Check that a classifier has enough classes for the method.

    Raises:
        InputError: Fewer than ``needed`` classes.
    """
    if classes < needed:
        raise InputError(f"this method needs at least {needed} classes, the classifier has {classes}")
