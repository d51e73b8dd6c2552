"""Copies of a classifier whose weights may be trained, while the original stays as it is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import ModelError, NonFiniteError
from whywrong.models.classifier import Classifier


def copy_of(classifier: Classifier) -> Classifier:
    """Wrap a deep copy of the module in a classifier.

    Classes and preprocessing are the same; all weights are trainable.

    Raises:
        AccessError: The classifier does not wrap a plain module.
        ModelError: The module cannot be copied.
    """
    classifier.require(Access.INTERNALS, "fine-tuning a copy")
    assert classifier.module is not None
    try:
        with torch.inference_mode(False):
            module = copy.deepcopy(classifier.module)
            for parameter in module.parameters():
                if parameter.is_inference():
                    parameter.data = parameter.data.clone()
                parameter.grad = None
                parameter.requires_grad_(parameter.is_floating_point())
    except Exception as error:
        raise ModelError(f"the module cannot be copied: {type(error).__name__}: {error}") from error
    return Classifier(
        module.eval(),
        classes=classifier.classes,
        preprocess=classifier.preprocess,
        output=classifier.output,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
    )


def descend(copied: Classifier, optimizer: torch.optim.Optimizer, loss: Tensor, images: int) -> None:
    """Take one optimiser step with gradients clipped to norm 1, and forget them.

    Args:
        copied: A copy, whose backward passes are counted.
        optimizer: Of its weights.
        loss: Scalar, of ``images`` images.
        images: Number of images.

    Raises:
        NonFiniteError: The loss is NaN or infinite; the weights are unchanged.
    """
    assert copied.module is not None
    if not bool(loss.isfinite()):
        raise NonFiniteError("the loss of fine-tuning is not finite; try a lower rate")
    optimizer.zero_grad()
    loss.backward()
    copied.backwards += images
    nn.utils.clip_grad_norm_(copied.module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
