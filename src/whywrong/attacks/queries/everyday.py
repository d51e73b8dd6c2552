"""Everyday edits of an image, cut to a ball, which make many errors right without a search.

Source: ours, docs/guides/black_boxes.md; the order is that of the share of errors that each one adds to those before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from whywrong.attacks.queries.grid import GreyBall
from whywrong.attacks.queries.patterns import pattern
from whywrong.data.corruptions.blur import gaussian_blur

Edit = Callable[[GreyBall, Tensor], Tensor]
_STRIPES = 1  # number of the pattern of horizontal stripes


def _blur(sigma: float) -> Edit:
    return lambda ball, keys: gaussian_blur(ball.x, keys, sigma)


def _contrast(ball: GreyBall, keys: Tensor) -> Tensor:
    """Raise the contrast fourfold."""
    mean = ball.x.mean((1, 2, 3), keepdim=True)
    return mean + 4 * (ball.x - mean)


def _stripes(ball: GreyBall, keys: Tensor) -> Tensor:
    """Add horizontal stripes."""
    return ball.x + ball.eps * pattern(keys, ball.x.shape[1:], _STRIPES)


def _sharpen(ball: GreyBall, keys: Tensor) -> Tensor:
    """Add the difference from a blurred copy three times."""
    return ball.x + 3 * (ball.x - gaussian_blur(ball.x, keys, 2.0))


def _tint(ball: GreyBall, keys: Tensor) -> Tensor:
    """Raise the last channel and lower the others, for RGB a blue tint."""
    sign = torch.full_like(ball.x[:1, :, :1, :1], -1.0)
    sign[:, -1] = 1.0
    return ball.x + ball.eps * sign


EDITS: tuple[Edit, ...] = (_blur(2.0), _contrast, _blur(1.0), _stripes, _sharpen, _tint)
"""Functions of a ball of images and keys (n,) to pixels (n, C, H, W), which still have to be moved into the ball."""
