"""Attention as relevance sees it, also where PyTorch fuses it into one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from whywrong.explain.relevance.functions import Shared, Softmax
from whywrong.explain.relevance.tape import Tape


def softmax(tape: Tape, x: Tensor, dim: int) -> Tensor:
    """Apply the softmax rule of the tape; with CP-LRP, the weights are constants."""
    out = x.detach().softmax(dim)
    return out if tape.rules.attention == "cp" else Softmax.apply(x, out, dim, tape)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two matrices; if both depend on the image, each receives half of the relevance."""
    out = left @ right
    return Shared.apply(out, 2) if left.requires_grad and right.requires_grad else out


def attention(
    tape: Tape,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """Compute scaled dot-product attention, (B, heads, T, d), step by step.

    ``settings`` are the further arguments of PyTorch's function.

    Raises:
        NotImplementedError: Query heads are grouped.
    """
    tape.transformer = True
    scale = settings.get("scale")
    if settings.get("enable_gqa"):
        raise NotImplementedError("attention with grouped queries has no rule of relevance")
    if tape.rules.attention == "cp":
        query, key = query.detach(), key.detach()
    scores = product(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if settings.get("is_causal"):
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None:
        if attn_mask.requires_grad:
            attn_mask = attn_mask.detach()
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return product(softmax(tape, scores, -1), value)


def multi_head_arguments(given: dict[str, Any]) -> None:
    """Refuse options of ``multi_head_attention_forward`` that image classifiers do not use.

    Raises:
        NotImplementedError: An option is set.
    """
    used = [
        name for name in ("bias_k", "bias_v", "static_k", "static_v", "key_padding_mask") if given.get(name) is not None
    ]
    if given.get("add_zero_attn"):
        used.append("add_zero_attn")
    if used:
        raise NotImplementedError(f"multi-head attention with {', '.join(used)} has no rule of relevance")


def projections(given: dict[str, Any]) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Return input, weight and bias of the projections to query, key and value."""
    inputs = [given["query"], given["key"], given["value"]]
    bias = given.get("in_proj_bias")
    biases = [None] * 3 if bias is None else list(bias.chunk(3))
    if given.get("use_separate_proj_weight"):
        weights = [given[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = list(given["in_proj_weight"].chunk(3))
    return list(zip(inputs, weights, biases, strict=True))


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Reshape (B, T, C) to (B, heads, T, C / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def joined_heads(mixed: Tensor) -> Tensor:
    """Reshape (B, heads, T, d) to (B, T, C)."""
    return mixed.transpose(1, 2).flatten(2)
