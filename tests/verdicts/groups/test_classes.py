"""Figures of the classes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.verdicts.groups.made import guesses, rows_of

from whywrong.core.statistics import wilson
from whywrong.verdicts.groups import class_table


def test_the_table_counts_what_goes_in_and_out():
    label = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 2, 1, 0, 2])
    rows = rows_of(label, predicted, 4, confidence=np.array([0.9, 0.7, 0.5, 0.4, 0.8, 0.2, 0.6]))
    first, second, third = class_table(rows)
    assert (first.n, first.errors_out, first.errors_in) == (4, 2, 1)
    assert first.recall == wilson(2, 4)
    assert first.precision == wilson(2, 3)
    assert first.mean_confidence == pytest.approx(0.6)
    assert (first.confused_with, first.confused) == (1, 1)
    assert (second.confused_with, third.confused_with) == (0, -1)
    assert third.errors_in == 1


def test_errors_out_and_in_sum_to_the_errors():
    rows = rows_of(*guesses())
    table = class_table(rows)
    assert sum(row.errors_out for row in table) == sum(row.errors_in for row in table) == len(rows.wrong)
    assert sum(row.n for row in table) == len(rows)
