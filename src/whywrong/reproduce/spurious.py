"""Claim counterfactuals.C7, that removing harmful components raises the spurious score and preserves accuracy.

Source: Neuhaus et al. 2023, arXiv 2212.04871 (direction from its abstract and code; its numbers appear only in
figures); the procedure is ours, docs/guides/reproduce.md. No person labels components here: those confirmed harmful on
one part of the images, and removable without loss there, count as spurious. The effect of removing them is measured on
another part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.core.statistics import Interval, Resampled, mean, mean_p
from whywrong.explain.spurious.features import Features, image_features
from whywrong.explain.spurious.harmful import HarmfulConfig, harmful
from whywrong.explain.spurious.levels import Levels, find_levels
from whywrong.explain.spurious.neural_pca import ClassComponents, NeuralPCAConfig, class_components
from whywrong.explain.spurious.scores import average_precision, roc_area
from whywrong.explain.spurious.spufix import Start, fixed_logits, fixes_of
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer
from whywrong.reproduce.protocol import (
    ClaimProgress,
    ClaimResult,
    LabelledImages,
    Part,
    both,
    bounds_in_words,
    verdicts_of,
)

_PART = 0  # random stream that assigns an image to one of the three parts


@dataclass(frozen=True, slots=True, kw_only=True)
class SpuriousClaimConfig:
    """Settings of the claim ``counterfactuals.C7``.

    Attributes:
        limit: Largest number of images, the first in the order of the data; None uses all of them.
        components: Components tested per class, those of the largest variance.
        min_images: Smallest number of images of a class, in the part where components are found.
        min_carriers: Images of other classes that must carry a component before it is judged.
        start: Level from which a component is removed: ``others`` or, as published, ``class``.
        loss: Loss of accuracy that still counts as none, a share; 0.01 is ours. A component with a larger loss on the
            judging part belongs to the object and is kept.
        found_in: Share of the images in which components are found; the rest is halved, to judge and to measure.
        seed: Seed of the parts and the resamples.
    """

    limit: int | None = None
    components: int = 3
    min_images: int = 20
    min_carriers: int = 5
    start: Start = "others"
    loss: float = 0.01
    found_in: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        _ = self.pca, self.harm  # both check themselves
        if self.start not in ("others", "class"):
            raise InputError(f'start must be "others" or "class", got {self.start!r}')
        for name in ("loss", "found_in"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must be a share in (0, 1), got {getattr(self, name)}")

    @property
    def pca(self) -> NeuralPCAConfig:
        """Settings of the neural PCA."""
        return NeuralPCAConfig(components=self.components, min_images=self.min_images)

    @property
    def harm(self) -> HarmfulConfig:
        """Settings of the test for harm."""
        return HarmfulConfig(min_carriers=self.min_carriers, start=self.start)


def repair_helps(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: SpuriousClaimConfig,
    *,
    progress: Callable[[ClaimProgress], None] | None = None,
) -> ClaimResult:
    """Test claim C7, that SpuFix raises the spurious score.

    The loss of accuracy must stay below ``loss``. The effect is the mean rise of the area under the precision-recall
    curve, over the harmful components carried in the third part; the interval resamples its images.
    """
    classifier = models[0]
    features, ids = _read(classifier, data, config, progress)
    part = keyed_uniform(item_keys(config.seed, ids, "counterfactuals.C7"), (), _PART)
    first = config.found_in
    search, judge, test = (
        features[rows] for rows in (part < first, (part >= first) & (part < (1 + first) / 2), part >= (1 + first) / 2)
    )
    last = find_last_layer(classifier, _size(classifier, data))
    found = _components(search, last.weight.cpu(), last.bias.cpu(), config)
    chosen = _harmful(found, judge, config)
    named = {index: found[index] for index in chosen}
    searched = sum(len(components) for components, _ in found.values())
    if not chosen or not len(test):
        return _nothing(len(features), searched, config)
    fixes = fixes_of(
        {index: pair[0] for index, pair in named.items()},
        {index: pair[1] for index, pair in named.items()},
        chosen,
        config.start,
    )
    after = Features(test.phi, fixed_logits(test.logits, test.phi, fixes), test.label)
    rise, rise_p, scores = _rise(named, chosen, test, after, config.seed)
    changes = ((after.predicted == test.label).double() - (test.predicted == test.label).double()).numpy()
    change = mean(changes, bounds=(-1.0, 1.0), seed=config.seed)
    p = mean_p(changes, -config.loss, bounds=(-1.0, 1.0), seed=config.seed)
    verdict = both(*verdicts_of([Part(rise, rise_p), Part(change, p, -config.loss)]))
    number = sum(map(len, chosen.values()))
    return ClaimResult(
        name="",
        title="",
        effect=rise.value,
        effect_name="rise of the spurious score (area under precision-recall)",
        interval=(rise.low, rise.high),
        n=len(test),
        verdict=verdict,
        sentence=_sentence(rise, change, scores, number, len(test)),
        numbers={
            "components_searched": searched,
            "harmful": number,
            "classes_repaired": len(chosen),
            **scores,
            "accuracy_before": float((test.predicted == test.label).double().mean()),
            "accuracy_after": float((after.predicted == test.label).double().mean()),
            "accuracy_change": change.value,
            "accuracy_change_low": change.low,
            "accuracy_change_high": change.high,
            "images_found_in": len(search),
            "images_judged_on": len(judge),
        },
    )


def _read(
    classifier: Classifier,
    data: LabelledImages,
    config: SpuriousClaimConfig,
    progress: Callable[[ClaimProgress], None] | None,
) -> tuple[Features, list[str]]:
    parts: list[Features] = []
    ids: list[str] = []
    with classifier:
        for x, y, names in _limited(data, classifier, config.limit):
            features, reasons = image_features(classifier, x, y)
            parts.append(features)
            ids += [str(name) for row, name in enumerate(names) if row not in reasons]
            if progress is not None:
                progress(ClaimProgress("read", len(ids), config.limit or len(ids), passes=classifier.forwards))
    if not ids:
        raise InputError("no image could be used: the model gave no finite answer")
    return Features.cat(parts), ids


def _limited(
    data: LabelledImages, classifier: Classifier, limit: int | None
) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
    left = limit
    for x, y, ids in data.batches(classifier):
        rows = slice(0, left)
        yield x[rows], y[rows], ids[rows]
        if left is not None:
            left -= len(x[rows])
            if left <= 0:
                return


def _size(classifier: Classifier, data: LabelledImages) -> tuple[int, int, int]:
    spec = classifier.preprocess
    if spec is not None:
        return spec.channels, spec.height, spec.width
    x = next(iter(data.batches(classifier)))[0]
    return x.shape[1], x.shape[2], x.shape[3]


Found = dict[int, tuple[ClassComponents, Levels]]
Measure = Callable[[np.ndarray, np.ndarray], float]


def _components(search: Features, weight: Tensor, bias: Tensor, config: SpuriousClaimConfig) -> Found:
    found: Found = {}
    for index in range(len(weight)):
        own = search[search.label == index]
        if len(own) >= config.min_images:
            parts = class_components(
                own.phi, own.logits[:, index], weight[index], float(bias[index]), index, config=config.pca
            )
            found[index] = parts, find_levels(parts, own.phi, search.phi[search.label != index])
    if not found:
        raise InputError(
            f"every class has fewer than {config.min_images} images where components are found; give more images, or "
            "lower min_images"
        )
    return found


def _harmful(found: Found, judge: Features, config: SpuriousClaimConfig) -> dict[int, list[int]]:
    searched = sum(len(parts) for parts, _ in found.values())
    chosen: dict[int, list[int]] = {}
    for index, (parts, levels) in found.items():
        harms = harmful(parts, levels, judge, searched=searched, config=config.harm)
        numbers = [
            number
            for number, harm in enumerate(harms)
            if harm.verdict == "harmful" and harm.accuracy_change >= -config.loss
        ]
        if numbers:
            chosen[index] = numbers
    return chosen


def _rise(
    named: Found, chosen: dict[int, list[int]], test: Features, after: Features, seed: int, draws: int = 1000
) -> tuple[Interval, float, dict[str, Any]]:
    """Compute the rise of the mean score with interval, p-value, and the scores.

    Bootstrap and jackknife act within the two groups that a score compares; the size of the smallest group counts as
    the number of images.
    """
    groups = []
    for index, numbers in chosen.items():
        parts, levels = named[index]
        alpha, own = parts.alphas(test.phi), test.label == index
        chances = test.chance(index).numpy(), after.chance(index).numpy()
        for number in numbers:
            carries = (~own & (alpha[:, number] >= levels.bar[number])).nonzero().flatten().numpy()
            yes = own.nonzero().flatten().numpy()
            if len(carries) and len(yes):
                groups.append((yes, carries, *chances))
    if not groups:
        return Interval(float("nan"), float("nan"), float("nan")), float("nan"), {"tested": 0}

    def scores_of(measure: Measure, chosen: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Compute the mean score before and after.

        ``chosen`` selects the images of each group.
        """
        scores = []
        for yes, carries, before, fixed in groups:
            a, b = chosen(yes), chosen(carries)
            scores.append((measure(before[a], before[b]), measure(fixed[a], fixed[b])))
        return np.mean(scores, axis=0)

    ap, auc = (scores_of(measure, lambda rows: rows) for measure in (average_precision, roc_area))
    rng = np.random.default_rng(seed)
    drawn = [scores_of(average_precision, lambda rows: rng.choice(rows, len(rows))) for _ in range(draws)]
    involved = np.unique(np.concatenate([rows for group in groups for rows in group[:2]]))
    fewest = min(len(rows) for group in groups for rows in group[:2])
    left_out = [scores_of(average_precision, lambda rows, out=out: rows[rows != out]) for out in involved if fewest > 1]
    rise = Resampled(np.diff(ap), np.diff(drawn, axis=1), np.diff(left_out or [ap], axis=1), fewest)
    scores = {
        "tested": len(groups),
        "score_ap_before": float(ap[0]),
        "score_ap_after": float(ap[1]),
        "score_auc_before": float(auc[0]),
        "score_auc_after": float(auc[1]),
    }
    return rise.intervals()[0], float(rise.p()[0]), scores


def _sentence(rise: Interval, change: Interval, scores: dict[str, Any], number: int, n: int) -> str:
    if not scores["tested"]:
        return f"{number} harmful components were confirmed, and none of {n:,} further images carries one of them."
    return (
        f"with {number} harmful component{'s' if number > 1 else ''} taken away the spurious score goes from "
        f"{scores['score_ap_before']:.3f} to {scores['score_ap_after']:.3f} (rise {rise.value:.3f}, "
        f"{bounds_in_words(rise.low, rise.high, '{:.3f}')}) and accuracy changes by {100 * change.value:.2f} points "
        f"({bounds_in_words(100 * change.low, 100 * change.high, '{:.2f}')}), on {n:,} further images."
    )


def _nothing(images: int, searched: int, config: SpuriousClaimConfig) -> ClaimResult:
    return ClaimResult(
        name="",
        title="",
        effect=float("nan"),
        effect_name="rise of the spurious score (area under precision-recall)",
        interval=(float("nan"), float("nan")),
        n=0,
        verdict="undecided",
        sentence=f"none of {searched:,} components is confirmed harmful and dispensable on a part of {images:,} "
        "images: nothing to take away.",
        numbers={"components_searched": searched, "harmful": 0},
    )
