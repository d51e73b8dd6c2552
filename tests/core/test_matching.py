"""Matching to the nearest free entry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whywrong.core.matching import match_nearest

NUMBERS = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=30)


@given(NUMBERS, NUMBERS, st.integers(0, 40))
def test_every_pick_is_the_nearest_that_was_free(targets, pool, wanted):
    picked = match_nearest(np.array(targets), np.array(pool), wanted).tolist()
    assert len(picked) == len(set(picked)) == min(wanted, len(pool))
    for turn, pick in enumerate(picked):
        target = targets[turn % len(targets)]
        free = [i for i in range(len(pool)) if i not in picked[:turn]]
        best = min(abs(pool[i] - target) for i in free)
        assert abs(pool[pick] - target) == best
        near = [i for i in free if abs(pool[i] - target) == best]
        assert pool[pick] == min(pool[i] for i in near)  # the lower one of two as near


def test_targets_take_turns():
    assert match_nearest(np.array([0.0, 10.0]), np.array([9.0, 1.0, 11.0, 2.0, 50.0]), 4).tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize(("targets", "pool"), [([], [1.0]), ([1.0], []), ([], [])])
def test_nothing_is_matched_to_nothing(targets, pool):
    assert match_nearest(np.array(targets), np.array(pool), 5).tolist() == []


def test_many_entries_are_matched_quickly():
    rng = np.random.default_rng(0)
    picked = match_nearest(rng.normal(3, 0.1, 2000), rng.normal(0, 1, 100_000), 20_000)  # all crowd in one tail
    assert len(set(picked.tolist())) == 20_000
