"""Patch tokens of transformers that are built around one encoder of PyTorch or torchvision.

The code around the encoder is unknown, so two properties are tested on one image: every token of the grid depends on
its own patch only, and the scores do not depend on the order of these tokens, which shows that positions are already
encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import ModelError
from whywrong.models.classifier import Classifier

_MOST_PREFIX = 8
_ROUNDING = 1e-4


class NoEncoder(ModelError):
    """The classifier is not built around such an encoder; the message says why."""


class EncoderTokens:
    """Tokens before the one encoder of a classifier.

    Args:
        classifier: Must wrap a module.
        x: (1, C, H, W) in [0, 1], image for these tests, whose passes are not counted. The classifier itself is not
            kept.

    Attributes:
        grid: Rows and columns of patch tokens.
        prefix: Tokens before those of the grid.
        rest: Module from tokens (B, 1, T, D) to scores.
        needs_patch: Whether scores need at least one patch token.

    Raises:
        NoEncoder: There is no such encoder, or its tokens do not correspond to patches.
    """

    def __init__(self, classifier: Classifier, x: Tensor) -> None:
        if classifier.access < Access.INTERNALS or classifier.module is None:
            raise NoEncoder("the classifier grants no access to its layers")
        self._encoder = _find(classifier.module)
        before = classifier.forwards
        try:
            plain, tokens, self.grid = self._try(classifier, x)
            self.prefix = tokens.shape[1] - self.grid[0] * self.grid[1]
            self._check_patches(classifier, x)
            self.rest = _Rest(classifier.module, self._encoder, x)
            asked = Classifier(self.rest, output=classifier.output, pixels=False)
            self._check_order(asked, plain, tokens)
            self.needs_patch = not _answers(asked, tokens[:, : self.prefix])
        finally:
            classifier.forwards = before

    def embed(self, classifier: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) of plain passes and the tokens that enter the encoder.

        Tokens are (B, T, D).
        """
        parts: list[Tensor] = []
        logits: list[Tensor] = []
        with classifier, _listen(self._encoder, parts):
            for some in x.split(classifier.batch_size):
                logits.append(classifier.logits(some))
        if len(parts) != len(logits):
            raise NoEncoder(f"its encoder runs {len(parts)} times in {len(logits)} passes")
        return torch.cat(logits), torch.cat(parts)

    def _try(self, classifier: Classifier, x: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return logits, tokens and grid of one image."""
        maps: list[tuple[int, int]] = []
        assert classifier.module is not None
        handles = [
            part.register_forward_hook(lambda _module, _args, answer: maps.append(tuple(answer.shape[-2:])))
            for part in classifier.module.modules()
            if isinstance(part, nn.Conv2d) and part.kernel_size == part.stride and part.stride[0] > 1
        ]
        try:
            logits, tokens = self.embed(classifier, x)
        finally:
            for handle in handles:
                handle.remove()
        if tokens.ndim != 3 or len(tokens) != len(x):
            raise NoEncoder(f"its encoder takes {tuple(tokens.shape)} for one image, not (1, tokens, width)")
        fitting = {grid for grid in maps if 0 <= tokens.shape[1] - grid[0] * grid[1] <= _MOST_PREFIX}
        if len(fitting) != 1:
            raise NoEncoder(f"no convolution cuts the image into the {tokens.shape[1]} tokens of its encoder")
        return logits, tokens, fitting.pop()

    def _check_patches(self, classifier: Classifier, x: Tensor) -> None:
        """Check that changing a patch changes its own token and no other."""
        (down, across), (height, width) = self.grid, x.shape[2:]
        count = down * across
        for patch in {0, count // 2, count - 1}:
            changed = x.clone()
            row, col = patch // across, patch % across
            rows = slice(row * height // down, (row + 1) * height // down)
            cols = slice(col * width // across, (col + 1) * width // across)
            changed[:, :, rows, cols] = 1 - changed[:, :, rows, cols].round()
            (_, first), (_, second) = self.embed(classifier, x), self.embed(classifier, changed)
            moved = (first - second).abs().amax(2)[0] > 0
            if moved.nonzero().flatten().tolist() not in ([self.prefix + patch], []):
                raise NoEncoder("its tokens see beyond their own patch, or stand in another order")

    def _check_order(self, asked: Classifier, plain: Tensor, tokens: Tensor) -> None:
        for order in (slice(None), torch.arange(tokens.shape[1] - self.prefix - 1, -1, -1)):
            turned = torch.cat([tokens[:, : self.prefix], tokens[:, self.prefix :][:, order]], 1)
            gap = float((asked.logits(turned[:, None]).to(plain.device) - plain).abs().max())
            if not gap <= _ROUNDING * max(float(plain.abs().max()), 1.0):
                raise NoEncoder(f"the scores depend on the order of its tokens, by {gap:.2g}")


class _Rest(nn.Module):
    """The module with the tokens that enter its encoder replaced; what comes before runs on an empty image."""

    def __init__(self, module: nn.Module, encoder: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.module, self.encoder = module, encoder
        self._blank = torch.zeros_like(x[:1])

    def forward(self, tokens: Tensor) -> Any:
        def replace(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            _refuse_more(args, kwargs)
            return (tokens[:, 0],), {}

        handle = self.encoder.register_forward_pre_hook(replace, with_kwargs=True)
        try:
            blank = self._blank.to(tokens.device, tokens.dtype)
            return self.module(blank.expand(len(tokens), -1, -1, -1))
        finally:
            handle.remove()


def _find(module: nn.Module) -> nn.Module:
    found = [part for part in module.modules() if isinstance(part, nn.TransformerEncoder)]
    for part in module.modules():
        if type(part).__module__ == "torchvision.models.vision_transformer" and type(part).__name__ == "Encoder":
            found.append(part.layers)  # type: ignore[arg-type] - positions are added before them
    if len(found) != 1:
        raise NoEncoder(f"{type(module).__name__} holds {len(found) or 'no'} encoders of PyTorch or torchvision")
    return found[0]


@contextmanager
def _listen(encoder: nn.Module, parts: list[Tensor]) -> Iterator[None]:
    """Collect the tokens that enter an encoder."""

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        parts.append(_refuse_more(args, kwargs).detach().clone())

    handle = encoder.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _refuse_more(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the tokens.

    Further arguments that would have to match them, such as a mask, are refused.
    """
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if len(given) != 1:
        raise NoEncoder("its encoder takes more than tokens, a mask perhaps")
    return given[0]


def _answers(asked: Classifier, tokens: Tensor) -> bool:
    if tokens.shape[1] == 0:
        return False
    try:
        return bool(asked.logits(tokens[:, None]).isfinite().all())
    except ModelError:
        return False
