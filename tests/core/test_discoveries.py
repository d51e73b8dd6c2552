"""P values against controls, and the Benjamini-Hochberg procedure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whywrong.core.discoveries import LEAST_CONTROLS, benjamini_hochberg, confirm, rank_p_values, reference_of

P = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_the_example_of_the_paper_keeps_four():
    # Benjamini and Hochberg 1995, section 4.1: 15 P values, 4 kept at .05.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
         0.7590, 1.0]  # fmt: skip
    assert benjamini_hochberg(np.array(p), 0.05).tolist() == [True] * 4 + [False] * 11


def test_a_later_p_value_below_its_line_keeps_the_earlier_ones_above_theirs():
    assert benjamini_hochberg(np.array([0.06, 0.06, 0.9]), 0.1).tolist() == [True, True, False]


def test_p_values_on_the_line_are_kept():
    p = np.array([*[0.03] * 30, *[1.0] * 70])
    assert benjamini_hochberg(p, 0.1).sum() == 30


@given(P, st.floats(0.01, 0.5))
def test_what_is_kept_is_that_of_the_definition(p, level):
    ranked = sorted(p)
    k = max((k for k in range(1, len(p) + 1) if ranked[k - 1] <= level * k / len(p) * (1 + 1e-12)), default=0)
    expected = [value <= ranked[k - 1] for value in p] if k else [False] * len(p)
    assert benjamini_hochberg(np.array(p), level).tolist() == expected


def test_p_counts_the_controls_at_least_as_large_and_the_observation():
    controls = np.array([0.1, 0.2, 0.2, 0.5])
    assert rank_p_values(np.array([0.6, 0.5, 0.2, 0.15, 0.0]), controls).tolist() == [0.2, 0.4, 0.8, 0.8, 1.0]
    assert rank_p_values(np.array([1.0]), np.empty(0)).tolist() == [1.0]


def test_a_place_that_stands_out_without_turning_the_prediction_is_not_confirmed():
    found = confirm(np.array([0.9, 0.9]), np.array([True, False]), np.zeros(200))
    assert found.kept.tolist() == [True, False]
    assert found.p.tolist() == pytest.approx([1 / 201] * 2)


def test_errors_like_their_controls_are_hardly_ever_confirmed():
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        v = rng.normal(size=500)
        kept += int(confirm(v[:100], np.ones(100, bool), v[100:]).kept.any())
    assert kept / 200 <= 0.1 + 3 * (0.09 / 200) ** 0.5  # under the null any discovery is false: a rate of the level


@pytest.mark.parametrize("number", [0, 1, LEAST_CONTROLS - 1])
def test_too_few_controls_confirm_nothing_and_say_so(number):
    found = confirm(np.array([0.9]), np.array([True]), np.zeros(number))
    assert not found.tested
    assert np.isnan(found.p).all()
    assert not found.kept.any()


@pytest.mark.parametrize(("kept", "apart", "used"), [(200, 100, 200), (199, 133, 332), (0, 5, 5), (3, 0, 3)])
def test_controls_are_kept_apart_only_if_enough_are_left(kept, apart, used):
    held_out = np.arange(kept + apart) >= kept
    assert len(reference_of(np.zeros(kept + apart), held_out)) == used


def test_no_errors_are_nothing():
    assert confirm(np.empty(0), np.empty(0, bool), np.zeros(30)).kept.tolist() == []
