"""Rules by name of the torch function that a network calls.

A function without a rule here keeps its ordinary gradient, which is right for sums, rearrangements and everything that
is linear. If it is not, relevance is lost or made there, which the conservation check finds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from whywrong.explain.relevance import attention as attn
from whywrong.explain.relevance.functions import (
    Elementwise,
    MaxPool,
    Normalized,
    Scaled,
    Shared,
)
from whywrong.explain.relevance.layers import First, Weighted
from whywrong.explain.relevance.linear_maps import WEIGHTED, linear_map
from whywrong.explain.relevance.names import CONSTANT, ELEMENTWISE, JOINS, PRODUCTS, QUOTIENTS, SUMS
from whywrong.explain.relevance.tape import Tag, Tape, set_tag, tag_of


def is_rectified(name: str, args: Any, kwargs: Any) -> bool:
    """Return whether a function sets negative values to zero, as a ReLU does."""
    if name in ("hardtanh", "clamp", "clamp_min", "clip"):
        given = {**dict(zip(("input", "min", "max"), args, strict=False)), **kwargs}
        lowest = given.get("min", given.get("min_val"))
        return isinstance(lowest, (int, float)) and lowest == 0
    return name in ("relu", "relu6")


def weighted(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply a convolution or linear layer."""
    given = {**_bound(name, args), **kwargs}
    a = given["input"]
    if not a.requires_grad:  # the weights depend on the image, and are applied to a constant
        return func(*args, **kwargs)
    layer = linear_map(name, tape.label, given)
    if layer is None:
        return func(*args, **kwargs)
    tag = tag_of(a)
    if tag.raw:
        out = First.apply(a, layer, tape, tag.nonnegative, tag.low, tag.high)
    else:
        out = Weighted.apply(a, layer, tape, tag.nonnegative)
    return set_tag(out, Tag(source=layer))


_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED_NAMES = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


def _bound(name: str, args: Any) -> dict[str, Any]:
    names = _TRANSPOSED_NAMES if "transpose" in name else _NAMES
    return dict(zip(names, args, strict=False))


def batch_norm(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply a batch normalisation with stored statistics; folded into the layer before it where possible."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    x, mean, var = given["input"], given.get("running_mean"), given.get("running_var")
    if mean is None or var is None or given.get("training", False):
        raise NotImplementedError("batch normalisation by the statistics of the batch has no rule of relevance")
    scale = (var + given.get("eps", 1e-5)).rsqrt()
    if given.get("weight") is not None:
        scale = scale * given["weight"].detach()
    shift = -mean * scale
    if given.get("bias") is not None:
        shift = shift + given["bias"].detach()
    source = tag_of(x).source
    layer = source if source is not None and source.foldable and source.users == 1 else None
    out = Scaled.apply(x, scale, shift, layer, tape)
    if layer is None:
        return out
    layer.users = 0
    set_tag(x, Tag(closed=layer.name))
    return set_tag(out, Tag(source=layer))


def normalisation(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply a layer, group, instance or RMS normalisation."""
    given = {**dict(zip(_norm_names(name), args, strict=False)), **kwargs}
    x = given["input"]
    weight, bias = given.get("weight"), given.get("bias")
    with torch.no_grad():
        if name in ("layer_norm", "rms_norm"):
            tape.transformer = True
            shape = tuple(given["normalized_shape"])
            lead, along = x.shape[: x.ndim - len(shape)], shape
        else:
            groups = given["num_groups"] if name == "group_norm" else x.shape[1]
            lead, along = (len(x), groups), (-1, *[1] * (x.ndim - 2))
        grouped = x.reshape(*lead, -1)
        default = torch.finfo(x.dtype).eps if name == "rms_norm" else 1e-5
        eps = given.get("eps") if given.get("eps") is not None else default
        if name == "rms_norm":
            power = grouped.square().mean(-1, keepdim=True)
        else:
            power = grouped.var(-1, correction=0, keepdim=True)
        scale = (power + eps).rsqrt()
        if name in ("layer_norm", "rms_norm"):
            scale = scale.view(*lead, *[1] * (x.ndim - len(lead)))
        else:
            scale = scale.expand_as(grouped).reshape(x.shape)
        if weight is not None:
            scale = scale * weight.view(along)
        out = func(*args, **kwargs)
    centred = () if name == "rms_norm" else tuple(lead)
    return Normalized.apply(x, out, scale, None if bias is None else bias.detach().view(along), centred, tape)


def _norm_names(name: str) -> tuple[str, ...]:
    if name == "group_norm":
        return ("input", "num_groups", "weight", "bias", "eps")
    if name == "instance_norm":
        return ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
    return ("input", "normalized_shape", "weight", "bias" if name == "layer_norm" else "eps", "eps")


def elementwise(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply a function of each value."""
    x, *rest = args if args else (kwargs.pop("input"),)
    if not isinstance(x, Tensor) or not x.requires_grad or any(_varies(value) for value in (*rest, *kwargs.values())):
        return func(*_detached(args), **kwargs)  # 2 ** x and the like are scales
    return Elementwise.apply(x, lambda value: func(value, *rest, **kwargs))


def constant(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Apply a gate or scale, as a constant."""
    if name in ("var_mean", "std_mean"):
        spread, _ = func(*_detached(args), **kwargs)
        _, mean = func(*args, **kwargs)
        return spread, mean
    return func(*_detached(args), **kwargs)


def product(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Multiply; factors that depend on the image receive equal shares of the relevance."""
    out = func(*args, **kwargs)
    varying = sum(_varies(value) for value in _flat((*args, *kwargs.values())))
    return Shared.apply(out, varying) if varying > 1 else out


def quotient(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Divide; the divisor is a scale."""
    left, right, *rest = args
    return func(left, right.detach() if isinstance(right, Tensor) else right, *rest, **kwargs)


def total(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Add; a constant absorbs its share."""
    out = func(*args, **kwargs)
    constants = [value for value in args if isinstance(value, (Tensor, float, int)) and not _varies(value)]
    if constants and out.requires_grad:
        varying = next(value for value in args if _varies(value))
        fixed = (out - (varying if name not in ("__rsub__", "rsub") else -varying)).detach()
        if name in ("sub", "subtract", "__sub__") and varying is not args[0]:
            fixed = (out + varying).detach()
        call = tape.call
        out.register_hook(lambda signal: tape.absorb(call, signal * fixed))
    return out


def join(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Concatenate; constant parts absorb their share."""
    given = {**dict(zip(("tensors", "dim"), args, strict=False)), **kwargs}
    parts, dim = list(given["tensors"]), given.get("dim", given.get("axis", 0))
    out = func(*args, **kwargs)
    if any(not _varies(part) for part in parts):
        fixed = func([torch.zeros_like(part) if _varies(part) else part for part in parts], dim)
        call = tape.call
        out.register_hook(lambda signal: tape.absorb(call, signal * fixed))
    if all(tag_of(part).nonnegative for part in parts):
        set_tag(out, Tag(nonnegative=True))
    return out


def max_pool(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply max pooling in two dimensions."""
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if given.get("return_indices"):
        return func(*args, **kwargs)
    kernel = _pair(given["kernel_size"])
    stride = _pair(given.get("stride") or kernel)
    settings = (kernel, stride, _pair(given.get("padding", 0)), _pair(given.get("dilation", 1)))
    ceil = given.get("ceil_mode", False)

    def call(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, kernel, stride, settings[2], settings[3], ceil)

    return MaxPool.apply(given["input"], call, settings)


def softmax(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply a softmax: attention weights over tokens, or gates over branches."""
    given = {**dict(zip(("input", "dim"), args, strict=False)), **kwargs}
    x, dim = given["input"], given.get("dim", -1)
    return attn.softmax(tape, x, dim)


def fused_attention(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
    """Apply attention that is fused into one call."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    return attn.attention(tape, **{**dict(zip(names, args, strict=False)), **kwargs})


_MULTI_HEAD = inspect.signature(functional.multi_head_attention_forward)


def multi_head(tape: Tape, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Tensor, None]:
    """Apply PyTorch's multi-head attention, (T, B, C)."""
    given = _MULTI_HEAD.bind(*args, **kwargs).arguments
    attn.multi_head_arguments(given)
    heads, parts = given["num_heads"], []
    for tokens, weight, bias in attn.projections(given):
        parts.append(attn.split_heads(_linear(tape, tokens.transpose(0, 1), weight, bias), heads))
    mask = given.get("attn_mask")
    if mask is not None and mask.dtype == torch.bool:
        mask = ~mask
    mixed = attn.joined_heads(attn.attention(tape, *parts, attn_mask=mask))
    out = _linear(tape, mixed, given["out_proj_weight"], given.get("out_proj_bias"))
    return out.transpose(0, 1), None


def _linear(tape: Tape, tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return weighted(tape, "linear", functional.linear, (tokens, weight, bias), {})


def _pair(value: Any) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * 2 if len(values) == 1 else values  # type: ignore[return-value]


def _varies(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _flat(values: Any) -> list[Any]:
    return [part for value in values for part in (value if isinstance(value, (list, tuple)) else (value,))]


def _map(values: Any, change: Callable[[Tensor], Tensor]) -> list[Any]:
    return [
        [change(part) if _varies(part) else part for part in value]
        if isinstance(value, (list, tuple))
        else change(value)
        if _varies(value)
        else value
        for value in values
    ]


def _detached(values: Any) -> list[Any]:
    return _map(values, lambda value: value.detach())


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(WEIGHTED, weighted),
    "batch_norm": batch_norm,
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), normalisation),
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(CONSTANT, constant),
    **dict.fromkeys(PRODUCTS, product),
    **dict.fromkeys(QUOTIENTS, quotient),
    **dict.fromkeys(SUMS, total),
    **dict.fromkeys(JOINS, join),
    "max_pool2d": max_pool,
    "softmax": softmax,
    "scaled_dot_product_attention": fused_attention,
    "multi_head_attention_forward": multi_head,
}
