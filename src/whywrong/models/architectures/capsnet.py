"""CapsNet with dynamic routing, and Aff-CapsNet, which shares transformations and does not route.

Sources: Sabour et al. 2017, arXiv 1710.09829; Gu and Tresp 2020, arXiv 1911.07968.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.base import CapsuleAnswer, CapsuleNet
from whywrong.models.architectures.routing import dynamic_routing, squash, squashed_length
from whywrong.models.architectures.trunk import PrimaryCapsules


class Transformations(nn.Module):
    """Matrices from primary to class capsules, one per (capsule, class), (type, class) or class.

    Args:
        share: ``none``, ``position`` or ``all``.
        types: Types of primary capsules.
        positions: Positions of each type.
        classes: K.
        primary: d.
        dim: D.
    """

    def __init__(self, share: str, types: int, positions: int, classes: int, primary: int, dim: int) -> None:
        super().__init__()
        self.groups = {"none": (types, positions), "position": (types, 1), "all": (1, 1)}[share]
        self.sizes, self.count = (classes, dim), types * positions
        alone = math.prod(self.groups)
        # Three axes: torch changes the memory layout of weights with four or five, as if they were convolutions.
        self.weight = nn.Parameter(torch.empty(alone, classes * dim, primary))
        # Sums of about the length of one primary capsule, so that squashing neither kills nor saturates them at first;
        # votes by one matrix add up in step, others as a random walk.
        nn.init.normal_(self.weight, std=classes * math.sqrt(alone / dim) / self.count)

    def votes(self, primary: Tensor) -> Tensor:
        """Compute votes (B, N, K, D) of primary capsules (B, types, positions, d)."""
        weight = self.weight.unflatten(0, self.groups).expand(*primary.shape[1:3], -1, -1)
        return torch.einsum("btpe,tpfe->btpf", primary, weight).flatten(1, 2).unflatten(2, self.sizes)

    def total(self, primary: Tensor) -> Tensor:
        """Compute the sum of all votes (B, K, D) without making them.

        Capsules that share a matrix are added first, as the sum of W u is W times the sum of u.
        """
        for axis, count in enumerate(self.groups, start=1):
            if count == 1:
                primary = primary.sum(axis, keepdim=True)
        return torch.einsum("bge,gfe->bf", primary.flatten(1, 2), self.weight).unflatten(1, self.sizes)


class CapsNet(CapsuleNet):
    """Capsule network with dynamic routing; Aff-CapsNet if transformations are shared and r is 1."""

    def __init__(self, plan: Architecture) -> None:
        super().__init__(plan)
        self.primary = PrimaryCapsules(plan)
        self.size = self.primary.size
        positions = self.size[0] * self.size[1]
        self.transform = Transformations(plan.share, plan.types, positions, plan.classes, plan.primary, plan.dim)
        self.iterations = plan.iterations

    def answer(self, x: Tensor, *, details: bool = False) -> CapsuleAnswer:
        primary = self.primary(x)
        if self.iterations == 1 and not details:
            sums, votes, coupling = self.transform.total(primary) / self.plan.classes, None, None
        else:
            votes = self.transform.votes(primary)
            sums, coupling = dynamic_routing(votes, self.iterations)
        return CapsuleAnswer(
            lengths=squashed_length(sums),
            caps=squash(sums),
            sums=sums,
            votes=votes,
            coupling=coupling,
            primary=primary.flatten(1, 2),
        )

    def view(self, x: Tensor, *, routed: bool = True, scaled: bool = False) -> Tensor:
        factor = self.plan.classes / self.transform.count if scaled else 1.0  # uniform coupling sums 1 / K of each vote
        if routed:
            return self.logits(squashed_length(self.answer(x).sums * factor))
        return self.logits(squashed_length(self.transform.total(self.primary(x)) / self.plan.classes * factor))
