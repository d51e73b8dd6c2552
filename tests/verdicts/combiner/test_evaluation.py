"""Figures of merit, against answers worked out by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score
from tests.verdicts.combiner.test_calibration import simulated

from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.evaluation import (
    accuracy_at,
    brier,
    calibration_error,
    classwise_error,
    confusion,
    f1_of_causes,
    figures,
    macro_f1,
    null_band,
    recall_by,
    risk_coverage,
    top_two,
)


def test_scores_and_confusions_are_those_of_scikit_learn() -> None:
    p, truth = simulated(500, 0)
    predicted = p.argmax(1)
    np.testing.assert_array_equal(confusion(truth, predicted, 8), confusion_matrix(truth, predicted))
    assert np.isclose(macro_f1(truth, predicted, range(8)), f1_score(truth, predicted, average="macro"))


def test_a_cause_that_no_error_has_can_be_predicted_and_then_counts_as_missed() -> None:
    p = np.zeros((4, 8))
    p[[0, 1, 2, 3], [0, 0, 5, 7]] = 1
    alone, everything = f1_of_causes(p, np.array([0, 0, 0, 7]), 7)
    assert np.isclose(alone, 0.8)  # 2 of 3 found, nothing else called so
    assert np.isclose(everything, 0.9)


def test_ordinary_errors_are_set_aside_and_ordinary_is_no_answer_for_causes() -> None:
    p = np.array([[0.4, 0.1, 0, 0, 0, 0, 0, 0.5], [0.1, 0.2, 0, 0, 0, 0, 0, 0.7]])
    assert f1_of_causes(p, np.array([0, 7]), 7)[0] == 1


def test_truth_drawn_from_the_probabilities_is_inside_the_null_band() -> None:
    inside = []
    for seed in range(20):
        p, truth = simulated(400, seed)
        top = p.max(1)
        inside.append(calibration_error(top, p.argmax(1) == truth) <= null_band(top, draws=200, seed=seed).high)
    assert np.mean(inside) >= 0.8


def test_overconfident_probabilities_are_outside_the_null_band() -> None:
    p, truth = simulated(400, 1)
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    top = sharp.max(1)
    assert calibration_error(top, sharp.argmax(1) == truth) > null_band(top, draws=200).high


def test_figures_of_a_small_case_are_those_worked_out_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    truth = np.array([0, 1, 1, 0])
    assert accuracy_at(p, truth, 0.5) == 0.5
    assert accuracy_at(p, truth, 1) == 0.5
    assert np.isclose(brier(p, truth), 2 * (0.01 + 0.36 + 0.09 + 0.64) / 4)
    assert top_two(p, truth) == 1
    assert risk_coverage(p, truth, 4) == [(0.25, 0.0), (0.5, 0.5), (0.75, 1 - 2 / 3), (1.0, 0.5)]
    right = p.argmax(1) == truth
    assert np.isclose(calibration_error(p.max(1), right, 1), abs(0.75 - 0.5))
    assert recall_by(truth, p.argmax(1), np.array(["a", "a", "b", "b"])) == {"a": (1, 2), "b": (1, 2)}
    assert classwise_error(np.eye(2), np.array([0, 1])) == 0


def test_all_figures_of_a_perfect_forecast_are_perfect() -> None:
    truth = np.arange(64) % 8
    p = np.eye(8)[truth]
    found = figures(p, truth, classes=CLASSES, threshold=0.7, sets=p > 0.5, bystander=truth == 7)
    assert (found.f1_causes, found.f1_all, found.accuracy_70, found.stated_right) == (1, 1, 1, 1)
    assert (found.ece, found.brier, found.ordinary_called, found.bystanders_corruption) == (0, 0, 0, 0)
    assert (found.coverage, found.set_coverage, found.set_size) == (7 / 8, 1, 1)
