"""Matrix capsules with EM routing between primary and class capsules (Hinton et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.base import CapsuleAnswer, CapsuleNet
from whywrong.models.architectures.routing import em_routing, log_share
from whywrong.models.architectures.trunk import Trunk

_SIDE = 4  # of a pose matrix


class EMCapsNet(CapsuleNet):
    """Capsule network whose capsules are 4 x 4 poses with an activation.

    Transformations are shared over positions, one 4 x 4 matrix per (type, class). One capsule layer follows the primary
    capsules, since deeper stacks of capsules die in training (arXiv 2305.11178).
    """

    def __init__(self, plan: Architecture) -> None:
        if (plan.primary, plan.dim) != (_SIDE**2, _SIDE**2):
            raise InputError(
                f"emcapsnet has poses of 4 x 4 numbers: set primary=16 and dim=16, got primary={plan.primary} and "
                f"dim={plan.dim}"
            )
        super().__init__(plan)
        self.trunk = Trunk(plan, plan.types * (_SIDE**2 + 1))
        self.size = self.trunk.size
        noise = 0.1 * torch.randn(plan.types, plan.classes, _SIDE, _SIDE)
        self.weight = nn.Parameter(torch.eye(_SIDE) + noise)
        self.beta_use, self.beta_activate = (
            nn.Parameter(torch.zeros(plan.classes)),
            nn.Parameter(torch.zeros(plan.classes)),
        )
        self.iterations = plan.iterations

    def answer(self, x: Tensor, *, details: bool = False) -> CapsuleAnswer:
        grouped = self.trunk(x).unflatten(1, (self.plan.types, -1)).flatten(3).transpose(2, 3).float()
        pose, activation = grouped[..., :-1], grouped[..., -1].sigmoid()
        votes = torch.einsum("btpij,tkjl->btpkil", pose.unflatten(3, (_SIDE, _SIDE)), self.weight)
        votes = votes.flatten(4).flatten(1, 2)
        caps, active, assignment = em_routing(
            votes, activation.flatten(1), self.beta_use, self.beta_activate, self.iterations, rate=1 / votes.shape[1]
        )
        return CapsuleAnswer(
            lengths=active,
            caps=caps,
            sums=caps,
            votes=votes,
            coupling=assignment,
            primary=pose.flatten(1, 2),
        )

    def logits(self, lengths: Tensor) -> Tensor:
        return log_share(lengths)
