"""Calibration on simulated predictions whose truth is drawn from known probabilities."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.combiner.calibration import (
    conformal_levels,
    estimate_prior,
    fit_temperature,
    fit_threshold,
    prediction_sets,
    tempered,
    with_prior,
)


def simulated(n: int, seed: int, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, 8), and classes drawn from them."""
    draw = np.random.default_rng(seed)
    z = sharpness * draw.normal(size=(n, 8))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p, (p.cumsum(1) < draw.random(n)[:, None]).sum(1)


def test_the_temperature_undoes_a_temperature() -> None:
    p, truth = simulated(4000, 0)
    for other in (0.5, 1.0, 2.0):
        assert abs(fit_temperature(tempered(p, other), truth) - 1 / other) < 0.1 / other


def test_sets_hold_the_class_of_nine_in_ten_new_errors_of_each_class() -> None:
    p, truth = simulated(4000, 1)
    levels = conformal_levels(p, truth)
    fresh, fresh_truth = simulated(4000, 2)
    sets = prediction_sets(fresh, levels)
    for k in range(8):
        assert 0.86 < sets[fresh_truth == k, k].mean() < 0.94
    assert sets.any(1).all()
    assert sets.sum(1).mean() < 6


def test_a_class_with_too_few_errors_belongs_to_every_set() -> None:
    p, truth = simulated(200, 3)
    few = (truth != 5) | (np.cumsum(truth == 5) <= 5)
    levels = conformal_levels(p[few], truth[few])
    assert levels[5] == 1
    assert prediction_sets(p, levels)[:, 5].all()


def test_expectation_maximisation_goes_halfway_to_shifted_class_shares() -> None:
    wanted = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    draw = np.random.default_rng(4)
    truth = draw.choice(8, 3000, p=wanted)
    # Scores of a classifier of equal class shares with normal evidence of known separation.
    z = draw.normal(size=(3000, 8))
    z[np.arange(3000), truth] += 2.5
    p = np.exp(2.5 * z)
    p /= p.sum(1, keepdims=True)
    prior = estimate_prior(p)
    shrunk = (3000 * wanted + 40) / 3320  # by 40 imagined errors of each class
    assert np.abs(prior - (shrunk + 1 / 8) / 2).max() < 0.01
    before, after = ((q.argmax(1) == truth).mean() for q in (p, with_prior(p, prior)))
    assert after > before
    assert np.abs(estimate_prior(p).sum() - 1) < 1e-9


def test_class_shares_have_a_floor_and_are_equal_for_few_errors() -> None:
    p = np.full((4000, 8), 1e-5)
    p[:, 0] = 1 - 7e-5
    prior = estimate_prior(p)
    assert np.isclose(prior.sum(), 1)
    assert (prior[1:] > 1 / 16).all()
    assert prior[0] > 0.5
    assert (estimate_prior(p[:49]) == 1 / 8).all()


def test_the_threshold_is_the_least_that_is_right_often_enough() -> None:
    p, truth = simulated(6000, 5, 4.0)
    threshold = fit_threshold(p, truth, 7)
    best, top = p.argmax(1), p.max(1)

    def right(at: float) -> float:
        stated = (best != 7) & (top >= at)
        return float((best == truth)[stated].mean())

    assert right(threshold) >= 0.93 > right(threshold - 0.02)


def test_bystanders_raise_the_threshold_only_as_ordinary_errors() -> None:
    p, truth = simulated(6000, 8, 4.0)
    alone = fit_threshold(p, truth, 7)
    # Bystanders look like their damage: a cause is likely, and none is true.
    beside = np.arange(6600) >= 6000
    looks = np.tile(np.eye(8)[1] * 0.9 + 0.0125, (600, 1))
    both, true = np.concatenate([p, looks]), np.concatenate([truth, np.full(600, 7)])
    assert fit_threshold(both, true, 7, bystander=beside) >= 0.91 > alone  # more than 15 % of the ordinary ones
    assert fit_threshold(both[:6060], true[:6060], 7, bystander=beside[:6060]) == alone


def test_random_truth_gives_the_highest_threshold() -> None:
    p, _ = simulated(2000, 6, 4.0)
    truth = np.random.default_rng(7).integers(0, 8, 2000)
    assert fit_threshold(p, truth, 7) == 0.99
