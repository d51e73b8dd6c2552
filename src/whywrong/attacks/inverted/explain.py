"""Explain a fix by the pixels that contribute to it and the regions it needs.

Source: ours, docs/methods/inverted.md. The location of a fix shows where the model is sensitive, for any class; it is
no evidence that the location caused the error. Explanations by location are tested by
:mod:`whywrong.explain.covering`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.contribution import contribution, object_lift
from whywrong.attacks.inverted.region_fix import margin_gradient, region_fix
from whywrong.attacks.inverted.regions import list_regions
from whywrong.attacks.inverted.result import ExplainedFix
from whywrong.attacks.inverted.segments import paint, superpixels
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier


def explain_fix(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    delta: Tensor,
    *,
    rows: Tensor,
    masks: Tensor | None,
    config: InvertedConfig,
) -> ExplainedFix:
    """Explain fixes by contribution and regions.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images in [0, 1].
        y: (B,), int64, true classes.
        delta: (B, C, H, W), changes such that ``x + delta`` is predicted as ``y``.
        rows: (B,), int64, their rows in the batch of the caller.
        masks: (B, H, W), bool, the object, all False if unknown; None if none is known.
        config: Settings.

    Returns:
        One explanation per row, with its cost. Rows do not depend on each other.
    """
    with classifier:
        logits, margin, gradient = margin_gradient(classifier, x, y)
        after = error_margin(classifier.logits(x + delta), y)
        added = contribution(
            classifier,
            x,
            y,
            delta,
            margin,
            after,
            halvings=config.halvings,
            tolerance=config.completeness,
        )
        segments = superpixels(x, most=config.segments)
        scale = logits.abs().amax(1)
        confined = region_fix(classifier, x, y, segments, margin, gradient, scale, config=config)
        listed = list_regions(classifier, x, y, delta, added.map, segments, masks, config=config)
    lift, lift_p = object_lift(added.map, torch.zeros_like(x[:, 0], dtype=torch.bool) if masks is None else masks)
    mask = paint(confined.chosen, segments)
    change = confined.delta.flatten(1)
    return ExplainedFix(
        row=rows,
        contribution=added.map,
        contribution_residual=added.residual,
        segments=segments,
        region_fixed=confined.fixed,
        region_mask=mask,
        region_fix=x + confined.delta,
        region_count=confined.chosen.sum(1),
        region_area=mask.float().mean((1, 2)).where(confined.fixed, torch.nan),
        region_l2=change.norm(dim=1),
        region_linf=change.abs().amax(1),
        regions=listed.regions,
        object_lift=lift,
        object_lift_p=lift_p,
        forwards=2 + added.forwards + confined.forwards + listed.forwards,  # 2: the image and its fix
        backwards=1 + added.backwards + confined.backwards,
    )
