"""Convolutions and linear layers whose backward pass carries relevance.

What a rule needs beside the signal of a class is computed in the first backward pass and kept for the others.
"""

# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from whywrong.explain.relevance.linear_maps import LinearMap, Share, Shares
from whywrong.explain.relevance.rules import ratio, stabilized_share, terms
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
    if layer.last and layer.sign:
        return _last(layer, tape, a, signal, nonnegative)
    if layer.shares is None:
        layer.shares = _shares(layer, tape, a, nonnegative)
    shares = layer.shares
    room = torch.empty_like(signal)
    if shares.lost is not None:
        tape.absorb(layer.name, torch.mul(signal, shares.lost, out=room))
    above: Tensor | None = None
    below: Tensor | None = None
    for term in shares.terms:
        s = signal if term.factor is None else torch.mul(signal, term.factor, out=room)
        if term.bias is not None:
            tape.absorb(layer.name, _over_positions(s, layer, tape.batch) * term.bias)
        above = _plus(above, layer.backward(s, a, term.above))
        below = below if term.below is None else _plus(below, layer.backward(s, a, term.below))
    assert above is not None
    if shares.above is None or below is None:
        return above
    return torch.lerp(below, above, shares.above, out=above)  # one of the two, exactly


def _shares(layer: LinearMap, tape: Tape, a: Tensor, nonnegative: bool) -> Shares:
    rules, weight, bias = tape.rules, layer.folded_weight, layer.folded_bias
    assert layer.z is not None
    if not rules.splits:
        factor = None if rules.epsilon == 0 else stabilized_share(layer.z, rules.epsilon)
        return Shares((Share(factor, weight, bias=bias),))
    z = layer.outputs(with_bias=rules.with_bias)
    positive, negative = layer.one_sided(a, 1, nonnegative=nonnegative, with_bias=rules.with_bias), None
    if rules.name == "alpha_beta":
        negative = layer.one_sided(a, -1, nonnegative=nonnegative, with_bias=False)
    elif rules.name == "gamma" and not layer.rectified:
        negative = z - positive
    # An output above 0 has a positive contribution if there is no bias; one below 0 matters if no ReLU follows.
    lossy = not rules.with_bias and (bias is not None or not layer.rectified)
    found, lost = terms(rules, layer.z, z, positive, negative, lossy=lossy)
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    shared = []
    for p, n, factor in found:
        taken = None
        if bias is not None and rules.with_bias:
            taken = p * bias.clamp_min(0) + n * bias.clamp_max(0)
        below = None if nonnegative else _mix(p, down, n, up)
        shared.append(Share(factor, _mix(p, up, n, down), below, taken))
    return Shares(tuple(shared), lost, None if nonnegative else (a >= 0).to(a.dtype))


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


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)


def _over_positions(s: Tensor, layer: LinearMap, batch: int) -> Tensor:
    """Sum over positions: (B, channels), or (B, 1, channels) for tokens."""
    if layer.dims:
        return s.sum(tuple(range(2, s.ndim)))
    if s.ndim > 2 and len(s) % batch == 0:
        return s.reshape(batch, -1, s.shape[-1]).sum(1)
    return s


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
            relevance = _box(layer, tape, a, signal, low, high)
        else:
            weight = torch.ones_like(layer.weight) if rule == "flat" else layer.folded_weight.square()
            total = layer.forward(torch.ones_like(a), weight)
            due = signal * layer.z
            tape.absorb(layer.name, due.where(total == 0, 0.0))
            relevance = layer.backward(ratio(due, total), a, weight)
        return relevance, None, None, None, None, None


def _box(layer: LinearMap, tape: Tape, a: Tensor, signal: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Apply the zB rule: distances from the lowest and highest pixel instead of the pixel itself.

    ``low`` and ``high`` may be those of one image, (1, C, H, W).
    """
    if layer.shares is None:
        weight = layer.folded_weight
        up, down = weight.clamp_min(0), weight.clamp_max(0)
        assert layer.z is not None
        total = (layer.outputs(with_bias=False) - (layer.forward(low, up) + layer.forward(high, down))).clamp_min_(0)
        factor = ratio(layer.z, total)
        layer.shares = Shares((Share(factor, up, down),), total.mul_(factor).neg_().add_(layer.z))
    (term,), lost = layer.shares.terms, layer.shares.lost
    assert term.factor is not None
    assert term.below is not None
    assert lost is not None
    room = torch.mul(signal, lost)
    tape.absorb(layer.name, room)
    s = torch.mul(signal, term.factor, out=room)
    found = layer.backward(s, a, term.above).mul_(a - low)
    return found.addcmul_(layer.backward(s, a, term.below), a - high)
