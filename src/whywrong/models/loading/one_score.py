"""Settle how a single output per image is read, as far as it can be proved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.errors import ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.models.answers import read_part
from whywrong.models.layers.last_step import last_step
from whywrong.models.loading.onnx import OnnxModel


def settle_output(model: Any, output: str | None, spec: InputSpec) -> tuple[str, list[str]]:
    """Choose how answers are read if the model has a single output.

    Args:
        model: Module, ONNX model or any other callable; of the latter nothing can be proved.
        output: The user's setting, or None.
        spec: Input of the model.

    Returns:
        ``output``, default ``logits``, or ``binary-probability`` with a note for a single sigmoid.

    Raises:
        ModelError: ``output`` is ``binary``, but the model returns a probability.
    """
    if output not in (None, "logits", "binary") or not _is_single_sigmoid(model, spec):
        return output or "logits", []
    if output == "binary":
        raise ModelError(
            "output=binary expects a logit, but the model ends in a sigmoid: its number is a probability; say "
            "--output binary-probability"
        )
    return "binary-probability", [
        "the model returns one number behind a sigmoid: it is read as the probability of class 1, the second of its "
        "two classes (output binary-probability)"
    ]


def _is_single_sigmoid(model: Any, spec: InputSpec) -> bool:
    x = torch.full((1, spec.channels, spec.height, spec.width), 0.5)
    if isinstance(model, OnnxModel):
        return model.ends_in_sigmoid and _numbers(model, x) == 1
    if not isinstance(model, nn.Module):
        return False
    return last_step(model, x) == ("sigmoid", 1)


def _numbers(model: OnnxModel, x: Tensor) -> int:
    """Count the numbers that a graph returns for one image.

    Returns 0 if it refuses the image; the first real call reports why.
    """
    try:
        return read_part(model(x), "logits").numel()
    except Exception:  # noqa: BLE001 - ONNX Runtime has no base class for its errors
        return 0
