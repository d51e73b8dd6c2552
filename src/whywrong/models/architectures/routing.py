"""Squash and route capsules, as plain functions of tensors.

``B`` images, ``N`` primary capsules, ``K`` class capsules of ``D`` numbers each. All results are float32, also under
automatic mixed precision, since half precision loses the small lengths.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whywrong.core.errors import InputError

EPS = 1e-9  # below every squared length that float32 keeps apart from 0 after squashing


def squash(s: Tensor, dim: int = -1) -> Tensor:
    """Shorten vectors to a length below 1 and keep their direction.

    A vector of length n gets the length n^2 / (1 + n^2). A zero vector stays zero, with a finite gradient.

    Source: Sabour et al. 2017, arXiv 1710.09829, equation 1; the guard at zero is ours.
    """
    s = s.float()
    square = s.square().sum(dim, keepdim=True)
    return s * (square / (1 + square)) * torch.rsqrt(square + EPS)


def squashed_length(s: Tensor) -> Tensor:
    """Compute the length that vectors (..., D) have after :func:`squash`.

    Returns (...) in [0, 1). It is n^2 / (1 + n^2) directly, without the square root whose gradient is infinite at 0.
    """
    square = s.float().square().sum(-1)
    return square / (1 + square)


def safe_length(s: Tensor) -> Tensor:
    """Compute lengths of vectors (..., D), with gradient 0 at the zero vector."""
    square = s.float().square().sum(-1)
    return (square + EPS).sqrt() - math.sqrt(EPS)


def log_share(lengths: Tensor) -> Tensor:
    """Compute the logarithm of each length (B, K) divided by the sum of all.

    Its softmax is the share itself. A dead capsule counts 1e-12, so that every value is finite.

    Source: code of Gu et al. 2021, arXiv 2102.10055.
    """
    lengths = lengths.clamp_min(1e-12)
    return lengths.log() - lengths.sum(1, keepdim=True).log()


def dynamic_routing(votes: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Route votes to class capsules by agreement.

    The update after the last iteration is left out, since nothing depends on it. Gradients pass through the coupling.

    Args:
        votes: (B, N, K, D).
        iterations: r, at least 1; 1 couples every capsule with all classes equally.

    Returns:
        Sums s (B, K, D) before squashing; coupling (B, N, K), which sums to 1 over the classes.

    Raises:
        InputError: ``iterations`` is below 1, or there are no votes.

    Source: Sabour et al. 2017, arXiv 1710.09829, procedure 1.
    """
    _check(votes, iterations)
    votes = votes.float()
    agreement = votes.new_zeros(votes.shape[:3])
    coupling, s = agreement, votes
    for step in range(iterations):
        coupling = agreement.softmax(2)
        s = torch.einsum("bnk,bnkd->bkd", coupling, votes)
        if step + 1 < iterations:
            agreement = agreement + torch.einsum("bnkd,bkd->bnk", votes, squash(s))
    return s, coupling


def em_routing(
    votes: Tensor, activation: Tensor, beta_use: Tensor, beta_activate: Tensor, iterations: int, *, rate: float = 1e-2
) -> tuple[Tensor, Tensor, Tensor]:
    """Route votes to class capsules by expectation maximisation.

    Args:
        votes: (B, N, K, D), poses that each capsule predicts.
        activation: (B, N) in [0, 1], activations of the primary capsules.
        beta_use: (K,), cost of describing one unit of votes.
        beta_activate: (K,), cost of leaving a capsule inactive.
        iterations: At least 1.
        rate: Inverse temperature of the first iteration, grows linearly: ``rate * (step + 1)`` is applied to the
            costs, which grow with N.

    Returns:
        Poses (B, K, D); activations (B, K) in (0, 1); assignment (B, N, K), which sums to 1 over the classes.

    Raises:
        InputError: ``iterations`` is below 1, or there are no votes.

    Source: Hinton et al. 2018, "Matrix capsules with EM routing", procedure 1; the schedule is ours.
    """
    _check(votes, iterations)
    votes, activation = votes.float(), activation.float()
    assignment = votes.new_full(votes.shape[:3], 1 / votes.shape[2])
    pose, active = votes[:, 0], beta_use
    for step in range(iterations):
        weight = assignment * activation[:, :, None]
        total = weight.sum(1) + EPS  # (B, K)
        pose = torch.einsum("bnk,bnkd->bkd", weight, votes) / total[:, :, None]
        distance = (votes - pose[:, None]).square()  # (B, N, K, D)
        variance = torch.einsum("bnk,bnkd->bkd", weight, distance) / total[:, :, None] + 1e-6
        cost = (beta_use[:, None] + 0.5 * variance.log()).sum(2) * total
        logit = rate * (step + 1) * (beta_activate - cost)
        active = logit.sigmoid()
        if step + 1 < iterations:
            log_p = -0.5 * (distance / variance[:, None] + (2 * math.pi * variance[:, None]).log()).sum(3)
            assignment = (log_p + torch.nn.functional.logsigmoid(logit)[:, None]).softmax(2)
    return pose, active, assignment


def _check(votes: Tensor, iterations: int) -> None:
    if iterations < 1:
        raise InputError(f"routing needs at least 1 iteration, got {iterations}")
    if votes.ndim != 4 or 0 in votes.shape[1:]:
        raise InputError(
            f"votes must be (images, capsules, classes, numbers), none of them 0; got {tuple(votes.shape)}"
        )
