"""Intervals and the exact test of effects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from whywrong.core.effects import paired_interval, share_interval, sign_test


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 4), (9, 2)])
def test_the_sign_test_is_that_of_scipy(wins, losses):
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected)


def test_the_interval_of_a_share_shrinks_with_the_edits_and_covers_the_effect():
    control = np.tile([0.0, 0.2], 50)
    few, many = share_interval(0.8, 5, control), share_interval(0.8, 50, control)
    assert few[0] < many[0] < 0.7 < many[1] < few[1]
    assert share_interval(1.0, 5, np.zeros(60))[1] == 1.0


def test_the_paired_interval_covers_the_true_difference_about_as_often_as_stated():
    """16 pairs, of which each wins with 0.4 and loses with 0.1."""
    covered = 0.0
    for wins in range(17):
        for losses in range(17 - wins):
            low, high = paired_interval(wins, losses, 16)
            p = binom.pmf(wins, 16, 0.4) * binom.pmf(losses, 16 - wins, 0.1 / 0.6)
            covered += p * (low <= 0.3 <= high)
    assert covered == pytest.approx(0.9, abs=0.04)
