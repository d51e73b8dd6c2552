"""GraCapsNet, in which attention over a graph of positions replaces routing (Gu 2021, arXiv 2012.01674)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.base import CapsuleAnswer, CapsuleNet
from whywrong.models.architectures.routing import squash, squashed_length
from whywrong.models.architectures.trunk import PrimaryCapsules

_CODE_SIGMA, _SIGMA = 0.01, 0.1


def normalised_adjacency(height: int, width: int, graph: str) -> Tensor:
    """Compute the normalised adjacency (P, P) of the positions of a map, in rows.

    An entry is exp(-distance / (pi sigma)^2). ``code`` repeats the published code, sigma 0.01 and distances in steps:
    all entries off the diagonal underflow to 0, and the identity remains. ``grid`` divides distances by the longer
    side and takes sigma 0.1, so that neighbours share 0.485 on a map of 14 x 14.

    Returns D^(-1/2) (A with self-loops) D^(-1/2), degrees of at least 1.
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows, columns], -1).reshape(-1, 2).float() + 1
    place, sigma = (place, _CODE_SIGMA) if graph == "code" else (place / max(height, width), _SIGMA)
    adjacency = torch.exp(-torch.cdist(place, place) / (math.pi * sigma) ** 2)
    adjacency.fill_diagonal_(1)
    scale = adjacency.sum(1).clamp_min(1).rsqrt()
    return scale[:, None] * adjacency * scale


class GraCapsNet(CapsuleNet):
    """Capsule network with multi-head attention pooling, one head per type of primary capsules."""

    adjacency: Tensor

    def __init__(self, plan: Architecture) -> None:
        super().__init__(plan)
        self.primary = PrimaryCapsules(plan)
        self.size = self.primary.size
        positions = self.size[0] * self.size[1]
        published = plan.layout == "published"
        bound = 1 / math.sqrt(plan.types * positions) if published else 1.0  # lengths of 1e-4 start slowly
        self.weight = nn.Parameter(torch.empty(plan.types * positions, plan.primary, plan.dim).uniform_(-bound, bound))
        spread = 10.0 if published else 1.0  # from 10 on the softmax starts saturated
        self.attend = nn.Parameter(torch.empty(plan.dim, plan.classes).uniform_(-spread, spread))
        self.bias = nn.Parameter(torch.zeros(plan.classes))  # part of the published network; cancels in the softmax
        adjacency = normalised_adjacency(*self.size, plan.graph)
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.heads = plan.classes if plan.graph == "code" else plan.types  # the published code divides by K

    def answer(self, x: Tensor, *, details: bool = False) -> CapsuleAnswer:
        primary = self.primary(x)
        nodes = torch.einsum("bne,ned->bnd", primary.flatten(1, 2), self.weight).unflatten(1, primary.shape[1:3])
        near = torch.einsum("pq,btqd->btpd", self.adjacency, nodes)
        attention = (near @ self.attend + self.bias).softmax(2)
        sums = torch.einsum("btpk,btpd->bkd", attention, nodes) / self.heads
        return CapsuleAnswer(
            lengths=squashed_length(sums),
            caps=squash(sums),
            sums=sums,
            primary=primary.flatten(1, 2),
            attention=attention,
        )

    def attention_map(self, x: Tensor, classes: Tensor) -> Tensor:
        """Compute where the network looks for classes (B,) int64.

        Returns (B, h, w), mean over the heads; each map sums to 1.
        """
        attention = self.answer(x).attention
        assert attention is not None
        mean = attention.mean(1)
        return mean.gather(2, classes[:, None, None].expand(-1, mean.shape[1], 1)).squeeze(2).unflatten(1, self.size)
