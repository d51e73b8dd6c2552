"""Outcome of a repair on images that it did not see, and whether it is safe to take.

Source: ours, docs/guides/repair.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.core.effects import sign_test
from whywrong.core.statistics import Interval, holm, resampled_means, wilson

_LEVEL = 0.05
_DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Predictions on N held-out images before and after.

    Attributes:
        images, errors: Number of images, and of errors among them before.
        fixed, lost: Errors that are right now, and right answers that are wrong now (negative flips).
        fixed_share: Share of the errors, with its 95 % Wilson interval.
        before, after: Accuracy.
        gain: Change of the accuracy with its 95 % bootstrap interval over images.
        p: Two-sided exact McNemar test of the change.
        worst_class: Class whose accuracy falls most, -1 if none falls.
        worst_change: Change of its accuracy.
        loses: Whether a class loses more than by chance (exact test, Holm over the classes).
    """

    images: int
    errors: int
    fixed: int
    lost: int
    fixed_share: Interval
    before: float
    after: float
    gain: Interval
    p: float
    worst_class: int
    worst_change: float
    loses: bool

    @property
    def safe(self) -> bool:
        """Whether the gain is above 0, losses are at most half of the corrections, and no class pays for it."""
        return self.gain.low > 0 and 2 * self.lost <= self.fixed and not self.loses


def corrects_more(right: np.ndarray, control: np.ndarray) -> bool:
    """Test whether one repair is right on more images than another, by a one-sided exact paired test at 5 %.

    Args:
        right, control: (N,) bool, whether each is right.
    """
    return sign_test(int((right & ~control).sum()), int((control & ~right).sum())) <= _LEVEL


def compare(before: np.ndarray, after: np.ndarray, label: np.ndarray, seed: int = 0) -> Outcome:
    """Compare predictions before and after.

    Args:
        before, after, label: (N,) int64 classes, N at least 1.
        seed: Seed of the resamples.
    """
    was, now = before == label, after == label
    fixed, lost = ~was & now, was & ~now
    difference = now.astype(np.float64) - was
    low, high = np.quantile(resampled_means(difference[:, None], _DRAWS, seed)[:, 0], (0.025, 0.975))
    more, fewer = int(fixed.sum()), int(lost.sum())
    worst, change, loses = _classes(fixed, lost, label)
    return Outcome(
        images=len(label),
        errors=int((~was).sum()),
        fixed=more,
        lost=fewer,
        fixed_share=wilson(more, int((~was).sum())),
        before=float(was.mean()),
        after=float(now.mean()),
        gain=Interval(float(difference.mean()), float(low), float(high)),
        p=min(1.0, 2 * sign_test(max(more, fewer), min(more, fewer))),
        worst_class=worst,
        worst_change=change,
        loses=loses,
    )


def _classes(fixed: np.ndarray, lost: np.ndarray, label: np.ndarray) -> tuple[int, float, bool]:
    """Return the class that loses most, the change of its accuracy, and whether any loses more than by chance."""
    classes, place = np.unique(label, return_inverse=True)
    gained, taken = (np.bincount(place, weights=values, minlength=len(classes)) for values in (fixed, lost))
    change = (gained - taken) / np.bincount(place)
    p = holm(np.array([sign_test(int(b), int(a)) for a, b in zip(gained, taken, strict=True)]))
    at = int(change.argmin())
    worst = int(classes[at]) if change[at] < 0 else -1
    return worst, float(min(change[at], 0.0)), bool((p <= _LEVEL).any())
