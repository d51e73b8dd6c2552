"""Read the output of a model as scores (B, K) or class indices (B,)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from whywrong.core.errors import InputError, ModelError

OUTPUTS = "logits, probabilities, top, binary, binary-probability, labels, key:NAME or item:N"
FLOOR = 1e-30  # least probability: its logarithm stays finite


def check_output(output: str) -> str:
    """Return ``output`` if it is a supported way of reading answers.

    Raises:
        InputError: It is not supported.
    """
    if not re.fullmatch(r"logits|probabilities|top|binary|binary-probability|labels|key:.+|item:-?\d+", output):
        raise InputError(f'output must be {OUTPUTS}, got "{output}"')
    return output


def read_part(answer: Any, output: str) -> Tensor:
    """Select the tensor of scores in a model's answer.

    By default, the part called ``logits`` of a mapping or object is used.

    Raises:
        ModelError: The answer has several parts and ``output`` does not select one; the message says how to.
    """
    part: Any = answer
    if output.startswith("item:"):
        part = _item(answer, int(output[5:]))
    elif output.startswith("key:"):
        part = _key(answer, output[4:])
    elif isinstance(answer, Mapping):
        part = answer.get("logits", answer)
    elif isinstance(getattr(answer, "logits", None), torch.Tensor):
        part = answer.logits
    if isinstance(part, torch.Tensor):
        return part
    if hasattr(part, "__array__"):
        return torch.as_tensor(part.__array__())
    raise ModelError(f"the model must return a tensor of scores, it returned {_seen(part)}")


def _item(answer: Any, position: int) -> Any:
    if not isinstance(answer, (tuple, list)) or not -len(answer) <= position < len(answer):
        raise ModelError(f"output=item:{position} finds nothing: the model returned {_seen(answer)}")
    return answer[position]


def _key(answer: Any, name: str) -> Any:
    if isinstance(answer, Mapping) and name in answer:
        return answer[name]
    if not isinstance(answer, Mapping) and hasattr(answer, name):
        return getattr(answer, name)
    raise ModelError(f"output=key:{name} finds nothing: the model returned {_seen(answer)}")


def _seen(part: Any) -> str:
    if isinstance(part, Mapping):
        return (
            f"a mapping with {', '.join(map(str, part))}; say which part holds the logits with output=key:NAME, or "
            "give the model with its classifier if none does"
        )
    if isinstance(part, (tuple, list)):
        return f"a {type(part).__name__} of {len(part)}; say which part holds the logits with output=item:N"
    if hasattr(part, "last_hidden_state"):
        return f"{type(part).__name__}, the features of a backbone; give the model with its classifier"
    return f"{type(part).__name__}" + (f" {tuple(part.shape)}" if isinstance(part, torch.Tensor) else "")


def read_scores(answer: Any, output: str, batch: int) -> Tensor:
    """Convert the answer to ``batch`` images to logits.

    Returns (B, K) float32, differentiable if the answer is.

    Raises:
        ModelError: The shape is wrong, a single score was not announced by ``output``, or values contradict ``output``.
    """
    scores = read_part(answer, output)
    if output in ("binary", "binary-probability"):
        scores = _two_classes(scores, output, batch)
    elif batch and scores.numel() == batch and scores.ndim > 0 and len(scores) == batch:
        raise ModelError(
            f"the model returns one number an image; for a batch of {batch} it returned {tuple(scores.shape)}. Say how "
            "to read it: --output binary (output=binary) for the logit of class 1, --output binary-probability for its "
            "probability, behind a sigmoid"
        )
    if scores.ndim != 2 or len(scores) != batch:
        raise ModelError(
            f"the model must return scores (B, K); for a batch of {batch} it returned {tuple(scores.shape)}"
            + ("; dense or multi-label output is not classification" if scores.ndim > 2 else "")
        )
    if scores.is_complex() or scores.dtype == torch.bool:
        raise ModelError(f"the model must return real scores, it returned {scores.dtype}")
    scores = scores.float()
    if output in ("probabilities", "top", "binary-probability"):
        if bool((scores.detach() < -1e-3).any()) or bool((scores.detach() > 1 + 1e-3).any()):
            raise ModelError(f"output={output} was said, but the model returns values outside [0, 1]")
        return scores.clamp_min(FLOOR).log()
    return scores


def _two_classes(scores: Tensor, output: str, batch: int) -> Tensor:
    """Expand one number per image to two scores (B, 2), the logits 0 and z or the probabilities 1 - p and p."""
    if scores.numel() != batch:
        what = "logit" if output == "binary" else "probability"
        raise ModelError(
            f"output={output} expects one {what} an image; for a batch of {batch} the model returned "
            f"{tuple(scores.shape)}"
        )
    scores = scores.reshape(batch, 1)
    return torch.cat([torch.zeros_like(scores) if output == "binary" else 1 - scores, scores], 1)


def read_labels(answer: Any, batch: int) -> Tensor:
    """Convert the answer of a labels-only model to class indices (B,) int64.

    Raises:
        ModelError: The answer does not hold exactly one whole number per image.
    """
    try:
        labels = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise ModelError(f"a labels-only model must return class indices (B,), it returned {_seen(answer)}") from None
    if labels.shape != (batch,) or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ModelError(
            f"a labels-only model must return class indices (B,); for a batch of {batch} it returned "
            f"{labels.dtype} {tuple(labels.shape)}"
        )
    return labels.long()
