"""The last linear layer of a classifier and its input, the penultimate features.

Measurement, not names, decides which call of a torch function is that layer. It is the last one with a row of weights
for every class whose input, applied again, reproduces the logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from whywrong.core.access import Access
from whywrong.core.errors import ModelError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.models.classifier import Classifier

_FIT = 2e-5  # float32 sums of thousands of terms agree to 1e-6; a head of another form differs far more


@dataclass(frozen=True, slots=True, eq=False)
class LastLayer:
    """Last linear layer, logits = phi weight^T + bias.

    Attributes:
        weight: (K, D), float32.
        bias: (K,), float32; zero if the layer has none.
        rows: Rows of the layer itself, K, or 1 if one logit z is read as the two logits 0 and z.
    """

    weight: Tensor
    bias: Tensor
    rows: int

    @property
    def width(self) -> int:
        """Number of features, D."""
        return self.weight.shape[1]


class Tap(TorchFunctionMode):
    """Input of the latest call that has weights for ``rows`` outputs.

    Attributes:
        features: (B, D), input of the layer, with its graph; None before the call.
        weight: (rows, D), of that call.
        bias: (rows,) or None.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.features: Tensor | None = None
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in ("linear", "conv2d") and isinstance(out, Tensor):
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            weight = given["weight"]
            if len(weight) == self.rows and (name == "linear" or weight.shape[2:] == (1, 1)):
                self._keep(given["input"], weight, given.get("bias"), channels_first=name == "conv2d")
        return out

    def _keep(self, features: Tensor, weight: Tensor, bias: Tensor | None, *, channels_first: bool) -> None:
        # A layer at every position followed by their mean equals the same layer after the mean.
        if channels_first:
            features = features.flatten(2).mean(2)
        elif features.ndim > 2:
            features = features.flatten(1, -2).mean(1)
        self.features, self.weight, self.bias = features, weight.flatten(1), bias


_FOUND: WeakKeyDictionary[Classifier, LastLayer] = WeakKeyDictionary()


def find_last_layer(classifier: Classifier, input_size: tuple[int, int, int]) -> LastLayer:
    """Find the linear layer that computes the logits.

    It takes one pass over a synthetic image, which is not counted.

    Args:
        classifier: Must grant access to its layers.
        input_size: (C, H, W) of its images.

    Raises:
        AccessError: The classifier grants no access to its layers.
        ModelError: The logits are not the output of one linear layer; the message says what to do.
    """
    classifier.require(Access.INTERNALS, "reading the last layer")
    if classifier not in _FOUND:
        before = classifier.forwards
        try:
            _FOUND[classifier] = _find(classifier, input_size)
        finally:
            classifier.forwards = before
    return _FOUND[classifier]


def _find(classifier: Classifier, input_size: tuple[int, int, int]) -> LastLayer:
    x = keyed_uniform(row_keys(0, 1, classifier.device), input_size)
    with classifier, torch.inference_mode(False), torch.no_grad():
        logits = classifier.ask(x)
        rows = 1 if classifier.output == "binary" else logits.shape[1]
        with Tap(rows) as tap:
            logits = classifier.ask(x)
    title = type(classifier.module).__name__
    if tap.features is None or tap.weight is None or classifier.output == "probabilities":
        raise ModelError(_refusal(title))
    weight = tap.weight.detach().float().clone()
    bias = weight.new_zeros(len(weight)) if tap.bias is None else tap.bias.detach().float().clone()
    if classifier.output == "binary":
        weight, bias = (torch.cat([torch.zeros_like(part), part]) for part in (weight, bias))
    phi = tap.features.detach().float()
    if phi.ndim != 2 or phi.shape != (1, weight.shape[1]):
        raise ModelError(_refusal(title))
    due, scale = phi @ weight.T + bias, phi.abs() @ weight.abs().T + bias.abs()
    fit = max(_FIT, 8 * torch.finfo(tap.weight.dtype).eps)
    if not bool(((due - logits).abs() <= fit * scale).all()):
        raise ModelError(_refusal(title))
    return LastLayer(weight, bias, rows)


def _refusal(title: str) -> str:
    return (
        f"{title} has no linear last layer that makes its logits, and its features cannot be told from it; give a "
        "loader file whose model ends in one nn.Linear (or 1 x 1 convolution and mean) and returns its output, "
        "without a softmax"
    )


@contextmanager
def tapped(last: LastLayer) -> Iterator[Tap]:
    """Record the input of ``last`` in each pass inside the context.

    ``features`` of the yielded tap holds it, with its graph.
    """
    with Tap(last.rows) as tap:
        yield tap


def read_features(
    classifier: Classifier, x: Tensor, last: LastLayer, raised: dict[int, Exception] | None = None
) -> tuple[Tensor, Tensor]:
    """Compute logits and penultimate features of images, in passes that fit.

    Args:
        classifier: Classifier with the layer ``last``.
        x: (B, C, H, W), in [0, 1].
        last: Last layer of ``classifier``.
        raised: Receives the errors of rows on which the model raises; if None, the first one is raised.

    Returns:
        Logits (B, K) and features (B, D), float32, on the device of ``x``; rows in ``raised`` hold NaN.

    Raises:
        ModelRaisedError: The model raised on one of the images.
        ModelError: The last layer was not reached.
    """

    def run(rows: slice) -> tuple[slice, Tensor, Tensor]:
        images = x[rows]
        with tapped(last) as tap:
            logits = classifier.ask(images)
        if tap.features is None:
            raise ModelError("the model did not pass through its last layer; it was found in another state")
        return rows, logits.to(x.device), tap.features.float().to(x.device)

    logits = x.new_full((len(x), len(last.weight)), torch.nan, dtype=torch.float32)
    phi = x.new_full((len(x), last.width), torch.nan, dtype=torch.float32)
    for rows, scores, features in classifier._run(x, run, raised):
        logits[rows], phi[rows] = scores, features
    return logits, phi
