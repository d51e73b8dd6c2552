"""From a fix to an explanation: where it acts and which regions it needs.

Source: ours, docs/methods/inverted.md. Where a fix lies shows where the model is sensitive, for any class: it is no
evidence that the place caused the error. Explanations of a place are tested by :mod:`whywrong.explain.covering`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.contribution import contribution, object_lift
from whywrong.attacks.inverted.region_fix import margin_gradient, region_fix
from whywrong.attacks.inverted.regions import list_regions
from whywrong.attacks.inverted.segments import paint, superpixels
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedFix:
    """Explanations of fixes, one row an image. Changes are in units of the [0, 1] pixel range, areas shares of it.

    Attributes:
        contribution: (B, H, W), logits by which each pixel of the fix lowered the error margin; negative where it
            worked against the fix. Sums to the fall of the margin.
        contribution_residual: (B,), what that sum misses, as a share of the fall.
        segments: (B, H, W), int64, the superpixels.
        region_fixed: (B,), bool, whether a fix confined to few superpixels was found.
        region_mask: (B, H, W), bool, the superpixels of the region fix; all False where there is none.
        region_fix: (B, C, H, W), the image fixed inside them; NaN where there is none.
        region_count: (B,), int64, superpixels of the region fix; 0 where there is none.
        region_area: (B,), share of the image; NaN where there is none.
        region_l2: (B,), l2 norm of the change; NaN where there is none.
        region_linf: (B,), linf norm of the change; NaN where there is none.
        regions: B lists of the superpixels that carry most of the fix, see :func:`list_regions`.
        object_lift: (B,), share of the contribution on the object, divided by the object's share of the area; NaN
            where no object is known.
        object_lift_p: (B,), two-sided p-value from circular shifts of the object.
        forwards: (B,), int64, times each image went through the classifier.
        backwards: (B,), int64, times it was differentiated through it.
    """

    contribution: Tensor
    contribution_residual: Tensor
    segments: Tensor
    region_fixed: Tensor
    region_mask: Tensor
    region_fix: Tensor
    region_count: Tensor
    region_area: Tensor
    region_l2: Tensor
    region_linf: Tensor
    regions: list[list[dict[str, Any]]]
    object_lift: Tensor
    object_lift_p: Tensor
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """The scalars and lists, by the names of view ``inverted``."""
        names = (
            "region_fixed region_count region_area region_l2 region_linf regions contribution_residual object_lift "
            "object_lift_p"
        )
        return {name: getattr(self, name) for name in names.split()}

    def maps(self) -> Mapping[str, Tensor]:
        """``contribution`` and ``region_mask`` (B, H, W), ``region_fix`` (B, C, H, W); NaN where there is none."""
        mask = torch.where(self.region_fixed.view(-1, 1, 1), self.region_mask.float(), torch.nan)
        return {"contribution": self.contribution, "region_mask": mask, "region_fix": self.region_fix}


def explain_fix(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    delta: Tensor,
    *,
    masks: Tensor | None,
    config: InvertedConfig,
) -> ExplainedFix:
    """Explain fixes that were found: contribution and regions.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images in [0, 1].
        y: (B,), int64, true classes.
        delta: (B, C, H, W), changes with which the classifier reads ``x + delta`` as ``y``.
        masks: (B, H, W), bool, the object, all False where unknown; None where none is known.
        config: Settings.

    Returns:
        One explanation a row, with what it cost. Rows do not depend on each other.
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
