"""Steps of a network whose backward pass carries relevance instead of a gradient.

Behind the first layer the backward signal of a tensor is relevance divided by the tensor. Sums, rearrangements and
other linear steps then need no rule: their ordinary gradient shares relevance in proportion to contributions. In front
of the first layer, the signal is relevance itself, so that a pixel of value 0 can receive some.
"""

# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from whywrong.explain.relevance.linear_maps import LinearMap
from whywrong.explain.relevance.rules import ratio
from whywrong.explain.relevance.tape import Tape


class Carry(torch.autograd.Function):
    """A rescaling of pixels, which moves no relevance."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:
        return relevance, None


class Enter(torch.autograd.Function):
    """Pixels that reach a step other than a layer with weights; turns a signal into relevance."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(pixels)
        return pixels.view_as(pixels)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return signal * ctx.saved_tensors[0]


class Elementwise(torch.autograd.Function):
    """A function of each value by itself; the output passes all its relevance to the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        out = call(x)
        ctx.save_for_backward(ratio(out, x))
        return out

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        return signal * ctx.saved_tensors[0], None


class Scaled(torch.autograd.Function):
    """A batch normalisation as a scale and a shift per channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, layer: LinearMap | None, tape: Tape) -> Tensor:
        along = (1, -1, *[1] * (x.ndim - 2))
        ctx.layer, ctx.tape, ctx.call = layer, tape, tape.call
        out = (x * scale.view(along)).add_(shift.view(along))
        ctx.save_for_backward(x, scale, shift, out)
        ctx.share = None
        if layer is not None:
            layer.scale, layer.shift, layer.z = scale, shift, out.detach()
        return out

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, scale, shift, out = ctx.saved_tensors
        layer, tape = ctx.layer, ctx.tape
        if layer is not None:  # the layer before it has taken the scale into its weights
            return signal, None, None, None, None
        along = (1, -1, *[1] * (x.ndim - 2))
        if not tape.rules.splits:
            tape.absorb(ctx.call, signal.sum(tuple(range(2, x.ndim))) * shift if x.ndim > 2 else signal * shift)
            return signal * scale.view(along), None, None, None, None
        # As a sum of x * scale and the shift, of which only parts with the sign of the output receive relevance.
        if ctx.share is None:
            part, constant = x * scale.view(along), shift.view(along)
            agrees = (constant * out) > 0
            total = part + torch.where(agrees, constant, 0.0)
            share = torch.where((part * out) > 0, ratio(out, total), 0.0) * scale.view(along)
            ctx.share = share, out - share * x
        share, absorbed = ctx.share
        tape.absorb(ctx.call, signal * absorbed)
        return signal * share, None, None, None, None


class Normalized(torch.autograd.Function):
    """Layer, group or RMS normalisation, with the standard deviation as a constant."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, out: Tensor, scale: Tensor, bias: Tensor | None, dims: tuple[int, ...], tape: Tape
    ) -> Tensor:
        """Take the scale (in the shape of ``x``, or one that broadcasts) and the dimensions that are centred."""
        ctx.save_for_backward(scale, *(() if bias is None else (bias,)))
        ctx.dims, ctx.tape, ctx.call = dims, tape, tape.call
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        scale, *bias = ctx.saved_tensors
        if bias:
            ctx.tape.absorb(ctx.call, signal * bias[0])
        found = signal * scale
        if ctx.dims:
            shape = found.shape
            grouped = found.reshape(*ctx.dims, -1)
            found = (grouped - grouped.mean(-1, keepdim=True)).reshape(shape)
        return found, None, None, None, None, None


class MaxPool(torch.autograd.Function):
    """Max pooling in two dimensions; the largest input takes all, equal ones share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Callable[[Tensor], Tensor], settings: tuple[Any, ...]) -> Tensor:
        out = call(x)
        ctx.save_for_backward(x, out)
        ctx.settings, ctx.winners = settings, None
        return out

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        x, out = ctx.saved_tensors
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = ctx.settings
        h, w = out.shape[2:]
        # Room for the last window, which may reach beyond the border (ceil_mode).
        below = max(0, (h - 1) * sh + (kh - 1) * dh + 1 - x.shape[2] - ph)
        right = max(0, (w - 1) * sw + (kw - 1) * dw + 1 - x.shape[3] - pw)
        windows = [
            (slice(None), slice(None), _every(i * dh, h, sh), _every(j * dw, w, sw))
            for i in range(kh)
            for j in range(kw)
        ]
        if ctx.winners is None:
            padded = torch.nn.functional.pad(x, (pw, right, ph, below), value=-torch.inf)
            wins = torch.stack([padded[at] == out for at in windows]).to(x.dtype)
            ctx.winners = wins, wins.sum(0)
        wins, count = ctx.winners
        share = signal / count
        found = x.new_zeros((*x.shape[:2], x.shape[2] + ph + below, x.shape[3] + pw + right))
        for at, won in zip(windows, wins, strict=True):
            found[at].addcmul_(share, won)
        return found[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]], None, None


def _every(start: int, number: int, step: int) -> slice:
    return slice(start, start + (number - 1) * step + 1, step)


class Softmax(torch.autograd.Function):
    """A softmax by its Taylor expansion at the point itself (AttnLRP), whose constant term absorbs relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Tensor, dim: int, tape: Tape) -> Tensor:
        ctx.save_for_backward(x.masked_fill(x == -torch.inf, 0.0), out)  # masked logits
        ctx.dim, ctx.tape, ctx.call = dim, tape, tape.call
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None]:
        x, out = ctx.saved_tensors
        received = torch.ops.aten._softmax_backward_data(
            signal, out, ctx.dim, out.dtype
        )  # out (signal - sum of signal out)
        ctx.tape.absorb(ctx.call, torch.addcmul(signal * out, received, x, value=-1), softmax=True)
        return received, None, None, None


class Shared(torch.autograd.Function):
    """A product of parts that all depend on the image, which each receive an equal share of the relevance."""

    @staticmethod
    def forward(ctx: Any, product: Tensor, parts: int) -> Tensor:
        ctx.parts = parts
        return product.view_as(product)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        return signal / ctx.parts, None
