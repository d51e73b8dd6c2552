"""Claim 4 of the inverted attack: the regions that carry most of a fix suffice more often than others of equal area.

Source: Haffar, Jebreel, Domingo-Ferrer and Sánchez 2021, DOI 10.1007/978-3-030-85529-1_26 (abstract: the changed
regions had the largest impact on the wrong prediction); the curves, their two controls and the null case of a random
label are ours, docs/methods/inverted.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.attacks.inverted.region_fix import margin_gradient
from whywrong.attacks.inverted.segments import segment_sums
from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.core.statistics import exact_share
from whywrong.models.classifier import Classifier
from whywrong.reproduce.error_batches import error_batches
from whywrong.reproduce.inverted.paired import paired, percent, rate
from whywrong.reproduce.protocol import ClaimResult, LabelledImages, both, claim_result, verdicts_of

FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.5)
ORDERS = ("contribution", "random", "saliency")
TESTS = ("sufficient", "necessary")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionClaimConfig:
    """Settings of the claim ``inverted.4``.

    Attributes:
        limit: Largest number of errors, the first in the order of the data; None uses all of them.
        kept: Share of the image at which the regions are compared, one of 0.05, 0.1, 0.2, 0.3, 0.5.
        beyond: How far beyond its minimal length the fix is extended before it is confined to regions.
        seed: Seed of the random regions and of the keys of the images.
    """

    limit: int | None = 100
    kept: float = 0.2
    beyond: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        if self.kept not in FRACTIONS:
            raise InputError(f"kept must be one of {', '.join(map(str, FRACTIONS))}, got {self.kept}")
        if not 0 <= self.beyond <= 10:
            raise InputError(f"beyond must be in [0, 10], got {self.beyond}")


def regions_carry_the_fix(models: Sequence[Classifier], data: LabelledImages, config: RegionClaimConfig) -> ClaimResult:
    """Test claim 4, that regions by contribution suffice more often than others.

    The others are random or salient ones. All regions are superpixels, added until they cover the same share of the
    image. The numbers also say how often a fix fails without the regions, and both curves for fixes toward random
    labels, the null case. The verdict does not depend on these.
    """
    classifier = models[0]
    with classifier:
        batches = list(error_batches(classifier, data, limit=config.limit))
        tested = _joined(_tested(classifier, x, y, ids, config) for x, y, ids in batches)
        null = _joined(
            _tested(classifier, x, random, ids, config)
            for x, y, ids in batches
            if (random := _random_labels(classifier, x, y, ids, config)) is not None
        )
    right = tested[:, 0]  # (N, orders, fractions)
    n, at = len(right), FRACTIONS.index(config.kept)
    ours, random, salient = (right[:, order, at] for order in range(len(ORDERS)))
    needed = tested[:, 1, :, at]
    share = exact_share(int(ours.sum()), n)
    sentence = (
        f"the fix confined to the {percent(config.kept)} of the image that contribute most still works for "
        f"{percent(share.value)} of {n:,} fixed errors; random regions of equal area: {percent(float(random.mean()))}, "
        f"salient ones: {percent(float(salient.mean()))}. Without them it fails for "
        f"{percent(float(needed[:, 0].mean()))}; without random ones: {percent(float(needed[:, 1].mean()))}, "
        f"without salient ones: {percent(float(needed[:, 2].mean()))}."
        if n
        else "no fixed errors: nothing to measure."
    )
    if n and len(null):
        sentence += f" Null case, random labels: {percent(float(null[:, 0, 0, at].mean()))} still work."
    return claim_result(
        share,
        effect_name="share of fixes that still work in the regions that contribute most",
        n=n,
        verdict=both(*verdicts_of([paired(ours, random), paired(ours, salient)])),
        sentence=sentence,
        numbers=_numbers(tested, null),
        samples={"sufficient": ours.tolist()},
    )


def curve_name(test: str, order: str, fraction: float, *, null: bool = False) -> str:
    """Name one point of a curve among the numbers of the claim."""
    return f"{'null_' if null else ''}{'' if test == 'sufficient' else test + '_'}{order}_{fraction:g}"


def _numbers(tested: np.ndarray, null: np.ndarray) -> dict[str, float | None]:
    numbers = {
        curve_name(test, order, fraction, null=is_null): rate(answers[:, t, o, f])
        for is_null, answers in ((False, tested), (True, null))
        for t, test in enumerate(TESTS)
        for o, order in enumerate(ORDERS)
        for f, fraction in enumerate(FRACTIONS)
    }
    return numbers | {"null_n": len(null)}


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty((0, len(TESTS), len(ORDERS), len(FRACTIONS)), bool), *parts])


def _random_labels(
    classifier: Classifier, x: Tensor, y: Tensor, ids: Sequence[str], config: RegionClaimConfig
) -> Tensor | None:
    """Draw a class that is neither the label nor the prediction, (B,) int64; None if there are only two classes."""
    if classifier.num_classes < 3:
        return None
    score = keyed_uniform(item_keys(config.seed, ids, "random label"), (classifier.num_classes,)).to(x.device)
    for avoided in (y, classifier.predict(x)):
        score.scatter_(1, avoided.to(x.device)[:, None], -1.0)
    return score.argmax(1).to(y.device)


def _tested(classifier: Classifier, x: Tensor, y: Tensor, ids: Sequence[str], config: RegionClaimConfig) -> np.ndarray:
    """Test the fixes toward ``y`` inside regions and outside them.

    Returns:
        (n, tests, orders, fractions) bool, for the images that have a fix: whether it works inside the regions, and
        whether it fails without them.
    """
    keys = item_keys(config.seed, ids, "inverted")
    settings = InvertedConfig(tested_regions=0, regions=0, region_rounds=1, beyond=config.beyond)
    result = invert(classifier, x, y, keys=keys, config=settings)
    explained = result.explained
    if explained is None or not len(explained.row):
        return _joined([])
    rows = explained.row.to(x.device)
    x, y, delta, keys = x[rows], y[rows], result.delta.to(x)[rows], keys.to(rows.device)[rows]
    change = (x + (1 + config.beyond) * delta).clamp(0, 1) - x
    segments = explained.segments.to(rows.device)
    count = int(segments.max()) + 1
    gradient = margin_gradient(classifier, x, y)[2]
    orders = (
        segment_sums(explained.contribution.to(x), segments, count),
        keyed_uniform(keys, (count,)).to(x.device),
        segment_sums(gradient.abs().sum(1), segments, count),
    )
    area = segment_sums(torch.ones_like(x[:, 0]), segments, count) / x[0, 0].numel()
    works, fails = [], []
    for order in orders:
        for fraction in FRACTIONS:
            inside = _mask(order, area, segments, fraction)[:, None]
            works.append(classifier.predict(x + change * inside) == y)
            fails.append(classifier.predict(x + change * ~inside) != y)
    found = torch.stack([torch.stack(works, 1), torch.stack(fails, 1)], 1)
    return found.view(len(x), len(TESTS), len(ORDERS), len(FRACTIONS)).cpu().numpy()


def _mask(order: Tensor, area: Tensor, segments: Tensor, fraction: float) -> Tensor:
    """Take the first superpixels until they cover ``fraction`` of the image, (B, H, W) bool."""
    ranked = order.masked_fill(area == 0, -torch.inf).argsort(dim=1, descending=True, stable=True)
    covered = area.gather(1, ranked).cumsum(1)
    before = covered - area.gather(1, ranked)
    chosen = torch.zeros_like(area, dtype=torch.bool).scatter(1, ranked, before < fraction - 1e-6)
    return chosen.gather(1, segments.flatten(1)).view_as(segments)
