"""Marks are found where they recur in one prediction, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.verdicts.recurrence.made import measured, paste, pattern, pictures

from whywrong.verdicts.recurrence import blocks, recurrence

N = 90
CLASSES = np.arange(N) % 3


def test_a_mark_pasted_into_errors_with_one_prediction_is_one_cluster_with_its_box():
    x, rows = pictures(N), np.arange(0, 36, 3)
    paste(x, rows, pattern(7, seed=1))
    found = recurrence(measured(x, CLASSES))
    assert set((found.count > 0).nonzero()[0]) == set(rows)
    assert (found.count[rows] == 11).all()
    assert (found.compared[rows] == 29).all()
    [mark] = found.marks
    assert set(mark.members) == set(rows)
    assert mark.predicted == 0
    np.testing.assert_allclose(mark.box, np.array([22, 22, 29, 29]) / 32, atol=1.5 / 32)
    assert (found.cluster[rows] == 0).all()
    assert (found.cluster == 0).sum() == len(rows)


def test_two_versions_of_a_mark_are_two_clusters():
    x, rows = pictures(N), np.arange(0, 72, 3)
    paste(x, rows[::2], pattern(7, seed=1))
    paste(x, rows[1::2], pattern(7, seed=2))
    found = recurrence(measured(x, CLASSES))
    assert {frozenset(mark.members.tolist()) for mark in found.marks} == {
        frozenset(rows[::2].tolist()),
        frozenset(rows[1::2].tolist()),
    }


def test_a_mark_that_moves_by_two_pixels_is_still_found():
    x, rows = pictures(N), np.arange(0, 72, 3)
    paste(x, rows, pattern(7, seed=1), jitter=2)
    found = recurrence(measured(x, CLASSES))
    assert (found.count[rows] > 0).mean() >= 0.9
    assert (np.delete(found.count, rows) == 0).all()


def test_a_mark_that_is_in_errors_with_all_predictions_is_no_cue():
    x = pictures(N)
    paste(x, np.arange(0, N, 2), pattern(7, seed=1))
    found = recurrence(measured(x, CLASSES))
    assert (found.count == 0).all()
    assert found.marks == ()


def test_correct_images_with_other_predictions_are_further_controls():
    x, rows = pictures(60), np.arange(20)
    paste(x, rows, pattern(7, seed=1))
    errors = measured(x, np.zeros(60, np.int64))
    assert len(recurrence(errors).marks) == 1
    reference = measured(x[rows], np.full(20, 2), tuple(f"r{row}" for row in rows))
    assert recurrence(errors, reference).marks == ()


@pytest.mark.parametrize("seed", range(3))
def test_pictures_without_a_mark_share_nothing(seed):
    found = recurrence(measured(pictures(N, seed), CLASSES))
    assert (found.count > 0).mean() <= 0.01
    assert found.marks == ()


def test_shuffled_predictions_hide_a_mark():
    x = pictures(N)
    paste(x, np.arange(0, 36, 3), pattern(7, seed=1))
    found = recurrence(measured(x, np.random.default_rng(0).permutation(CLASSES)))
    assert found.marks == ()


def test_one_photograph_stored_twenty_times_is_no_cue():
    x = pictures(N)
    x[:60:3] = x[0]
    sources = tuple("one" if row < 60 and row % 3 == 0 else f"s{row}" for row in range(N))
    assert (recurrence(measured(x, CLASSES, sources)).count == 0).all()


def test_copies_under_other_names_are_no_cue_either():
    x = pictures(N)
    x[:60:3] = x[0] + np.random.default_rng(0).normal(0, 0.004, (20, 3, 32, 32))
    assert (recurrence(measured(x.clip(0, 1), CLASSES)).count == 0).all()


def test_copies_of_a_marked_photograph_count_once():
    x, rows = pictures(N), np.arange(0, 36, 3)
    paste(x, rows, pattern(7, seed=1))
    x[45:75:3] = x[0]
    found = recurrence(measured(x, CLASSES))
    assert (found.count[rows] == 11).all()
    assert found.compared[rows[0]] == 19


def test_flat_pictures_share_nothing():
    x = np.full((60, 3, 32, 32), 0.5, np.float32) + np.linspace(0, 0.02, 32, dtype=np.float32)
    found = recurrence(measured(x, np.arange(60) % 2))
    assert (found.count == 0).all()
    assert (found.best < 0.5).all()


def test_the_order_of_the_errors_changes_nothing():
    x, rows = pictures(N), np.arange(0, 36, 3)
    paste(x, rows, pattern(7, seed=1), jitter=1)
    errors, order = measured(x, CLASSES), np.random.default_rng(0).permutation(N)
    here, there = recurrence(errors), recurrence(errors.at(order))
    np.testing.assert_array_equal(here.count[order], there.count)
    np.testing.assert_allclose(here.best[order], there.best, rtol=1e-5)
    np.testing.assert_array_equal(here.cluster[order], there.cluster)


def test_errors_beyond_the_largest_number_compared_still_join_their_mark(monkeypatch):
    monkeypatch.setattr(blocks.choose_compared, "__defaults__", (12,))
    x, rows = pictures(N), np.arange(0, 72, 3)
    paste(x, rows, pattern(7, seed=1))
    found = recurrence(measured(x, CLASSES))
    assert set(found.marks[0].members) == set(rows)
    assert found.compared.max() == 12


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_errors_give_no_result(n):
    found = recurrence(measured(pictures(n), np.zeros(n, np.int64)))
    assert found.count.tolist() == [0] * n
    assert np.isnan(found.best).all()
    assert np.isnan(found.place).all()


def test_images_that_are_too_small_give_no_result():
    errors = measured(pictures(20), np.zeros(20, np.int64))
    found = recurrence(replace(errors, detail=errors.detail[..., :8, :8]))
    assert (found.count == 0).all()
    assert (found.cluster == -1).all()
