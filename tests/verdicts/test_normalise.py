"""Normalisation against the reference."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from whywrong.verdicts.normalise import normal_scores, normalised, runner_up


def test_a_reference_image_has_its_own_quantile_within_one_over_n() -> None:
    reference = np.random.default_rng(0).gamma(2, size=(120, 3))
    quantile = ndtr(normal_scores(reference, reference))
    ranks = reference.argsort(0).argsort(0)
    assert np.abs(quantile - (ranks + 0.5) / 120).max() < 1 / 120
    assert np.abs(quantile.mean(0) - 0.5).max() < 1 / 120


def test_scores_rise_without_a_jump_at_the_end_of_the_reference_and_are_cut_at_five() -> None:
    reference = np.random.default_rng(1).normal(size=(200, 1))
    high = reference.max()
    at = normal_scores(np.array([[high - 1e-9], [high + 1e-9], [high + 1], [high + 4], [1e9], [-1e9]]), reference)[:, 0]
    # One rank, of (199.5 to 200.5) / 201, is 0.37 in the normal score.
    assert abs(at[1] - at[0]) < 0.4
    assert at[1] < at[2] < at[3] < at[4] == 5
    assert at[5] == -5


def test_slight_and_strong_values_beyond_the_reference_differ() -> None:
    reference = np.random.default_rng(2).normal(size=(300, 1))
    slight, strong = normal_scores(np.array([[4.0], [40.0]]), reference)[:, 0]
    assert 2.8 < slight < 3.6
    assert strong - slight > 1


def test_any_increasing_transform_of_the_sign_keeps_the_scores_inside_the_reference() -> None:
    draw = np.random.default_rng(3)
    reference = draw.normal(size=(150, 1))
    values = draw.uniform(reference.min(), reference.max(), size=(40, 1))
    np.testing.assert_allclose(normal_scores(np.exp(values), np.exp(reference)), normal_scores(values, reference))


def test_scores_do_not_depend_on_the_unit() -> None:
    draw = np.random.default_rng(4)
    reference, values = draw.normal(size=(90, 2)), 6 * draw.normal(size=(30, 2))
    np.testing.assert_allclose(normal_scores(7 * values, 7 * reference), normal_scores(values, reference), atol=1e-6)


def test_fewer_than_fifty_reference_images_leave_only_the_shares() -> None:
    draw = np.random.default_rng(5)
    values = draw.random((10, 3))
    found = normalised(values, draw.random((49, 3)), ["quantity", "share", "logit"])
    assert np.isnan(found[:, [0, 2]]).all()
    np.testing.assert_array_equal(found[:, 1], values[:, 1].astype(np.float32))
    assert np.isfinite(normalised(values, draw.random((50, 3)), ["quantity", "share", "logit"])).all()


def test_missing_and_infinite_values_stay_missing() -> None:
    reference = np.random.default_rng(6).normal(size=(80, 1))
    found = normal_scores(np.array([[np.nan], [np.inf], [0.0]]), reference)[:, 0]
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2])


def test_a_sign_that_is_equal_on_all_reference_images_is_finite() -> None:
    found = normal_scores(np.array([[3.0], [3.5], [2.0]]), np.full((60, 1), 3.0))[:, 0]
    assert found.tolist() == [0, 5, -5]


def test_the_runner_up_is_the_best_class_but_the_predicted_one() -> None:
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]])
    assert runner_up(logits, np.array([1, 0])).tolist() == [2, 1]
