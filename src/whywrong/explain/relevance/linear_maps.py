"""A convolution or linear layer as a linear map, with its transpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CONV = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
_TRANSPOSED = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}
WEIGHTED = frozenset({"linear", *_CONV, *_TRANSPOSED})


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One term of a rule.

    Attributes:
        factor: What the signal of each output is multiplied with; None for 1.
        above: Weights that carry the result to inputs of 0 or more.
        below: Weights for inputs below 0; None if there are none.
        bias: (channels,), what the bias takes of the result; None without one.
    """

    factor: Tensor | None
    above: Tensor
    below: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """How a layer shares the relevance of its outputs between its inputs, for any class.

    Attributes:
        terms: Terms of the rule.
        lost: Part of the outputs that no input can take; None if there is none.
        above: 1 for inputs of 0 or more and 0 for others; None if all are 0 or more.
    """

    terms: tuple[Share, ...]
    lost: Tensor | None = None
    above: Tensor | None = None


@dataclass(slots=True, eq=False)
class LinearMap:
    """One call of a layer with weights, as ``z = W a + b``; a batch normalisation behind it can be folded in.

    Attributes:
        name: Name of the layer, for messages.
        weight: Weights as the layer takes them.
        bias: (channels,) or None.
        stride, padding, dilation, output_padding, groups: Settings of a convolution.
        dims: Spatial dimensions; 0 for a linear layer.
        transposed: Whether it is a transposed convolution.
        users: Number of functions that read the output.
        rectified: Whether only a ReLU reads the output.
        scale, shift: Of the folded batch normalisation.
        z: Output, after the folded normalisation.
        last: Whether its output are the logits.
        sign: Which contributions the last layer shares: 1 the positive ones, -1 the negative ones.
        shares: How the rule shares relevance, the same for every class; None until it is needed.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    stride: Sequence[int] = ()
    padding: Sequence[int] = ()
    dilation: Sequence[int] = ()
    output_padding: Sequence[int] = ()
    groups: int = 1
    dims: int = 0
    transposed: bool = False
    users: int = 0
    rectified: bool = False
    scale: Tensor | None = None
    shift: Tensor | None = None
    z: Tensor | None = None
    last: bool = False
    sign: int = 1
    shares: Shares | None = field(default=None)

    def forward(self, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute ``weight a + bias`` with the settings of the layer."""
        if self.dims == 0:
            return functional.linear(a, weight, bias)
        if self.pointwise:
            found = (weight.flatten(1) @ a.flatten(2)).unflatten(2, a.shape[2:])
            return found if bias is None else found + self.spread(bias)
        return torch.convolution(
            a,
            weight,
            bias,
            list(self.stride),
            list(self.padding),
            list(self.dilation),
            self.transposed,
            list(self.output_padding),
            self.groups,
        )

    def backward(self, s: Tensor, a: Tensor, weight: Tensor) -> Tensor:
        """Compute ``weight^T s``, in the shape of the inputs ``a``."""
        if self.dims == 0:
            return s @ weight
        if self.pointwise:
            return (weight.flatten(1).t() @ s.flatten(2)).view_as(a)
        found = torch.ops.aten.convolution_backward(
            s,
            a,
            weight,
            None,
            list(self.stride),
            list(self.padding),
            list(self.dilation),
            self.transposed,
            list(self.output_padding),
            self.groups,
            [True, False, False],
        )
        return found[0]

    @property
    def folded_weight(self) -> Tensor:
        """Weights with the folded normalisation."""
        if self.scale is None:
            return self.weight
        return self.weight * self.scale.view(-1, *[1] * (self.weight.ndim - 1))

    @property
    def folded_bias(self) -> Tensor | None:
        """Bias with the folded normalisation."""
        if self.scale is None:
            return self.bias
        shift = torch.zeros_like(self.scale) if self.shift is None else self.shift
        return shift if self.bias is None else self.bias * self.scale + shift

    @property
    def pointwise(self) -> bool:
        """Whether it maps each position by itself, which a matrix product does faster than a convolution."""
        moves = any(size != 1 for size in (*self.weight.shape[2:], *self.stride)) or any(self.padding)
        return self.dims > 0 and self.groups == 1 and not self.transposed and not moves

    @property
    def foldable(self) -> bool:
        """Whether a batch normalisation of its output can be folded in."""
        return self.dims > 0 and not self.transposed and self.scale is None

    def spread(self, bias: Tensor) -> Tensor:
        """Reshape a bias (channels,) so that it broadcasts with the outputs."""
        return bias.view(-1, *[1] * self.dims) if self.dims else bias

    def outputs(self, *, with_bias: bool) -> Tensor:
        """Return the outputs z, with or without the bias."""
        assert self.z is not None
        bias = self.folded_bias
        return self.z if with_bias or bias is None else self.z - self.spread(bias)

    def one_sided(self, a: Tensor, sign: int, *, nonnegative: bool, with_bias: bool) -> Tensor:
        """Sum the positive (``sign`` 1) or the negative contributions (-1) to each output."""
        weight, bias = self.folded_weight, self.folded_bias if with_bias else None
        up, down = weight.clamp_min(0), weight.clamp_max(0)
        if bias is not None:
            bias = bias.clamp_min(0) if sign > 0 else bias.clamp_max(0)
        found = self.forward(a if nonnegative else a.clamp_min(0), up if sign > 0 else down, bias)
        if not nonnegative:
            found += self.forward(a.clamp_max(0), down if sign > 0 else up)
        return found


def linear_map(func_name: str, label: Callable[[Tensor], str], given: dict[str, Any]) -> LinearMap | None:
    """Describe a call of a function with weights.

    Args:
        func_name: Name of the torch function, one of :data:`WEIGHTED`.
        label: Finds the name of a layer by its weights.
        given: Arguments of the call by name.

    Returns:
        The map; None if its padding cannot be expressed as numbers.
    """
    weight, bias = given["weight"].detach(), given.get("bias")
    bias = None if bias is None else bias.detach()
    name = label(given["weight"])
    if func_name == "linear":
        return LinearMap(name, weight, bias)
    transposed = func_name in _TRANSPOSED
    dims = _TRANSPOSED[func_name] if transposed else _CONV[func_name]
    dilation = _tuple(given.get("dilation", 1), dims)
    padding = given.get("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":
        around = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(total % 2 for total in around):
            return None
        padding = [total // 2 for total in around]
    return LinearMap(
        name,
        weight,
        bias,
        stride=_tuple(given.get("stride", 1), dims),
        padding=_tuple(padding, dims),
        dilation=dilation,
        output_padding=_tuple(given.get("output_padding", 0), dims),
        groups=given.get("groups", 1),
        dims=dims,
        transposed=transposed,
    )


def _tuple(value: Any, dims: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dims if len(values) == 1 else values
