"""Smoothed attention, whose logits are divided by a temperature before the softmax.

Source: Gu, Tresp and Qin 2022, arXiv 2111.10659, which proposes it as a defence against patches.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whywrong.core.access import Access
from whywrong.core.errors import InputError, ModelError
from whywrong.models.classifier import Classifier

_MULTI_HEAD = inspect.signature(nn.functional.multi_head_attention_forward)


class SmoothedAttention(TorchFunctionMode):
    """Divide the attention logits of all calls inside ``with`` by a temperature.

    It works for fused and written-out attention and for that of PyTorch's own layers, with gradients. The model stays
    as it is.

    Attributes:
        layers: Attention layers seen.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.layers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Divide the queries of fused attention, or the input of a softmax of attention."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        first = args[0] if args else None
        if func is nn.functional.multi_head_attention_forward:  # calls within it are not seen
            self.layers += 1
            bound = _MULTI_HEAD.bind(*args, **kwargs)
            self._soften_queries(bound.arguments)
            return func(*bound.args, **bound.kwargs)
        if name == "scaled_dot_product_attention" or (name == "softmax" and _is_attention(first)):
            self.layers += 1
            if args:
                args = (args[0] / self.temperature, *args[1:])
            else:
                kwargs["query"] = kwargs["query"] / self.temperature
        return func(*args, **kwargs)

    def _soften_queries(self, arguments: dict[str, Any]) -> None:
        """Divide the weights and biases that make queries, the first third of those of all projections."""
        width = arguments["embed_dim_to_check"]
        for name in ("in_proj_weight", "in_proj_bias"):
            value = arguments.get(name)
            if value is not None:
                rows = value.new_ones(len(value))
                rows[:width] = 1 / self.temperature
                arguments[name] = value * rows.view(-1, *[1] * (value.ndim - 1))
        if arguments.get("q_proj_weight") is not None:
            arguments["q_proj_weight"] = arguments["q_proj_weight"] / self.temperature


class SmoothedModule(nn.Module):
    """Run a module with smoothed attention."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, x: Tensor) -> Any:
        """Return what the module returns.

        Raises:
            ModelError: It has no attention that can be observed.
        """
        with SmoothedAttention(self.temperature) as seen:
            answer = self.model(x)
        if not seen.layers:
            raise ModelError(f"{type(self.model).__name__} has no attention whose temperature could be raised")
        return answer


@dataclass(frozen=True, slots=True)
class SmoothedRecipe:
    """Build the smoothed classifier again in another process."""

    recipe: Any
    temperature: float

    def build(self) -> Classifier:
        """Build the classifier."""
        return with_temperature(self.recipe.build(), self.temperature)


def with_temperature(classifier: Classifier, temperature: float) -> Classifier:
    """Build a classifier with smoothed attention.

    The given one is not changed.

    Args:
        classifier: Must grant access to its layers.
        temperature: Positive; 1 changes nothing, larger values make the attention more uniform.

    Raises:
        InputError: The temperature is not positive and finite.
        AccessError: The classifier grants no access to its layers.
        ModelError: When images pass, if it has no attention.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"temperature must be positive and finite, got {temperature}")
    classifier.require(Access.INTERNALS, "smoothed attention")
    assert classifier.module is not None
    return Classifier(
        SmoothedModule(classifier.module, temperature),
        classes=classifier.classes,
        preprocess=classifier.preprocess,
        output=classifier.output,
        access=classifier.access,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
        identity=hashlib.sha256(f"{classifier.identity} temperature {temperature!r}".encode()).hexdigest(),
        recipe=SmoothedRecipe(classifier.recipe, temperature) if classifier.recipe is not None else None,
    )


def _is_attention(value: Any) -> bool:
    """Test whether a tensor holds the logits of attention between the tokens of an image."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[2] == value.shape[3]
