"""Find the operation behind a module's output, such as a sigmoid, a linear layer, or the pooling of a backbone."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from whywrong.models.answers import read_part
from whywrong.models.containment import Contained
from whywrong.models.kinds import inspect_module
from whywrong.models.modes import EvaluationMode

LastStep = Literal["sigmoid", "linear", "features", "other", "unknown"]

_RESHAPING = (
    "View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "T", "Transpose", "Permute", "Alias", "ToCopy", "Clone",
    "Slice", "Select", "Expand", "Identity", "AsStrided",
)  # fmt: skip
_SCALING = ("Add", "Sub", "Mul", "Div", "Neg", "LogSoftmax", "Softmax", "Cat", "Stack", "Clamp")
_LINEAR = ("Addmm", "Mm", "Bmm", "Baddbmm", "Mv", "Dot", "Linear", "MkldnnLinear", "Convolution", "ConvolutionBackward")
_FEATURES = (
    "Mean", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D", "AvgPool2D", "AdaptiveMaxPool2D", "MaxPool2DWithIndices",
    "NativeLayerNorm", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm", "Relu", "Gelu", "Silu", "Hardswish",
    "Tanh", "LeakyRelu", "Elu",
)  # fmt: skip
_DEEPEST = 40


def last_step(module: nn.Module, x: Tensor) -> tuple[LastStep, int]:
    """Find the operation that computes a module's output.

    Reshaping and scaling after it are skipped.

    Args:
        module: Run once, in evaluation mode.
        x: One batch as the module takes it, (B, C, H, W).

    Returns:
        The operation, and how many numbers the module returns for the batch, 0 if it raised. The operation is
            ``sigmoid`` only if nothing but reshaping follows it, ``unknown`` if the graph cannot be read.
    """
    kind = inspect_module(module)
    x = x.to(kind.device or x.device, kind.dtype, copy=True)
    try:
        with Contained(), EvaluationMode(kind.module), torch.inference_mode(False), torch.enable_grad():
            scores = read_part(kind.module(x.requires_grad_()), "logits")
    except Exception:  # noqa: BLE001 - a fault of the model is reported by the first real call
        return "unknown", 0
    return step_behind(scores), scores.numel()


def step_behind(scores: Tensor) -> LastStep:
    """Find the operation that computes scores, by their gradient graph.

    Returns ``unknown`` without a graph.
    """
    if scores.grad_fn is None:
        return "unknown"
    front, scaled = [scores.grad_fn], False
    for _ in range(_DEEPEST):
        names = [_name(n) for n in front]
        if any(name in _LINEAR for name in names):
            return "linear"
        if names == ["Sigmoid"] and not scaled:
            return "sigmoid"
        if names and all(name in _FEATURES for name in names):
            return "features"
        if not names or not all(name in _RESHAPING or name in _SCALING for name in names):
            return "other"
        scaled = scaled or any(name in _SCALING for name in names)
        front = [n for f in front for n, _ in f.next_functions if n is not None and _name(n) != "AccumulateGrad"]
    return "unknown"


def _name(node: Any) -> str:
    name, _, _ = type(node).__name__.partition("Backward")
    return name
