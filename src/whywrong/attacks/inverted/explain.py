"""From a fix to an explanation: where it acts, which regions it needs, and whether it is more than noise.

Source: inverted attack, sections 2.4, 3.3, 3.5 and 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.attacks.inverted.audit import class_distances, grade_fixes, random_rate, small_noise_rate
from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.contribution import contribution, object_lift
from whywrong.attacks.inverted.region_fix import region_fix
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
        rank_of_true_label: (B,), int64, of the true class by first-order distance, 1 the nearest.
        rank_of: (B,), int64, classes ranked.
        distance_ratio: (B,), distance to the true class over the median of the others; NaN where there are none.
        random_rate: (B,), share of random changes as large as the fix (linf) that fix the image too.
        small_noise_rate: (B,), share of draws of small noise under which the fix survives.
        checks_ran: B lists of names of controls.
        checks_passed: B lists of names of controls.
        grade: B of ``meaningful``, ``mixed``, ``noise-like``.
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
    rank_of_true_label: Tensor
    rank_of: Tensor
    distance_ratio: Tensor
    random_rate: Tensor
    small_noise_rate: Tensor
    checks_ran: list[list[str]]
    checks_passed: list[list[str]]
    grade: list[str]
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """The scalars and lists, by the names of view ``inverted``."""
        names = (
            "region_fixed region_count region_area region_l2 region_linf regions contribution_residual object_lift "
            "object_lift_p rank_of_true_label rank_of distance_ratio random_rate small_noise_rate checks_ran "
            "checks_passed grade"
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
    keys: Tensor,
    config: InvertedConfig,
) -> ExplainedFix:
    """Explain fixes that were found: contribution, regions, controls and grade.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images in [0, 1].
        y: (B,), int64, true classes.
        delta: (B, C, H, W), changes with which the classifier reads ``x + delta`` as ``y``.
        masks: (B, H, W), bool, the object, all False where unknown; None where none is known.
        keys: (B,), int64, seeds of the noise of each row.
        config: Settings.

    Returns:
        One explanation a row, with what it cost. Rows do not depend on each other.
    """
    with classifier:
        distances = class_distances(classifier, x, y, config.class_others)
        after = error_margin(classifier.logits(x + delta), y)
        added = contribution(
            classifier,
            x,
            y,
            delta,
            distances.margin,
            after,
            halvings=config.halvings,
            tolerance=config.completeness,
        )
        segments = superpixels(x, most=config.segments)
        confined = region_fix(
            classifier, x, y, segments, distances.margin, distances.gradient, distances.scale, config=config
        )
        listed = list_regions(classifier, x, y, delta, added.map, segments, masks, config=config)
        random = random_rate(classifier, x, y, delta, keys, config.random_draws)
        survival = small_noise_rate(classifier, x, y, delta, keys, config=config)
    lift, lift_p = object_lift(added.map, torch.zeros_like(x[:, 0], dtype=torch.bool) if masks is None else masks)
    ran, passed, grade = grade_fixes(distances.ratio, random, survival, config)
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
        rank_of_true_label=distances.rank,
        rank_of=distances.ranked,
        distance_ratio=distances.ratio,
        random_rate=random,
        small_noise_rate=survival,
        checks_ran=ran,
        checks_passed=passed,
        grade=grade,
        forwards=distances.forwards
        + 1  # the fix itself
        + added.forwards
        + confined.forwards
        + listed.forwards
        + config.random_draws
        + config.noise_draws,
        backwards=distances.backwards + added.backwards + confined.backwards,
    )
