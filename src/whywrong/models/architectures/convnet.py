"""A convolutional network with one vector per class, and five parts of a capsule network to switch on.

Source: Gu et al. 2021, arXiv 2103.15459, which asks which of these parts make a capsule network robust.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.base import CapsuleAnswer, CapsuleNet
from whywrong.models.architectures.capsnet import Transformations
from whywrong.models.architectures.routing import dynamic_routing, safe_length, squash, squashed_length
from whywrong.models.architectures.trunk import PrimaryCapsules


class ConvNet(CapsuleNet):
    """Network from convolutions to one vector per class.

    ``transform``: votes come from primary capsules by one matrix per (capsule, class), otherwise from one linear layer
    shared by all positions. ``routing``: votes are routed, otherwise averaged, which is average pooling. ``squash``:
    primary and class vectors are squashed. ``loss="margin"`` and ``decoder`` are the fourth and the fifth switch.
    """

    def __init__(self, plan: Architecture) -> None:
        super().__init__(plan)
        self.primary = PrimaryCapsules(plan, squashed=plan.squash and plan.transform)
        self.size = self.primary.size
        positions = self.size[0] * self.size[1]
        if plan.transform:
            self.transform: nn.Module = Transformations(
                "none", plan.types, positions, plan.classes, plan.primary, plan.dim
            )
        else:
            self.transform = nn.Linear(plan.types * plan.primary, plan.classes * plan.dim)

    def answer(self, x: Tensor, *, details: bool = False) -> CapsuleAnswer:
        primary = self.primary(x)
        votes = self._votes(primary)
        if self.plan.routing:
            sums, coupling = dynamic_routing(votes, self.plan.iterations)
        else:
            sums, coupling = votes.mean(1), votes.new_full(votes.shape[:3], 1 / votes.shape[1])
        return CapsuleAnswer(
            lengths=self._lengths(sums),
            caps=squash(sums) if self.plan.squash else sums,
            sums=sums,
            votes=votes,
            coupling=coupling,
            primary=primary.flatten(1, 2),
        )

    def view(self, x: Tensor, *, routed: bool = True, scaled: bool = False) -> Tensor:
        answer = self.answer(x)
        assert answer.votes is not None
        count = answer.votes.shape[1]
        sums, terms = answer.sums, (count / self.plan.classes if self.plan.routing else 1.0)
        if not routed:
            sums = answer.votes.mean(1) * terms
        return self.logits(self._lengths(sums / terms if scaled else sums))

    def logits(self, lengths: Tensor) -> Tensor:
        return super().logits(lengths) if self.plan.squash else lengths

    def _likelihood_loss(self, lengths: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.logits(lengths), y)

    def _lengths(self, sums: Tensor) -> Tensor:
        return squashed_length(sums) if self.plan.squash else safe_length(sums)

    def _votes(self, primary: Tensor) -> Tensor:
        if isinstance(self.transform, Transformations):
            return self.transform.votes(primary)
        features = torch.relu(primary.transpose(1, 2).flatten(2))  # (B, positions, types * d)
        return self.transform(features).unflatten(2, (self.plan.classes, self.plan.dim))
