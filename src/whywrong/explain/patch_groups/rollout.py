"""Attention rollout, which estimates how much of each patch reaches the class token of a vision transformer.

Source: Abnar and Zuidema 2020, arXiv 2005.00928: the attention of every block, averaged over heads, plus the identity,
each row divided by its sum, multiplied from the last block down; the row of the class token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from whywrong.core.access import Access
from whywrong.core.checks import check_images
from whywrong.core.errors import ModelError
from whywrong.explain.masking.tokens import find_transformer
from whywrong.models.classifier import Classifier


def rollout(classifier: Classifier, x: Tensor) -> Tensor:
    """Compute attention rollout of images.

    The result does not depend on a class.

    Args:
        classifier: Wraps a transformer of timm's ``VisionTransformer`` design with a class token.
        x: (B, C, H, W), floating point, in [0, 1]; left untouched. One pass per image.

    Returns:
        (B, rows, cols) float64, the share of each patch in the class token; the shares of all tokens, class token and
        other prefix tokens included, sum to 1.

    Raises:
        CannotDropTokens: The classifier is not such a transformer; the message says why.
        ModelError: It has no class token, or its attention cannot be observed.
    """
    check_images(x)
    classifier.require(Access.INTERNALS, "attention rollout")
    _, vit = find_transformer(classifier)
    prefix = int(vit.num_prefix_tokens)  # type: ignore[arg-type]
    if prefix == 0 or getattr(vit, "cls_token", None) is None:
        raise ModelError("attention rollout reads the class token, and this transformer has none")
    patch: tuple[int, int] = vit.patch_embed.patch_size  # type: ignore[assignment,union-attr]
    rows, cols = -(-x.shape[2] // patch[0]), -(-x.shape[3] // patch[1])
    depth = len(vit.blocks)  # type: ignore[arg-type]
    found = [torch.zeros(0, rows, cols, dtype=torch.float64)]
    with classifier, torch.no_grad():
        for images in x.split(classifier.batch_size):
            found.append(
                _rollout(classifier, images, depth, prefix + rows * cols)[:, prefix:].unflatten(1, (rows, cols))
            )
    return torch.cat(found)


def _rollout(classifier: Classifier, x: Tensor, depth: int, tokens: int) -> Tensor:
    """Compute the class token's row (b, T), float64, of the product over all blocks."""
    blocks = 0
    product = torch.eye(tokens, dtype=torch.float64).expand(len(x), -1, -1)

    def multiply(weights: Tensor) -> None:
        nonlocal blocks, product
        if weights.shape != (len(x), weights.shape[1], tokens, tokens):
            return  # attention pooling, not a block
        blocks += 1
        mean = weights.double().mean(1).cpu() + torch.eye(tokens, dtype=torch.float64)  # (b, T, T)
        product = (mean / mean.sum(2, keepdim=True)) @ product

    with _seen_attention(multiply):
        classifier.ask(x)
    if blocks != depth:
        raise ModelError(f"attention was seen in {blocks} of {depth} blocks; rollout needs all of them")
    return product[:, 0]


@contextmanager
def _seen_attention(take: Callable[[Tensor], None]) -> Iterator[None]:
    """Pass the weights (b, heads, T, T) of every attention layer to ``take``.

    This works for fused attention too and does not change the model.
    """

    class Tap(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            out = func(*args, **kwargs)
            name = getattr(func, "__name__", "")
            if name == "scaled_dot_product_attention":
                take(_weights(*args, **kwargs))
            elif name == "softmax" and isinstance(out, Tensor) and out.ndim == 4:
                take(out)
            return out

    with Tap():
        yield


def _weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, scale: Any = None, **__: Any
) -> Tensor:
    """Recompute the attention weights that fused attention applies to the values."""
    logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(-1)
