"""What one propagation keeps: its rules, what constants absorbed, and where relevance was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from whywrong.explain.relevance.linear_maps import LinearMap
from whywrong.explain.relevance.rules import Rules


@dataclass(slots=True, eq=False)
class Accounts:
    """Relevance that constants absorbed in one backward pass, per image.

    Attributes:
        bias: (B,) float64, absorbed by biases, shifts, position embeddings and constant tokens.
        softmax: (B,) float64, absorbed by the constant terms of softmaxes (AttnLRP).
        absorbed: (B,) float64 by call, the sum of both, if the pass is audited.
        missed: (B,) float64 by call, relevance of the outputs less that of the inputs, if the pass is audited.
    """

    bias: Tensor
    softmax: Tensor
    absorbed: dict[str, Tensor] = field(default_factory=dict)
    missed: dict[str, Tensor] = field(default_factory=dict)

    def lost(self) -> dict[str, Tensor]:
        """Return the relevance that was lost or made at each call of an audited pass, (B,) float64."""
        return {
            call: missed - self.absorbed[call] if call in self.absorbed else missed
            for call, missed in self.missed.items()
        }


@dataclass(slots=True, eq=False)
class Tape:
    """One forward pass that prepares a propagation.

    Attributes:
        batch: Number of images B.
        rules: Rules of the propagation.
        accounts: Accounts of the backward pass under way.
        names: Names of layers by the identity of their weights.
        latest: Name of the latest layer with weights, to say where another function was called.
        call: Name of the call under way.
        transformer: Whether attention or a layer normalisation was seen.
        audited: Whether relevance is booked by call as well.
    """

    batch: int
    rules: Rules
    accounts: Accounts
    names: dict[int, str]
    latest: str = "the pixels"
    call: str = ""
    transformer: bool = False
    audited: bool = False

    def open_accounts(self) -> Accounts:
        """Start the accounts of the next backward pass."""
        zero = torch.zeros_like(self.accounts.bias)
        self.accounts = Accounts(zero, zero.clone())
        return self.accounts

    def label(self, weight: Tensor) -> str:
        """Return the name of the layer with these weights; of the latest one if they are computed."""
        found = self.names.get(id(weight))
        self.latest = found or self.latest
        return found or f"a layer after {self.latest}"

    def per_image(self, values: Tensor) -> Tensor:
        """Sum values over all but the images, (B,) float64; images come first, windows of an image together.

        Returns zeros if the first axis holds no images; the conservation check then reports the difference.
        """
        if values.ndim == 0 or len(values) % self.batch:
            return torch.zeros_like(self.accounts.bias)
        values = values.detach()
        if len(values) > self.batch:
            values = values.unflatten(0, (self.batch, -1))
        # Torch sums in pairs, which keeps the precision; without a reshape, which would copy other memory layouts.
        return (values.sum(tuple(range(1, values.ndim))) if values.ndim > 1 else values).double()

    def absorb(self, call: str, values: Tensor, *, softmax: bool = False) -> None:
        """Book relevance as absorbed by constants, given per output."""
        accounts, found = self.accounts, self.per_image(values)
        if softmax:
            accounts.softmax = accounts.softmax + found
        else:
            accounts.bias = accounts.bias + found
        if self.audited:
            accounts.absorbed[call] = accounts.absorbed[call] + found if call in accounts.absorbed else found


@dataclass(slots=True, eq=False)
class Tag:
    """What is known of a tensor of the forward pass.

    Attributes:
        raw: Whether it holds pixels, rearranged or rescaled at most; its gradient is relevance itself.
        nonnegative: Whether its values cannot be negative.
        low, high: For pixels, the values that black and white pixels would have, in the same shape or for one image.
        source: The layer with weights that computed it; None if another function did.
        closed: Name of the layer whose batch normalisation was folded in; its own output may not be read any more.
    """

    raw: bool = False
    nonnegative: bool = False
    low: Tensor | None = None
    high: Tensor | None = None
    source: LinearMap | None = None
    closed: str = ""


_PLAIN = Tag()


def tag_of(tensor: Tensor) -> Tag:
    """Return the tag of a tensor."""
    return getattr(tensor, "_whywrong_relevance", _PLAIN)


def set_tag(tensor: Tensor, tag: Tag) -> Tensor:
    """Attach a tag to a tensor and return the tensor."""
    tensor._whywrong_relevance = tag  # type: ignore[attr-defined]
    return tensor
