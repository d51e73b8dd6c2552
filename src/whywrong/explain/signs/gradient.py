"""Signs of the gradient of the margin with respect to the pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.access import Access
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.signs.sign import Sign

_SHARE = 0.9
_TINY = 1e-12


def _sign(name: str, doc: str, *, high: str = "", low: str = "") -> Sign:
    return Sign(name=name, doc=doc, group="gradient", stage="gradient", access=Access.GRADIENTS, high=high, low=low)


SIGNS: tuple[Sign, ...] = (
    _sign(
        "gradient_log_l2",
        "Log of the margin divided by the l2 norm of its gradient, a first-order distance to the label.",
        low="a very small change restores the label, to first order",
    ),
    _sign("gradient_log_l1", "Log of the margin divided by the l1 norm of its gradient."),
    _sign("gradient_pix90", "Share of the pixels that hold 90 % of the squared gradient."),
    _sign("gradient_window", "Share of the squared gradient in the best window of 1/4 of the sides."),
    _sign(
        "gradient_fine",
        "Share of the margin that the finest detail of the image carries, to first order.",
        high="the finest detail carries the prediction",
    ),
)


def gradient_signs(x: Tensor, margin: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Compute the signs of a gradient.

    Args:
        x: (n, C, H, W).
        margin: (n,), logits by which the prediction leads the label.
        gradient: (n, C, H, W), of that margin, logits per unit of pixel value.

    Returns:
        Values (n,) by name; NaN where the gradient is zero.
    """
    square = gradient.square().sum(1).flatten(1)
    total = square.sum(1)
    held = square.sort(1, descending=True).values.cumsum(1)
    count = 1 + (held < _SHARE * total[:, None]).sum(1)
    window = [max(1, side // 4) for side in x.shape[2:]]
    places = F.avg_pool2d(square.view(-1, 1, *x.shape[2:]), window, stride=1)
    fine = x - gaussian_filter(x, 1.0)
    found = {
        "gradient_log_l2": (margin.clamp(min=_TINY) / total.sqrt()).log(),
        "gradient_log_l1": (margin.clamp(min=_TINY) / gradient.abs().flatten(1).sum(1)).log(),
        "gradient_pix90": count / square.shape[1],
        "gradient_window": places.flatten(1).amax(1) * window[0] * window[1] / total,
        "gradient_fine": (gradient * fine).flatten(1).sum(1) / margin.clamp(min=_TINY),
    }
    return {name: value.where(total > 0, torch.nan) for name, value in found.items()}
