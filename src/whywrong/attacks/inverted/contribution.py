"""Which pixels carried the fix: integrated gradients along it, shared out over regions, and set against the object.

    C(u) = sum over channels of delta_u * average over the way of (-d m_y / d x_u)

The sum of C over all pixels is the fall of the margin from the image to its fix. The average is taken with
Gauss-Legendre nodes; the margin has kinks, above all where another class becomes the best rival, so the way is
halved wherever a stretch of it does not add up, until the whole does.

Source: inverted attack, section 2.4 (Sundararajan et al. 2017 for integrated gradients).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.inverted.region_fix import margin_gradient
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """How much of the fall of the margin each pixel brought about.

    Attributes:
        map: (B, H, W), logits; positive helped the fix, negative worked against it.
        residual: (B,), what the map's sum misses of the margin's fall, as a share of that fall.
        nodes: (B,), int64, points of the way that were differentiated in the end.
        forwards: (B,), int64.
        backwards: (B,), int64.
    """

    map: Tensor
    residual: Tensor
    nodes: Tensor
    forwards: Tensor
    backwards: Tensor


def contribution(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    delta: Tensor,
    margin_before: Tensor,
    margin_after: Tensor,
    *,
    nodes: int,
    halvings: int,
    tolerance: float,
) -> Contribution:
    """Integrated gradients of the error margin from each image to its fix.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), images.
        y: (B,), int64, true classes.
        delta: (B, C, H, W), changes that fix them.
        margin_before: (B,), error margin of ``x``, logits.
        margin_after: (B,), error margin of ``x + delta``, logits.
        nodes: Gauss-Legendre nodes on a stretch; the whole way is one stretch at first.
        halvings: How often a stretch may be halved. Each halving costs one forward pass for the margin in its middle
            and ``nodes`` forward and backward passes for each half.
        tolerance: Residual, as a share of the margin's fall, at which no more is halved.

    Returns:
        The maps with their residuals and cost.
    """
    total = torch.zeros_like(x[:, 0])
    forwards = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    backwards, used = torch.zeros_like(forwards), torch.zeros_like(forwards)
    missing = torch.zeros_like(margin_before, dtype=torch.float64)
    fall = (margin_before - margin_after).double()

    rows = torch.arange(len(x), device=x.device)  # image of each stretch
    start, end = torch.zeros_like(fall), torch.ones_like(fall)
    high, low = margin_before.double(), margin_after.double()
    for round_ in range(halvings + 1):
        part = _stretch(classifier, x[rows], y[rows], delta[rows], start, end, nodes)
        gap = (high - low) - part.flatten(1).sum(1, dtype=torch.float64)
        total.index_add_(0, rows, part)
        missing.index_add_(0, rows, gap)
        ones = torch.ones_like(rows)
        for counter in (forwards, backwards, used):
            counter.index_add_(0, rows, nodes * ones)

        # Halve the stretches to blame, in images that still miss too much.
        open_rows = missing.abs() > tolerance * fall.abs()
        worst = torch.zeros_like(missing).scatter_reduce_(0, rows, gap.abs(), "amax")
        split = open_rows[rows] & (gap.abs() >= 0.5 * worst[rows])
        if round_ == halvings or not bool(split.any()):
            break
        rows, start, end, high, low = (v[split] for v in (rows, start, end, high, low))
        total.index_add_(0, rows, -part[split])
        missing.index_add_(0, rows, -gap[split])
        used.index_add_(0, rows, -nodes * torch.ones_like(rows))
        middle = (start + end) / 2
        at = error_margin(classifier.logits(_point(x[rows], delta[rows], middle)), y[rows]).double()
        forwards.index_add_(0, rows, torch.ones_like(rows))
        rows = torch.cat([rows, rows])
        start, end = torch.cat([start, middle]), torch.cat([middle, end])
        high, low = torch.cat([high, at]), torch.cat([at, low])

    residual = (missing.abs() / fall.abs().clamp_min(torch.finfo(torch.float32).tiny)).float()
    return Contribution(total, residual, used, forwards, backwards)


def _stretch(
    classifier: Classifier, x: Tensor, y: Tensor, delta: Tensor, start: Tensor, end: Tensor, nodes: int
) -> Tensor:
    """(N, H, W): contribution of the stretch from ``x + start * delta`` to ``x + end * delta``."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    slope = torch.zeros_like(x)
    for place, weight in zip(places.tolist(), weights.tolist(), strict=True):
        at = _point(x, delta, start + (end - start) * (place + 1) / 2)
        slope += weight / 2 * margin_gradient(classifier, at, y)[1]
    return -(delta * slope).sum(1) * (end - start).to(x.dtype).view(-1, 1, 1)


def _point(x: Tensor, delta: Tensor, share: Tensor) -> Tensor:
    return x + share.to(x.dtype).view(-1, 1, 1, 1) * delta


def object_lift(maps: Tensor, masks: Tensor, least_shifts: int = 199) -> tuple[Tensor, Tensor]:
    """How much more of a map lies on the object than the object's area accounts for, and whether that is chance.

    The lift is the object's share of ``|C|`` divided by its share of the area. The p-value compares it with the lifts
    of the mask shifted circularly by every whole number of pixels, the unshifted mask among them (all H * W shifts at
    once, by correlation in the Fourier domain), and is two-sided: twice the smaller tail.

    Args:
        maps: (B, H, W), signed.
        masks: (B, H, W), bool, the object; all False where unknown.
        least_shifts: Fewest shifts, besides none, for which a p-value is given.

    Returns:
        Lift and p-value, (B,) each; NaN where the mask is empty or covers the whole image, or the map is zero.
    """
    height, width = maps.shape[-2:]
    amount = maps.detach().abs().double()
    mask = masks.double()
    area, mass = mask.mean((1, 2)), amount.sum((1, 2))
    known = (area > 0) & (area < 1) & (mass > 0)
    spectrum = torch.fft.rfft2(amount) * torch.fft.rfft2(mask).conj()
    on_object = torch.fft.irfft2(spectrum, s=(height, width)).flatten(1)  # (B, H * W), by shift
    here = (amount * mask).sum((1, 2))
    slack = 1e-9 * mass[:, None]
    above = (on_object >= here[:, None] - slack).double().mean(1)
    below = (on_object <= here[:, None] + slack).double().mean(1)
    p = (2 * torch.minimum(above, below)).clamp_max(1)
    lift = here / (mass * area)
    p = p.where(known & (height * width > least_shifts), torch.nan)
    return lift.where(known, torch.nan).float(), p.float()
