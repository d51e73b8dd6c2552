"""Linear heads from the last feature map to the logits, on which class activation maps are based."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.models.layers.grids import Layout
from whywrong.models.layers.tracing import Trace

_FIT = 2e-5  # float32 sums of thousands of terms agree to 1e-6; a head of another form differs far more


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """Linear head, logits = weight norm(mean of the activation over positions) + bias.

    Attributes:
        weight: (K, C).
        bias: (K,) or None.
        norm: Layer or batch normalisation of the pooled feature, as (operation, arguments), or None.
        pools_prefix: Whether the mean includes the prefix tokens.
    """

    weight: Tensor
    bias: Tensor | None
    norm: tuple[str, dict[str, Any]] | None
    pools_prefix: bool

    def terms(self, patches: Tensor, extra: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decompose the head exactly into a sum over positions.

        Layer normalisation uses the statistics of the pooled feature.

        Args:
            patches: (B, C, h, w).
            extra: (B, C, P), prefix tokens.

        Returns:
            Weight (K, C) and constant (K,), and the normalised share of each position in the pooled feature,
            (B, C, h, w) and (B, C, P). logits = constant + sum over positions of weight . share.
        """
        weight = self.weight.detach().float()
        constant = weight.new_zeros(len(weight)) if self.bias is None else self.bias.detach().float()
        n = patches.shape[2] * patches.shape[3] + (extra.shape[2] if self.pools_prefix else 0)
        patches, extra = patches / n, extra / n if self.pools_prefix else torch.zeros_like(extra)
        if self.norm is not None:
            operation, given = self.norm
            channels = weight.shape[1]
            gamma = _channels(given["weight"], 1.0, channels, weight)
            beta = _channels(given["bias"], 0.0, channels, weight)
            if operation == "layer_norm":
                pooled = patches.sum((2, 3)) + extra.sum(2)  # (B, C)
                sigma = (pooled.var(1, correction=0) + given["eps"]).sqrt()
                patches = (patches - patches.mean(1, keepdim=True)) / sigma[:, None, None, None]
                extra = (extra - extra.mean(1, keepdim=True)) / sigma[:, None, None]
            else:
                scale = (given["running_var"].detach().float() + given["eps"]).rsqrt()
                beta = beta - given["running_mean"].detach().float() * scale * gamma
                gamma = gamma * scale
            constant = constant + weight @ beta
            weight = weight * gamma
        return weight, constant, patches, extra


def _channels(given: Tensor | None, default: float, channels: int, like: Tensor) -> Tensor:
    return like.new_full((channels,), default) if given is None else given.detach().float()


def find_linear_head(trace: Trace, layout: Layout, activation: Tensor, logits: Tensor) -> LinearHead | None:
    """Find the linear head that reproduces the logits of the traced images.

    Returns None if there is none.

    Candidates are the recorded layers; measurement, not names, decides which one is right.
    """
    patches, extra = layout.patches(activation).float(), layout.extra(activation).float()
    channels = patches.shape[1]
    norms: list[tuple[str, dict[str, Any]] | None] = [None]
    norms += [norm for norm in trace.norms[-2:] if _fits(norm, channels)]
    for weight, bias in reversed(trace.linear[-2:]):
        weight = weight.flatten(1)
        if weight.shape[1] != channels:
            continue
        if len(weight) == 1 and logits.shape[1] == 2:  # one logit z, read as the logits 0 and z
            weight = torch.cat([torch.zeros_like(weight), weight])
            bias = None if bias is None else torch.cat([torch.zeros_like(bias), bias])
        if len(weight) != logits.shape[1]:
            continue
        for norm in norms:
            for pools_prefix in (False, True) if extra.shape[2] else (False,):
                head = LinearHead(weight, bias, norm, pools_prefix)
                if _reproduces(head, patches, extra, logits):
                    return head
    return None


def _fits(norm: tuple[str, dict[str, Any]], channels: int) -> bool:
    operation, given = norm
    known = given["weight"] if operation == "layer_norm" else given["running_var"]
    return known is not None and known.shape == (channels,)


def _reproduces(head: LinearHead, patches: Tensor, extra: Tensor, logits: Tensor) -> bool:
    weight, constant, shares, extra_shares = head.terms(patches, extra)
    pooled = shares.sum((2, 3)) + extra_shares.sum(2)  # (B, C)
    scale = pooled.abs() @ weight.abs().T + constant.abs()
    fit = max(_FIT, 8 * torch.finfo(head.weight.dtype).eps)
    return bool(((pooled @ weight.T + constant - logits).abs() <= fit * scale).all())
