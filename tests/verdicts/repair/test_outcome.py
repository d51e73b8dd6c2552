"""Outcome of a repair on held-out images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whywrong.verdicts.repair.outcome import compare, corrects_more

N = 200
LABEL = np.arange(N) % 4


def answers(wrong: int, start: int = 0) -> np.ndarray:
    found = LABEL.copy()
    found[start : start + wrong] = (found[start : start + wrong] + 1) % 4
    return found


def test_corrections_and_losses_are_counted_with_their_intervals():
    after = answers(10)
    after[-3:] = (after[-3:] + 1) % 4
    found = compare(answers(40), after, LABEL)
    assert (found.images, found.errors, found.fixed, found.lost) == (200, 40, 30, 3)
    assert (found.before, found.after) == (0.8, 0.935)
    assert found.fixed_share.value == 0.75
    assert found.gain.value == pytest.approx(0.135)
    assert found.gain.low < 0.135 < found.gain.high
    assert found.p == pytest.approx(2 * sum(math.comb(33, k) for k in range(30, 34)) / 2**33)
    assert found.safe


def test_a_gain_that_costs_more_than_half_as_many_right_answers_is_not_safe():
    after = answers(0)
    after[-16:] = (after[-16:] + 1) % 4
    found = compare(answers(40), after, LABEL)
    assert found.gain.low > 0
    assert (found.fixed, found.lost) == (40, 16)
    assert found.safe
    after[-21:] = (LABEL[-21:] + 1) % 4
    assert not compare(answers(40), after, LABEL).safe


def test_a_class_that_pays_for_the_others_makes_a_repair_unsafe():
    before, after = answers(100), answers(0)
    of_last = np.flatnonzero(LABEL == 3)[-12:]
    after[of_last] = 0
    found = compare(before, after, LABEL)
    assert (found.fixed, found.lost) == (100, 12)
    assert not found.loses  # the class also gains 25
    label = np.concatenate([LABEL, np.full(20, 4)])
    found = compare(np.concatenate([before, label[200:]]), np.concatenate([after, np.zeros(20, np.int64)]), label)
    assert found.loses
    assert (found.worst_class, found.worst_change) == (4, -1.0)
    assert not found.safe


def test_as_many_corrections_as_losses_by_chance_are_rarely_safe():
    rng = np.random.default_rng(0)
    safe = []
    for _ in range(200):
        wrong = rng.random(N) < 0.3
        before = np.where(wrong, (LABEL + 1) % 4, LABEL)
        moved = rng.random(N) < np.where(wrong, 0.2, 0.2 * 0.3 / 0.7)  # equally many either way, in the mean
        after = np.where(moved, np.where(wrong, LABEL, (LABEL + 1) % 4), before)
        safe.append(compare(before, after, LABEL).safe)
    assert np.mean(safe) <= 0.05


def test_unchanged_answers_are_no_repair():
    found = compare(answers(40), answers(40), LABEL)
    assert (found.gain.value, found.p, found.safe, found.worst_class) == (0.0, 1.0, False, -1)


def test_one_repair_is_better_than_another_only_beyond_chance():
    right, control = np.ones(20, bool), np.ones(20, bool)
    control[:5] = False
    assert corrects_more(right, control)  # 5 to 0: p = 1/32
    control[:1] = True
    assert not corrects_more(right, control)
    assert not corrects_more(control, right)
