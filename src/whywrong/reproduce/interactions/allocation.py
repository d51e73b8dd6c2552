"""Allocation of the draws of a comparison of groups to its orders.

The comparison is between images, so noise matters relative to the variance between images, and that ratio differs
tenfold between orders. A pilot over a few images, with its own contexts, estimates what each order needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whywrong.reproduce.interactions.features import Features

PILOT_IMAGES = 48
PILOT_CONTEXTS = 8
_FEWEST_IMAGES = 8  # smallest number of images for a variance
_FEWEST = 4  # contexts per order
_STATISTICS = ("A", "M")


def contexts_by_order(pilot: Features, exact: Sequence[bool], *, contexts: int, noise: float) -> tuple[int, ...]:
    """Allocate contexts to R orders, at most ``contexts`` on average.

    There are enough for a given share of sampling noise, if possible.

    Args:
        pilot: Features (N, R, V) of a few images, from :data:`PILOT_CONTEXTS` contexts; the true class and class t come
            first in V. With fewer than eight images all orders get the same.
        exact: Which orders are enumerated, regardless of their allocation.
        contexts: Draws of each pair at an order, on average over the orders that are not.
        noise: Share in (0, 1) of the variance between images that may be sampling noise, on average over the statistics
            A and M and both classes. If ``contexts`` is too small for it, every order falls short by the same factor.
    """
    sampled = ~np.asarray(exact)
    if len(pilot) < _FEWEST_IMAGES or not sampled.any():
        return (contexts,) * len(sampled)
    found = np.concatenate(
        [_noise_ratio(getattr(pilot, name)[..., :2], getattr(pilot, f"{name}_se")[..., :2]) for name in _STATISTICS], 1
    )  # (R, 4)
    ratio = _smooth(np.where(sampled[:, None], found, np.nan))
    needed = np.maximum(PILOT_CONTEXTS * ratio * (1 - noise) / noise, _FEWEST)
    short = min(1.0, contexts * sampled.sum() / needed[sampled].sum())
    shared = np.maximum(needed * short, min(_FEWEST, contexts)).round().astype(int)
    return tuple(np.where(sampled, shared, contexts).tolist())


def _noise_ratio(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Compute noise divided by the remaining variance between images.

    Returns (R, v); 0 if nothing varies.
    """
    noise, variance = np.nanmean(np.square(errors), 0), np.nanvar(values, 0, ddof=1)
    between = np.maximum(variance - noise, 0.1 * variance)
    return np.divide(noise, between, out=np.zeros_like(noise), where=between > 0)


def _smooth(ratio: np.ndarray) -> np.ndarray:
    """Compute geometric means (R,) over columns and neighbouring orders.

    The weights of neighbouring orders are 1, 2, 3, 2, 1.

    Variances of a few dozen images with heavy tails are rough estimates of a quantity that changes slowly with the
    order.
    """
    logs = np.log(np.maximum(ratio, 1e-9))
    distance = np.abs(np.subtract.outer(np.arange(len(logs)), np.arange(len(logs))))
    weights = np.maximum(3 - distance, 0)[..., None] * np.isfinite(logs)
    return np.exp((weights * np.nan_to_num(logs)).sum((1, 2)) / np.maximum(weights.sum((1, 2)), 1))
