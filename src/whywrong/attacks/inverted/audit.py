"""Is a fix more than adversarial noise? Three controls, and the grade they give.

Class control: the true class is nearer than other classes are. Random control: noise of the same size does not do the
same. Small-noise control: noise of the same size does not undo it.

Source: inverted attack, section 3.6. The grade follows the controls that ran; rounding to 8 bit does not gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.core.margins import error_margin
from whywrong.core.randomness import keyed_bits, keyed_normal
from whywrong.models.classifier import Classifier

GRADES = ("meaningful", "mixed", "noise-like")
CHECKS = ("class", "random", "small_noise")
_RANDOM_DRAWS_FROM = 1 << 20  # streams of their own, apart from those of the attack
_NOISE_DRAWS_FROM = 2 << 20
_BITS = 60


@dataclass(frozen=True, slots=True, eq=False)
class ClassDistances:
    """First-order l2 distances from the images to classes.

    Attributes:
        margin: (B,), error margin of the images, logits.
        gradient: (B, C, H, W), its gradient with respect to the pixels.
        scale: (B,), largest absolute logit.
        rank: (B,), int64, of the true class by distance, 1 the nearest.
        ranked: (B,), int64, classes ranked, the true one among them.
        ratio: (B,), distance to the true class divided by the median of the others; NaN where there are none.
        forwards: (B,), int64.
        backwards: (B,), int64.
    """

    margin: Tensor
    gradient: Tensor
    scale: Tensor
    rank: Tensor
    ranked: Tensor
    ratio: Tensor
    forwards: Tensor
    backwards: Tensor


def class_distances(classifier: Classifier, x: Tensor, y: Tensor, others: int = 10) -> ClassDistances:
    """How near the true class is, next to the ``others`` highest-scoring classes that are neither it nor predicted.

    The distance to class j is that of the targeted linear step, ``m_j / ||grad m_j||_2`` with ``m_j`` the margin by
    which the predicted class leads j: for the true class it is the first-order estimate of the fix. One forward and
    ``1 + others`` backward passes an image (fewer where there are fewer classes).

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images.
        y: (B,), int64, true classes.
        others: Classes besides the true one; at most K - 2.

    Returns:
        Ranks and ratios, with margin and gradient of the true class, which others need.
    """
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for truth, images in zip(y.split(classifier.batch_size), x.split(classifier.batch_size), strict=True):

        def leads(logits: Tensor, rows: slice, truth: Tensor = truth) -> Tensor:
            target = _targets(logits, truth[rows], others)
            return logits.amax(1, keepdim=True) - logits.gather(1, target)

        # One chunk at a time: the gradients to all classes of a whole batch would not fit into memory.
        logits, lead, gradients = classifier.gradient(images, leads)
        norm = gradients.flatten(2).norm(dim=2)
        parts.append((lead, norm, gradients[:, 0].clone(), logits.abs().amax(1)))
    lead, norm, gradient, scale = (torch.cat(column) for column in zip(*parts, strict=True))
    distance = lead / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    rank = 1 + (distance[:, 1:] < distance[:, :1]).sum(1)
    ranked = torch.full_like(rank, distance.shape[1])
    if distance.shape[1] > 1:
        ratio = distance[:, 0] / distance[:, 1:].quantile(0.5, dim=1)
    else:
        ratio = torch.full_like(lead[:, 0], torch.nan)
    return ClassDistances(lead[:, 0], gradient, scale, rank, ranked, ratio, torch.ones_like(ranked), ranked)


def _targets(logits: Tensor, y: Tensor, others: int) -> Tensor:
    """(B, 1 + R) int64: the true class, then the highest-scoring others, without the predicted class."""
    hidden = logits.detach().scatter(1, y[:, None], -torch.inf)
    hidden = hidden.scatter(1, hidden.argmax(1, keepdim=True), -torch.inf)
    count = min(others, logits.shape[1] - 2)
    return torch.cat([y[:, None], hidden.topk(count, dim=1).indices], 1)


def random_rate(classifier: Classifier, x: Tensor, y: Tensor, delta: Tensor, keys: Tensor, draws: int) -> Tensor:
    """(B,): share of ``draws`` random-sign changes, as large as the fix in linf, that fix the image too.

    One forward pass a draw and image.
    """
    radius = delta.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    hits = torch.zeros(len(x), device=x.device)
    bits = torch.empty(0)
    for draw in range(draws):
        if draw % _BITS == 0:  # one random integer a pixel serves many draws, one bit each
            bits = keyed_bits(keys, x.shape[1:], _RANDOM_DRAWS_FROM + draw // _BITS)
        noise = radius * ((bits >> draw % _BITS & 1) * 2 - 1)
        hits += error_margin(classifier.logits((x + noise).clamp(0, 1)), y) < 0
    return hits / draws


def small_noise_rate(
    classifier: Classifier, x: Tensor, y: Tensor, delta: Tensor, keys: Tensor, *, config: InvertedConfig
) -> Tensor:
    """(B,): share of ``noise_draws`` in which the fix survives normal noise of deviation ``noise_sigma``.

    The default deviation is one grey level: less than what a camera adds and an eye sees, so a fix that it undoes
    tells about these exact pixel values and not about the picture. A minimal fix ends on the boundary, where any noise
    undoes it every other time, whatever the fix is worth; it is therefore taken ``beyond`` further first. Along a
    smooth way to the true class the noise is nearly orthogonal to the fix and changes little; it undoes a fix that
    leads through a crack in the decision, or that is far smaller than a grey level, and then the image is nearer to a
    tie than its pixels are exact.

    One forward pass a draw and image.
    """
    at = (x + (1 + config.beyond) * delta).clamp(0, 1)
    kept = torch.zeros(len(x), device=x.device)
    for draw in range(config.noise_draws):
        noise = config.noise_sigma * keyed_normal(keys, x.shape[1:], _NOISE_DRAWS_FROM + draw)
        kept += error_margin(classifier.logits((at + noise).clamp(0, 1)), y) < 0
    return kept / config.noise_draws


def grade_fixes(
    ratio: Tensor, random: Tensor, small_noise: Tensor, config: InvertedConfig
) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """The controls that ran, those that passed, and the grade, row by row.

    ``meaningful`` where all that ran pass, ``noise-like`` where at most one passes, else ``mixed``. The class control
    cannot run with fewer than three classes.
    """
    ran = torch.stack([~ratio.isnan(), ~random.isnan(), ~small_noise.isnan()], 1)
    good = torch.stack([ratio < 1, random <= config.random_limit, small_noise >= config.noise_limit], 1) & ran
    checks_ran = [[name for name, did in zip(CHECKS, row, strict=True) if did] for row in ran.tolist()]
    passed = [[name for name, did in zip(CHECKS, row, strict=True) if did] for row in good.tolist()]
    grades = [
        "meaningful" if len(won) == len(all_) and len(won) > 1 else "noise-like" if len(won) <= 1 else "mixed"
        for all_, won in zip(checks_ran, passed, strict=True)
    ]
    return checks_ran, passed, grades
