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
from whywrong.explain.relevance.rules import ratio, stabilized, terms
from whywrong.explain.relevance.tape import Tape


class Weighted(torch.autograd.Function):
    """A layer with weights; any rule."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, layer: LinearMap, tape: Tape, nonnegative: bool) -> Tensor:
        ctx.save_for_backward(a)
        ctx.layer, ctx.tape, ctx.nonnegative = layer, tape, nonnegative
        return _computed(layer, a)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None]:
        (a,) = ctx.saved_tensors
        return propagate(ctx.layer, ctx.tape, a, signal, nonnegative=ctx.nonnegative), None, None, None


def _computed(layer: LinearMap, a: Tensor) -> Tensor:
    out = layer.forward(a, layer.weight, layer.bias)
    layer.z = out.detach()  # without its graph, which would refer to the layer and never be freed
    return out


def propagate(layer: LinearMap, tape: Tape, a: Tensor, signal: Tensor, *, nonnegative: bool) -> Tensor:
    """Return the signal of the inputs ``a`` of a layer."""
    rules, bias = tape.rules, layer.folded_bias
    assert layer.z is not None
    if layer.last and layer.sign:
        return _last(layer, tape, a, signal, nonnegative)
    if not rules.splits:
        s = signal if rules.epsilon == 0 else signal * (layer.z / stabilized(layer.z, rules.epsilon))
        if bias is not None:
            tape.absorb(layer.name, _over_channels(s, layer) * bias)
        return layer.backward(s, a, layer.folded_weight)
    z = layer.outputs(a, with_bias=rules.with_bias)
    positive = layer.positive_sum(a, nonnegative=nonnegative, with_bias=rules.with_bias)
    found, lost = terms(rules, signal * layer.z, z, positive, rectified=layer.rectified)
    if bias is not None:
        tape.absorb(layer.name, lost)
        if rules.with_bias:
            up, down = bias.clamp_min(0), bias.clamp_max(0)
            for p, n, s in found:
                tape.absorb(layer.name, _over_channels(s, layer) * (p * up + n * down))
    weight = layer.folded_weight
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    above = _sum([layer.backward(s, a, _mix(p, up, n, down)) for p, n, s in found])
    if nonnegative:
        return above
    return torch.where(a >= 0, above, _sum([layer.backward(s, a, _mix(p, down, n, up)) for p, n, s in found]))


def _last(layer: LinearMap, tape: Tape, a: Tensor, relevance: Tensor, nonnegative: bool) -> Tensor:
    """Share relevance of logits, given directly, between the contributions of one sign.

    The sign of a logit itself has no meaning, because adding a constant to all of them changes nothing.
    """
    weight = layer.sign * layer.folded_weight
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    positive = layer.forward(a if nonnegative else a.clamp_min(0), up)
    if not nonnegative:
        positive = positive + layer.forward(a.clamp_max(0), down)
    tape.absorb(layer.name, relevance.where(positive == 0, 0.0))
    s = ratio(relevance, positive)
    above = layer.backward(s, a, up)
    return above if nonnegative else torch.where(a >= 0, above, layer.backward(s, a, down))


def _mix(p: float, up: Tensor, n: float, down: Tensor) -> Tensor:
    if n == 0:
        return up if p == 1 else p * up
    if p == 0:
        return down if n == 1 else n * down
    return p * up + n * down


def _sum(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _over_channels(s: Tensor, layer: LinearMap) -> Tensor:
    """Sum over positions; channels stay, last (B, ..., channels)."""
    return s.flatten(2).sum(2) if layer.dims else s


class First(torch.autograd.Function):
    """The first layer with weights; takes a signal and returns the relevance of the pixels."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, layer: LinearMap, tape: Tape, nonnegative: bool, low: Tensor, high: Tensor
    ) -> Tensor:
        ctx.save_for_backward(a, low, high)
        ctx.layer, ctx.tape, ctx.nonnegative = layer, tape, nonnegative
        return _computed(layer, a)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        a, low, high = ctx.saved_tensors
        layer, tape = ctx.layer, ctx.tape
        rule = tape.rules.first
        if rule == "same":
            relevance = a * propagate(layer, tape, a, signal, nonnegative=ctx.nonnegative)
        elif rule == "z_box":
            relevance = _box(layer, tape, a, signal * layer.z, low, high)
        else:
            weight = torch.ones_like(layer.weight) if rule == "flat" else layer.folded_weight.square()
            total = layer.forward(torch.ones_like(a), weight)
            due = signal * layer.z
            tape.absorb(layer.name, due.where(total == 0, 0.0))
            relevance = layer.backward(ratio(due, total), a, weight)
        return relevance, None, None, None, None, None


def _box(layer: LinearMap, tape: Tape, a: Tensor, relevance: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Apply the zB rule: distances from the lowest and highest pixel instead of the pixel itself."""
    weight = layer.folded_weight
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    if layer.positive is None:  # the sum of all contributions, the same for every class
        layer.positive = layer.forward(a, weight) - layer.forward(low, up) - layer.forward(high, down)
    tape.absorb(layer.name, relevance.where(layer.positive <= 0, 0.0))
    s = relevance.where(layer.positive > 0, 0.0) / layer.positive.where(layer.positive > 0, 1.0)
    return a * layer.backward(s, a, weight) - low * layer.backward(s, a, up) - high * layer.backward(s, a, down)


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
        out = torch.addcmul(shift.view(along), x, scale.view(along))
        ctx.save_for_backward(x, scale, shift, out)
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
            tape.absorb(ctx.call, signal.flatten(2).sum(2) * shift if x.ndim > 2 else signal * shift)
            return signal * scale.view(along), None, None, None, None
        # As a sum of x * scale and the shift, of which only parts with the sign of the output receive relevance.
        part, constant = x * scale.view(along), shift.view(along)
        agrees = (constant * out) > 0
        total = part + torch.where(agrees, constant, 0.0)
        share = torch.where((part * out) > 0, ratio(out, total), 0.0)
        received = signal * share * scale.view(along)
        tape.absorb(ctx.call, signal * out - received * x)
        return received, None, None, None, None


class Normalized(torch.autograd.Function):
    """Layer, group or RMS normalisation, with the standard deviation as a constant."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, out: Tensor, scale: Tensor, bias: Tensor | None, dims: tuple[int, ...], tape: Tape
    ) -> Tensor:
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
        ctx.settings = settings
        return out

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        x, out = ctx.saved_tensors
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = ctx.settings
        h, w = out.shape[2:]
        # Room for the last window, which may reach beyond the border (ceil_mode).
        below = max(0, (h - 1) * sh + (kh - 1) * dh + 1 - x.shape[2] - ph)
        right = max(0, (w - 1) * sw + (kw - 1) * dw + 1 - x.shape[3] - pw)
        padded = torch.nn.functional.pad(x, (pw, right, ph, below), value=-torch.inf)
        windows = [
            (slice(None), slice(None), _every(i * dh, h, sh), _every(j * dw, w, sw))
            for i in range(kh)
            for j in range(kw)
        ]
        count = sum((padded[at] == out).to(signal.dtype) for at in windows)
        share = signal / count
        found = torch.zeros_like(padded)
        for at in windows:
            found[at] += share * (padded[at] == out)
        return found[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]], None, None


def _every(start: int, number: int, step: int) -> slice:
    return slice(start, start + (number - 1) * step + 1, step)


class Softmax(torch.autograd.Function):
    """A softmax by its Taylor expansion at the point itself (AttnLRP), whose constant term absorbs relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Tensor, dim: int, tape: Tape) -> Tensor:
        ctx.save_for_backward(x, out)
        ctx.dim, ctx.tape, ctx.call = dim, tape, tape.call
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None]:
        x, out = ctx.saved_tensors
        received = out * (signal - (signal * out).sum(ctx.dim, keepdim=True))
        kept = torch.where(received == 0, 0.0, received * x)  # masked logits are -inf
        ctx.tape.absorb(ctx.call, signal * out - kept, softmax=True)
        return received, None, None, None


class Half(torch.autograd.Function):
    """One of two factors of a product, which each receive half of the relevance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return 0.5 * signal
