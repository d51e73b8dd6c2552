"""Metrics of a set of counterfactuals.

They measure validity, closeness, sparsity, sufficiency, agreement of judges, realism and diversity.

Every metric is a pure function of a batch; those that need a classifier state their passes. Realism is measured in the
features of the user's own robust classifier and is never called FID, which uses other features.

Sources: pix90 and the share changed, ours, docs/methods/counterfactuals_trust.md; COUT, Khorram and Fuxin 2022 (C3LT)
in the form of Jeanneret, Simon and Jurie 2023, arXiv 2303.09962; sFID in the split form of the same; Fréchet distance
of Gaussians, Dowson and Landau 1982.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.checks import check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import Interval, wilson
from whywrong.explain.counterfactuals.judges import Opinion
from whywrong.models.classifier import Classifier
from whywrong.models.layers.spatial import read_layer, spatial_layer

FEW_IMAGES = 2_000  # with fewer, the Fréchet distance of features is biased upwards by an unknown amount
_ROUNDING = 1e-6  # larger than the rounding of whole grey levels in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """How well the targets were reached.

    Attributes:
        flip_rate: Share of images predicted as their target.
        mean_probability: Mean probability of the target.
        median_probability: Median probability of the target.
        gap: 1 minus the mean probability.
        n: Number of images.
    """

    flip_rate: float
    mean_probability: float
    median_probability: float
    gap: float
    n: int


def validity(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Validity:
    """Measure the validity of counterfactuals.

    The arguments are the logits (N, K) of the counterfactuals and their targets (N,) int64.

    The logits are those of the explained classifier. Probabilities are those of ``logits / temperature``; without
    calibration they are not comparable between classifiers. All values are NaN if N is 0.
    """
    check_labels(target, len(logits), logits.shape[1], what="target")
    probability = (logits.double() / temperature).softmax(1).gather(1, target[:, None])[:, 0]
    flips = (logits.argmax(1) == target).double()
    mean = float(probability.mean())
    return Validity(
        flip_rate=float(flips.mean()),
        mean_probability=mean,
        median_probability=float(probability.quantile(0.5)) if len(logits) else math.nan,
        gap=1 - mean,
        n=len(logits),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Closeness:
    """Distances of counterfactuals from their images, over all channels and pixels together.

    Attributes:
        l1: (B,), [0, 1] units.
        l2: (B,), [0, 1] units.
        lp: (B,), in the norm of the search, [0, 1] units.
        used: (B,), ``lp`` over the radius; NaN if the radius is infinite.
    """

    l1: Tensor
    l2: Tensor
    lp: Tensor
    used: Tensor


def closeness(x: Tensor, vce: Tensor, p: float, eps: float | Tensor) -> Closeness:
    """Compute distances of counterfactuals.

    Args:
        x: (B, C, H, W), originals in [0, 1].
        vce: (B, C, H, W), counterfactuals.
        p: Norm of the search, in [1, inf].
        eps: Its radius, or one per image (B,); positive.

    Raises:
        InputError: Shapes differ, or ``p`` is below 1.
    """
    delta = _change(x, vce)
    if not p >= 1:
        raise InputError(f"p must be in [1, inf], got {p}")
    lp = _norm(delta, p)
    eps = torch.as_tensor(eps, dtype=lp.dtype, device=lp.device)
    return Closeness(
        l1=_norm(delta, 1), l2=_norm(delta, 2), lp=lp, used=(lp / eps).where(eps.isfinite(), math.nan).expand_as(lp)
    )


def changed_share(x: Tensor, vce: Tensor, level: float = 1 / 255) -> Tensor:
    """Compute the share (B,) of values that changed by more than ``level``.

    This is L0 over the number of values, all channels together; ``level`` is in [0, 1] units.
    """
    return (_change(x, vce).abs() > level + _ROUNDING).float().mean(1)


def pix90(x: Tensor, vce: Tensor, share: float = 0.9) -> Tensor:
    """Compute the smallest share (B,) of pixels that holds ``share`` of the change.

    Channels are summed; NaN if nothing changed.

    A uniform change needs 0.9 of the pixels, a single pixel 1 / (H W).
    """
    mass = _pixel_mass(x, vce).flatten(1)
    total = mass.sum(1)
    held = mass.sort(1, descending=True).values.cumsum(1)
    # A tolerance for rounding, so that nine of ten equal pixels hold nine tenths.
    needed = 1 + (held < share * total[:, None] * (1 - 1e-9)).sum(1)
    return (needed / mass.shape[1]).float().where(total > 0, math.nan)


def mass_inside(x: Tensor, vce: Tensor, mask: Tensor) -> Tensor:
    """Compute the share of the change inside a mask.

    Args:
        x: (B, C, H, W), originals.
        vce: (B, C, H, W), counterfactuals.
        mask: (B, H, W) bool, the object, a box, or a cue.

    Returns:
        (B,), in [0, 1]; NaN if nothing changed or the mask is empty, which means "not known".

    Raises:
        InputError: Shapes differ.
    """
    mass = _pixel_mass(x, vce)
    if mask.shape != mass.shape or mask.dtype != torch.bool:
        raise InputError(f"mask must be bool {tuple(mass.shape)}, got {mask.dtype} {tuple(mask.shape)}")
    total = mass.sum((1, 2))
    inside = (mass * mask).sum((1, 2)) / total
    return inside.float().where((total > 0) & mask.any(2).any(1), math.nan)


def cout(classifier: Classifier, x: Tensor, vce: Tensor, target: Tensor, source: Tensor, *, steps: int = 50) -> Tensor:
    """Measure how early a growing part of the change makes the target likely.

    COUT measures sufficiency: the target should become likely, and the source unlikely.

    Pixels are copied from the counterfactual into the image in ``steps`` equal parts, the most changed first; the
    result is the area under the target's probability minus that under the source's, by the trapezoid rule.

    Args:
        classifier: The explained classifier; ``steps + 1`` passes per image.
        x: (B, C, H, W), originals in [0, 1].
        vce: (B, C, H, W), counterfactuals.
        target: (B,) int64.
        source: (B,) int64, usually the class predicted for ``x``.
        steps: Number of parts; at least 1.

    Returns:
        (B,), in [-1, 1]; 1 if any part of the change is sufficient.

    Raises:
        InputError: Shapes differ, classes are invalid, or ``steps`` is below 1.
    """
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    order = _pixel_mass(x, vce).flatten(1).sort(dim=1, descending=True, stable=True).indices
    check_labels(target, len(x), what="target")
    check_labels(source, len(x), what="source")
    areas = []
    group = max(1, classifier.batch_size // (steps + 1))  # images whose copies fill about one batch
    for start in range(0, len(x), group):
        rows = slice(start, start + group)
        areas.append(_cout(classifier, x[rows], vce[rows], order[rows], target[rows], source[rows], steps))
    return torch.cat(areas) if areas else x.new_zeros(0)


def _cout(
    classifier: Classifier, x: Tensor, vce: Tensor, order: Tensor, target: Tensor, source: Tensor, steps: int
) -> Tensor:
    batch, pixels = order.shape
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels, device=x.device).expand_as(order))
    counts = torch.linspace(0, pixels, steps + 1, device=x.device).round()  # pixels copied after each step
    pasted = (rank[:, None] < counts[None, :, None]).view(batch, steps + 1, 1, *x.shape[2:])
    mixed = torch.where(pasted, vce[:, None], x[:, None])  # (b, steps + 1, C, H, W)
    probability = classifier.logits(mixed.flatten(0, 1)).softmax(1).view(batch, steps + 1, -1)
    path = torch.stack([probability[torch.arange(batch), :, classes] for classes in (target, source)])
    areas = torch.trapezoid(path, dx=1 / steps, dim=2)  # (2, b)
    return areas[0] - areas[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAgreement:
    """Judgements of independent judges about a set of counterfactuals.

    Attributes:
        agree: Share on which every judge agrees, with its 95 % interval.
        flips: Share that every judge predicts as the target, with its 95 % interval.
        mean_rise: Mean rise of the judges' log-probability of the target, nats.
        controls: Kind of controls that the rises were compared with.
        n: Number of counterfactuals.
    """

    agree: Interval
    flips: Interval
    mean_rise: float
    controls: str
    n: int


def judge_agreement(opinion: Opinion) -> JudgeAgreement:
    """Summarise judgements of a set of counterfactuals.

    The judgements are those of :func:`whywrong.explain.counterfactuals.trust.trust`.

    Raises:
        InputError: There were no judges.
    """
    n, judges = opinion.rise.shape
    if not judges:
        raise InputError("no judges were asked: give trust(..., judges=[...])")
    return JudgeAgreement(
        agree=wilson(int(opinion.agrees.all(1).sum()), n),
        flips=wilson(int(opinion.flips.all(1).sum()), n),
        mean_rise=float(opinion.rise.mean()),
        controls=opinion.kind,
        n=n,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFrechet:
    """Realism in the features of a named classifier.

    Attributes:
        name: "sFID on NAME features".
        value: Mean of the two Fréchet distances, each between one half of the originals and the counterfactuals of the
            other half.
        n: Number of images.
        biased: Whether there are too few images to compare the value with that of other images.
        note: Caveats, for readers.
    """

    name: str
    value: float
    n: int
    biased: bool
    note: str


def sfid(features: Tensor, vce_features: Tensor, *, name: str, seed: int = 0) -> SplitFrechet:
    """Measure the realism of counterfactuals by a split Fréchet distance.

    No image is compared with its own counterfactual.

    Args:
        features: (N, D), features of the originals, such as :func:`pooled_features`.
        vce_features: (N, D), features of their counterfactuals, in the same order.
        name: Name of the classifier that gives the features.
        seed: Seed of the split into halves.

    Raises:
        InputError: Shapes differ, or there are fewer than 4 images.
    """
    if features.ndim != 2 or features.shape != vce_features.shape:
        raise InputError(f"features must be (N, D) twice, got {tuple(features.shape)}, {tuple(vce_features.shape)}")
    n = len(features)
    if n < 4:
        raise InputError(f"sFID needs at least 4 images (thousands to be of use), got {n}")
    order = keyed_uniform(row_keys(seed, 1), (n,))[0].argsort().to(features.device)
    first, second = order[: n // 2], order[n // 2 :]
    ways = frechet(features[first], vce_features[second]), frechet(features[second], vce_features[first])
    note = "nothing changed at all would score best: read it beside the flip rate"
    if n < FEW_IMAGES:
        note = f"{n} images are too few for an unbiased value: compare only values of the same images; {note}"
    return SplitFrechet(name=f"sFID on {name} features", value=sum(ways) / 2, n=n, biased=n < FEW_IMAGES, note=note)


def frechet(first: Tensor, second: Tensor) -> float:
    """Compute the Fréchet distance of Gaussians fitted to two sets of features.

    The sets are (N, D) and (M, D). The distance is

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The last trace is the sum of the singular values of F1 F2^T, for any
    factors with S = F^T F, which avoids a matrix square root.
    """
    (mean_1, factor_1), (mean_2, factor_2) = _gaussian(first), _gaussian(second)
    spread = factor_1.square().sum() + factor_2.square().sum()
    overlap = torch.linalg.svdvals(factor_1 @ factor_2.T).sum()
    return max(0.0, float((mean_1 - mean_2).square().sum() + spread - 2 * overlap))


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean (D,) and a factor F (min(N, D), D) of the covariance F^T F."""
    features = features.double()
    mean = features.mean(0)
    centred = (features - mean) / math.sqrt(max(len(features) - 1, 1))
    return mean, torch.linalg.qr(centred).R if len(centred) > centred.shape[1] else centred


def pooled_features(classifier: Classifier, x: Tensor) -> Tensor:
    """Compute features (B, D) float32, the last spatial layer averaged over positions.

    One pass per image.

    Raises:
        AccessError: The classifier grants no access to its layers.
        ModelError: It has no spatial layer.
    """
    check_images(x)
    channels, height, width = x.shape[1:]
    layer = spatial_layer(classifier, (channels, height, width))
    parts = read_layer(classifier, x, layer, lambda _logits, seen, _rows: layer.layout.patches(seen).mean((2, 3)))
    return torch.cat(parts).float().to(x.device)


def diversity(vces: Tensor, p: float = 2.0) -> Tensor:
    """Compute the mean l_p distance (B,) between the counterfactuals of an image.

    Distances are in [0, 1] units, over all pairs of the K >= 2 counterfactuals.

    Args:
        vces: (B, K, C, H, W), or features (B, K, D).
        p: Norm, in [1, inf].

    Raises:
        InputError: Fewer than two counterfactuals per image.
    """
    if vces.ndim < 3 or vces.shape[1] < 2:
        raise InputError(f"diversity needs (B, K, ...) with K at least 2, got {tuple(vces.shape)}")
    distance = torch.cdist(vces.flatten(2).double(), vces.flatten(2).double(), p=p)
    k = vces.shape[1]
    return (distance.sum((1, 2)) / (k * (k - 1))).float()


def _change(x: Tensor, vce: Tensor) -> Tensor:
    """Return the change as (B, D), float64."""
    check_images(x)
    if vce.shape != x.shape:
        raise InputError(f"counterfactuals must have the shape of the images {tuple(x.shape)}, got {tuple(vce.shape)}")
    return (vce.double() - x.double()).flatten(1)


def _norm(delta: Tensor, p: float) -> Tensor:
    return torch.linalg.vector_norm(delta, p, dim=1).float()


def _pixel_mass(x: Tensor, vce: Tensor) -> Tensor:
    """Return the absolute change, channels summed, as (B, H, W), float64."""
    return _change(x, vce).view(x.shape).abs().sum(1)
