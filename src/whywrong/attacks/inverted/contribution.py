"""Contribution of each pixel to a fix, by integrated gradients, over regions and on the object.

    C(u) = sum over channels of delta_u * average over the path of (-d m_y / d x_u)

The sum of C over all pixels is the decrease of the margin from the image to its fix, and that is checked. The average
is taken with 3 Gauss-Legendre nodes; if they do not add up, the 4 Kronrod nodes between them are added. The remaining
error comes from kinks of the margin, above all where another class becomes the runner-up; there the path is halved
until the sum adds up.

Source: Sundararajan, Taly and Yan 2017, arXiv 1703.01365, section 3 (integrated gradients); along a fix, ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.inverted.region_fix import margin_gradient
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier

# Gauss-Legendre nodes on [-1, 1], the Kronrod nodes between them, and the weights of all seven in that order.
GAUSS = (-0.7745966692414834, 0.0, 0.7745966692414834)
GAUSS_WEIGHTS = (5 / 9, 8 / 9, 5 / 9)
BETWEEN = (-0.9604912687080202, -0.4342437493468026, 0.4342437493468026, 0.9604912687080202)
KRONROD_WEIGHTS = (
    *(0.2684880898683334, 0.4509165386584741, 0.2684880898683334),
    *(0.1046562260264673, 0.4013974147759622, 0.4013974147759622, 0.1046562260264673),
)


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """Contribution of each pixel to the decrease of the margin.

    Attributes:
        map: (B, H, W), logits; positive helped the fix, negative worked against it.
        residual: (B,), difference between the map's sum and the margin's decrease, as a share of that decrease.
        nodes: (B,), int64, points of the path whose gradients are used in the end.
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
    halvings: int,
    tolerance: float,
) -> Contribution:
    """Integrate the gradient of the error margin from each image to its fix.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), images.
        y: (B,), int64, true classes.
        delta: (B, C, H, W), changes that fix them.
        margin_before: (B,), error margin of ``x``, logits.
        margin_after: (B,), error margin of ``x + delta``, logits.
        halvings: Most halvings of a segment, each with one forward pass for the margin at its middle.
        tolerance: Residual, as a share of the margin's decrease, at which halving stops.

    Returns:
        The maps with their residuals and cost.
    """
    total = torch.zeros_like(x[:, 0])
    forwards = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    backwards, used = torch.zeros_like(forwards), torch.zeros_like(forwards)
    missing = torch.zeros_like(margin_before, dtype=torch.float64)
    fall = (margin_before - margin_after).double()

    def count(counter: Tensor, rows: Tensor, number: int) -> None:
        counter.index_add_(0, rows, torch.full_like(rows, number))

    def to_blame(rows: Tensor, gap: Tensor) -> Tensor:
        """Select the worst segments of the images whose residual is still too large."""
        worst = torch.zeros_like(missing).scatter_reduce_(0, rows, gap.abs(), "amax")
        return (missing.abs() > tolerance * fall.abs())[rows] & (gap.abs() >= 0.5 * worst[rows])

    def slopes(rows: Tensor, start: Tensor, end: Tensor, places: tuple[float, ...]) -> Tensor:
        """Compute the decrease of the margin (N, T, H, W) per pixel and unit of path, at T points of each segment."""
        found = []
        for place in places:
            at = _point(x[rows], delta[rows], start + (end - start) * (place + 1) / 2)
            found.append(-(delta[rows] * margin_gradient(classifier, at, y[rows])[2]).sum(1))
        for counter in (forwards, backwards, used):
            count(counter, rows, len(places))
        return torch.stack(found, 1)

    rows = torch.arange(len(x), device=x.device)  # image of each segment
    start, end = torch.zeros_like(fall), torch.ones_like(fall)
    high, low = margin_before.double(), margin_after.double()
    for halving in range(halvings + 1):
        gauss = slopes(rows, start, end, GAUSS)
        part = _average(gauss, GAUSS_WEIGHTS, end - start)
        gap = (high - low) - part.flatten(1).sum(1, dtype=torch.float64)
        total.index_add_(0, rows, part)
        missing.index_add_(0, rows, gap)

        doubtful = to_blame(rows, gap).nonzero().flatten()
        if len(doubtful):
            of = rows[doubtful]
            between = slopes(of, start[doubtful], end[doubtful], BETWEEN)
            both = torch.cat([gauss[doubtful], between], 1)
            better = _average(both, KRONROD_WEIGHTS, (end - start)[doubtful])
            change = better - part[doubtful]
            total.index_add_(0, of, change)
            difference = change.flatten(1).sum(1, dtype=torch.float64)
            missing.index_add_(0, of, -difference)
            gap[doubtful] -= difference
            part[doubtful] = better

        split = to_blame(rows, gap)
        if halving == halvings or not bool(split.any()):
            break
        at_once = torch.zeros_like(split).index_fill_(0, doubtful, True)
        for nodes, chosen in ((7, split & at_once), (3, split & ~at_once)):
            count(used, rows[chosen], -nodes)
        total.index_add_(0, rows[split], -part[split])
        missing.index_add_(0, rows[split], -gap[split])
        rows, start, end, high, low = (v[split] for v in (rows, start, end, high, low))
        middle = (start + end) / 2
        at = error_margin(classifier.logits(_point(x[rows], delta[rows], middle)), y[rows]).double()
        count(forwards, rows, 1)
        rows = torch.cat([rows, rows])
        start, end = torch.cat([start, middle]), torch.cat([middle, end])
        high, low = torch.cat([high, at]), torch.cat([at, low])

    residual = (missing.abs() / fall.abs().clamp_min(torch.finfo(torch.float32).tiny)).float()
    return Contribution(total, residual, used, forwards, backwards)


def _average(slopes: Tensor, weights: tuple[float, ...], length: Tensor) -> Tensor:
    """Average the slopes (N, T, H, W) at the nodes of each segment to its contribution (N, H, W)."""
    share = torch.tensor(weights, dtype=slopes.dtype, device=slopes.device) / 2
    return (slopes * share.view(1, -1, 1, 1)).sum(1) * length.to(slopes.dtype).view(-1, 1, 1)


def _point(x: Tensor, delta: Tensor, share: Tensor) -> Tensor:
    return x + share.to(x.dtype).view(-1, 1, 1, 1) * delta


def object_lift(maps: Tensor, masks: Tensor, least_shifts: int = 199) -> tuple[Tensor, Tensor]:
    """Compare the share of a map on the object with the object's share of the area.

    The lift is the object's share of ``|C|`` divided by its share of the area. The p-value compares it with the lifts
    of the mask shifted circularly by every whole number of pixels, the unshifted mask among them (all H * W shifts at
    once, by correlation in the Fourier domain), and is two-sided: twice the smaller tail.

    Args:
        maps: (B, H, W), signed.
        masks: (B, H, W), bool, the object; all False if unknown.
        least_shifts: Fewest shifts, besides none, for which a p-value is given.

    Returns:
        Lift and p-value, (B,) each; NaN if the mask is empty or covers the whole image, or the map is zero.
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
