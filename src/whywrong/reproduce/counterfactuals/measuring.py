"""Measurements of the claims of sparse counterfactuals, each kind of search run once per call on all images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.metrics import mass_inside, pix90
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.maximize import Solver, maximize
from whywrong.models.classifier import Classifier
from whywrong.reproduce.counterfactuals.config import CounterfactualClaimConfig
from whywrong.reproduce.protocol import ClaimContext, LabelledImages
from whywrong.runs.labelled import LabelledSource


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Results of one kind of search, one value per image (N,), float64, as probabilities, shares or nats."""

    probability: np.ndarray
    log_probability: np.ndarray
    flipped: np.ndarray
    pix90: np.ndarray
    norm: np.ndarray
    inside: np.ndarray
    fill_gain: np.ndarray
    falls: np.ndarray


def answers(context: ClaimContext[CounterfactualClaimConfig], solver: Solver, p: float, steps: int) -> Answers:
    """Run one kind of search on all images, cached for claims that need the same."""
    of = (
        "counterfactuals",
        context.classifier.identity,
        (context.config.limit, context.config.scale, context.config.seed),
    )
    if (*of, solver, p, steps) not in context.cache:
        if of not in context.cache:
            context.cache[of] = targeted_images(context.classifier, context.data, context.config)
        context.cache[*of, solver, p, steps] = _measured(context, context.cache[of], solver, p, steps)
    return context.cache[*of, solver, p, steps]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images (B, C, H, W), targets (B,), keys (B,), masks (B, H, W) bool (all False if unknown)."""

    x: Tensor
    target: Tensor
    keys: Tensor
    mask: Tensor


def targeted_images(classifier: Classifier, data: LabelledImages, config: CounterfactualClaimConfig) -> list[Batch]:
    """Read the first images, each with a target other than its predicted class."""
    batches: list[Batch] = []
    left = config.limit
    for x, mask, ids in _masked(classifier, data):
        logits, faults = classifier.logits_or_faults(x)
        good = [row for row in range(len(x)) if row not in faults][:left]
        if not good:
            continue
        keys = item_keys(config.seed, [ids[row] for row in good], "counterfactuals")
        draw = keyed_uniform(keys, (1,))[:, 0]
        others = logits.shape[1] - 1
        offset = 1 + (draw * others).long().clamp_max(others - 1)
        target = (logits[good].argmax(1) + offset.to(logits.device)).remainder(logits.shape[1])
        batches.append(Batch(x[good].clamp(0, 1), target, keys.to(x.device), mask[good]))
        left -= len(good)
        if left <= 0:
            break
    return batches


def _masked(classifier: Classifier, data: LabelledImages) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Yield images, masks of their objects (all False if unknown), and item ids."""
    if isinstance(data, LabelledSource):
        for x, _, items in data.read(classifier, data.settle(classifier)):
            nothing = np.zeros(x.shape[-2:], dtype=bool)
            masks = np.stack([nothing if item.mask is None else item.mask for item in items])
            yield x.to(classifier.device), torch.from_numpy(masks), [item.entry.item_id for item in items]
        return
    masks = getattr(data, "masks", None)  # (N, H, W) bool, for images in memory
    start = 0
    for x, _, ids in data.batches(classifier):
        rows = slice(start, start + len(x))
        nothing = torch.zeros((len(x), *x.shape[2:]), dtype=torch.bool)
        yield x, nothing if masks is None else masks[rows], [str(name) for name in ids]
        start += len(x)


def _measured(
    context: ClaimContext[CounterfactualClaimConfig], batches: list[Batch], solver: Solver, p: float, steps: int
) -> Answers:
    stage, total = f"{solver}, p = {p:g}, {steps} steps", sum(len(batch.x) for batch in batches)
    parts: list[list[Tensor]] = []
    done = 0
    with context.classifier:
        objective = ClassObjective(context.classifier)
        for batch in batches:
            eps = context.config.scale * default_radius(p, batch.x[0].numel())
            found = maximize(
                objective, batch.x, batch.target, p=p, eps=eps, steps=steps, solver=solver, keys=batch.keys
            )
            domain = Domain.around(
                batch.x, torch.full((len(batch.x),), eps, dtype=torch.float64, device=batch.x.device), p
            )
            filled = objective.value(domain.filled(found.z), batch.target)[0]
            best = torch.nan_to_num(found.trajectory, nan=-math.inf).cummax(1).values
            parts.append(
                [
                    found.value.exp(),
                    found.value,
                    found.logits.argmax(1) == batch.target,
                    pix90(batch.x, found.z),
                    found.norm / eps,
                    mass_inside(batch.x, found.z, batch.mask.to(batch.x.device)),
                    filled - found.value,
                    found.value < best[:, -1] - 1e-4 * (1 + best[:, -1].abs()),
                ]
            )
            done += len(batch.x)
            context.report_progress(stage, done, total, context.classifier.forwards)
    if not parts:
        return Answers(*[np.zeros(0)] * 8)
    return Answers(*(torch.cat(column).cpu().double().numpy() for column in zip(*parts, strict=True)))
