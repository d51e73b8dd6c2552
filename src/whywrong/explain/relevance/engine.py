"""Propagate relevance from logits to pixels: one forward pass, and one backward pass per class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.relevance.linear_maps import LinearMap
from whywrong.explain.relevance.mode import RelevanceMode
from whywrong.explain.relevance.rules import Rules
from whywrong.explain.relevance.tape import Accounts, Tag, Tape, set_tag, tag_of
from whywrong.models.classifier import Classifier
from whywrong.models.containment import Contained


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """Relevance of pixels for one start.

    Attributes:
        pixels: (B, C, H, W), signed.
        start: (B,) float64, relevance of the logits, where the propagation starts.
        bias: (B,) float64, absorbed by constants, see :class:`~whywrong.explain.relevance.tape.Accounts`.
        softmax: (B,) float64, absorbed by the constant term of softmaxes.
        lost: (B,) float64 by call, if the pass was audited.
    """

    pixels: Tensor
    start: Tensor
    bias: Tensor
    softmax: Tensor
    lost: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """Relevance of all pixels together, (B,) float64."""
        return self.pixels.flatten(1).sum(1, dtype=torch.float64)

    @property
    def residual(self) -> Tensor:
        """Relevance that is neither in the map nor was absorbed by constants, (B,) float64."""
        return self.start - self.total - self.bias - self.softmax


class Propagation:
    """One forward pass of a batch, from which relevance is propagated any number of times.

    Must be made inside ``with classifier:`` and with at most :attr:`Classifier.batch_size` images.

    Args:
        classifier: Must grant access to its layers.
        x: (B, C, H, W), floating point, in [0, 1]; left untouched.
        rules: Rules of the propagation.
        audit: Whether to measure where relevance is lost; slower.

    Attributes:
        logits: (B, K), without a graph.
        last: The linear layer that computes the logits; None if another step does.
        transformer: Whether the model has attention or a layer normalisation.

    Raises:
        ModelError: A step of the model has no rule; the message names it.
        ModelRaisedError: The model raised.
    """

    def __init__(self, classifier: Classifier, x: Tensor, rules: Rules, *, audit: bool = False) -> None:
        pixels = x.detach().clone().requires_grad_()
        set_tag(pixels, Tag(raw=True, nonnegative=True, low=torch.zeros_like(x[:1]), high=torch.ones_like(x[:1])))
        zero = torch.zeros(len(x), dtype=torch.float64, device=classifier.device)
        self._tape = Tape(len(x), rules, Accounts(zero, zero), _names(classifier))
        with torch.enable_grad(), RelevanceMode(self._tape, audit=audit):
            self._logits = classifier.ask(pixels)
        self._classifier, self._pixels = classifier, pixels
        self.logits = self._logits.detach()
        self.last: LinearMap | None = tag_of(self._logits).source
        self.transformer = self._tape.transformer

    def relevance(self, start: Tensor, *, sign: int = 0) -> Relevance:
        """Propagate from the logits to the pixels.

        Args:
            start: (B, K). With ``sign`` 0, factors of the logits: relevance starts as ``start * logits``. Otherwise the
                relevance of the logits itself, shared by the last layer between contributions of one sign.
            sign: 1 for the contributions that raise a logit, -1 for those that lower it.
        """
        tape = self._tape
        accounts = tape.open_accounts()
        if self.last is not None:
            self.last.last, self.last.sign = sign != 0, sign
        with Contained():
            found = torch.autograd.grad(
                self._logits, self._pixels, start.to(self._logits), retain_graph=True, allow_unused=True
            )[0]
        self._classifier.backwards += len(start)
        self._classifier._passed()
        pixels = torch.zeros_like(self._pixels) if found is None else found
        began = start.double() if sign else start.double() * self.logits.double()
        return Relevance(
            pixels.detach(),
            began.sum(1).to(pixels.device),
            accounts.bias.to(pixels.device),
            accounts.softmax.to(pixels.device),
            accounts.lost(),
        )


def _names(classifier: Classifier) -> dict[int, str]:
    """Map the identity of each weight to the name of its layer."""
    module = classifier.module
    named = [] if module is None else module.named_parameters()
    return {id(weight): name.removesuffix(".weight") for name, weight in named}
