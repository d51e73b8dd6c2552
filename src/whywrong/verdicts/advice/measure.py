"""Measure the gain of actions on held-out errors and correct images, compared with no action and a sham.

Source: ours, docs/guides/advice.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from whywrong.core.effects import sign_test
from whywrong.core.statistics import wilson
from whywrong.models.classifier import Classifier
from whywrong.verdicts.advice.actions import ABSTAINED, ACTIONS, Action, Answer, in_batches
from whywrong.verdicts.advice.pictures import Pictures
from whywrong.verdicts.tests_of_causes import LEVEL

Arm = Literal["nothing", "action", "sham"]

FEWEST = 5  # held-out source images, and correct images, that a measurement needs
_DRAWS = 2000
NOTHING_HELPS = "No action was found that helps here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Result of one arm of the measurement of an action.

    Attributes:
        action: Name of the action.
        arm: ``nothing``, ``action``, or ``sham``, a change of equal strength at another place or of another kind.
        n_held: Number of held-out errors.
        mended: Number of these that are no longer misclassified; abstentions count.
        low: Lower end of the 95 % interval of their share over source images.
        high: Upper end.
        net_gain: Change of accuracy over held-out errors and correct images.
        net_low: Lower end of its 95 % interval.
        net_high: Upper end.
        negative_flips: Number of held-out correct images whose prediction becomes wrong.
        worst_class: Class with most of these; -1 if there are none.
        p: P value of the exact test that the action corrects no more errors than its sham; NaN for the other arms.
        advised: Whether the action is advised.
        words: What to do.
        forwards: Forward passes of the whole measurement of the action.
    """

    action: str
    arm: Arm
    n_held: int
    mended: int
    low: float
    high: float
    net_gain: float
    net_low: float
    net_high: float
    negative_flips: int
    worst_class: int
    p: float
    advised: bool
    words: str
    forwards: int


def advise(
    classifier: Classifier,
    errors: Pictures,
    reference: Pictures,
    cause: str,
    *,
    restoration: str = "",
    stands_for: float = 1.0,
    seed: int = 0,
) -> list[Advice]:
    """Measure the actions against the cause of a group of errors.

    Errors and correct images are split by source into one half to fit an action and one half to measure it. An action
    is advised under three conditions: the lower end of the interval of its corrected share exceeds the share of its
    sham; it corrects more than the sham by an exact paired test; and the interval of the net gain is above 0.

    Args:
        classifier: Predicts the classes of images (B, C, H, W) in [0, 1].
        errors: Errors of the group.
        reference: Correctly classified images.
        cause: Cause of the group.
        restoration: Name of the restoration that undoes the damage, for the cause ``corruption``.
        stands_for: Number of correct images of the run that each reference image represents.
        seed: Seed of the split and of the resamples.

    Returns:
        Three arms for each action that could be fitted; none if the cause has no action or a half is too small.
    """
    fit, held = split_halves(errors, seed)
    fit_reference, held_reference = split_halves(reference, seed)
    few = min(len(set(held.sources)), len(held_reference), len(fit), len(fit_reference))
    found: list[Advice] = []
    for action in ACTIONS.get(cause, ()) if few >= FEWEST else ():
        start = classifier.forwards
        with classifier, torch.no_grad():
            arms = action.fit(classifier, fit, fit_reference, restoration)
            if arms is None:
                continue
            answers: dict[Arm, Answer] = {
                "nothing": lambda images: images.predicted,
                "action": arms.action,
                "sham": arms.sham,
            }
            outcomes: dict[Arm, _Outcome] = {
                arm: _Outcome.of(classifier, answer, held, held_reference, stands_for, seed)
                for arm, answer in answers.items()
            }
        found += _compare(action, outcomes, classifier.forwards - start)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What an arm does to the held-out errors (n,) and correct images (m,)."""

    mended: np.ndarray
    lost: np.ndarray
    sources: tuple[str, ...]
    classes: np.ndarray
    net: tuple[float, float, float]

    @classmethod
    def of(
        cls, classifier: Classifier, answer: Answer, held: Pictures, reference: Pictures, stands_for: float, seed: int
    ) -> _Outcome:
        after, kept = (in_batches(classifier, images, answer) for images in (held, reference))
        mended = ((after == held.y) | (after == ABSTAINED)).cpu().numpy()
        lost = (kept != reference.y).cpu().numpy()
        net = _net_gain(mended, held.sources, lost, reference.sources, stands_for, seed)
        return cls(mended, lost, held.sources, reference.y.cpu().numpy(), net)

    @property
    def share(self) -> tuple[float, float, float]:
        """Mended share over source images with its interval."""
        means = _by_source(self.mended.astype(np.float64), self.sources)
        part = wilson(round(float(means.sum())), len(means))
        return float(means.mean()), part.low, part.high

    @property
    def worst_class(self) -> int:
        if not self.lost.any():
            return -1
        classes, counts = np.unique(self.classes[self.lost], return_counts=True)
        return int(classes[counts.argmax()])


def _compare(action: Action, outcomes: dict[Arm, _Outcome], forwards: int) -> list[Advice]:
    ours, sham = outcomes["action"], outcomes["sham"]
    wins, losses = int((ours.mended & ~sham.mended).sum()), int((sham.mended & ~ours.mended).sum())
    p = sign_test(wins, losses)
    advised = ours.share[1] > sham.share[0] and p <= LEVEL and ours.net[1] > 0
    found = []
    for arm, outcome in outcomes.items():
        _, low, high = outcome.share
        net, net_low, net_high = outcome.net
        found.append(
            Advice(
                action=action.name,
                arm=arm,
                n_held=len(outcome.mended),
                mended=int(outcome.mended.sum()),
                low=low,
                high=high,
                net_gain=net,
                net_low=net_low,
                net_high=net_high,
                negative_flips=int(outcome.lost.sum()),
                worst_class=outcome.worst_class,
                p=p if arm == "action" else float("nan"),
                advised=advised and arm == "action",
                words=action.words,
                forwards=forwards,
            )
        )
    return found


def _net_gain(
    mended: np.ndarray,
    sources: tuple[str, ...],
    lost: np.ndarray,
    reference_sources: tuple[str, ...],
    stands_for: float,
    seed: int,
) -> tuple[float, float, float]:
    """Compute the change of accuracy with its 95 % interval, sources resampled within errors and correct images."""
    generator = np.random.default_rng(seed)
    gained = _resampled_sum(mended.astype(np.float64), sources, generator)
    taken = stands_for * _resampled_sum(lost.astype(np.float64), reference_sources, generator)
    total = len(mended) + stands_for * len(lost)
    low, high = np.quantile((gained - taken) / total, (0.025, 0.975))
    return float((mended.sum() - stands_for * lost.sum()) / total), float(low), float(high)


def _resampled_sum(values: np.ndarray, sources: tuple[str, ...], generator: np.random.Generator) -> np.ndarray:
    """Draw sums over resampled sources, (D,)."""
    sums = np.bincount(_numbers(sources), weights=values)
    n = len(sums)
    return generator.multinomial(n, np.full(n, 1 / n), _DRAWS) @ sums


def _by_source(values: np.ndarray, sources: tuple[str, ...]) -> np.ndarray:
    numbers = _numbers(sources)
    return np.bincount(numbers, weights=values) / np.bincount(numbers)


def _numbers(sources: tuple[str, ...]) -> np.ndarray:
    order = {name: at for at, name in enumerate(dict.fromkeys(sources))}
    return np.array([order[name] for name in sources], np.int64)


def split_halves(images: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """Split images into two halves by a hash of their source, independent of their order."""
    ranked = sorted(set(images.sources), key=lambda name: (_digest(seed, name), name))
    first = frozenset(ranked[::2])
    inside = torch.tensor([name in first for name in images.sources], dtype=torch.bool)
    return images.at(inside.nonzero().flatten()), images.at((~inside).nonzero().flatten())


def _digest(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
