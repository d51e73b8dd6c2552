"""Spuriosity ranking, with ends and intervals worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from whywrong.explain.spurious.spuriosity import spuriosity


def wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return centre - half, centre + half


def test_the_ends_are_the_strongest_and_the_weakest_quarter_and_not_one_image_more():
    alpha = torch.arange(12.0)  # the weakest three are rows 0 to 2, the strongest rows 9 to 11
    right = torch.zeros(12, dtype=torch.bool)
    right[[9, 10, 2, 3]] = True
    found = spuriosity(alpha, right)
    assert found.each == 3
    assert found.order.tolist() == list(range(11, -1, -1))
    assert (found.high.value, found.low.value) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize(("strong", "weak"), [(9, 2), (7, 7), (10, 0), (3, 8)])
def test_the_interval_of_the_bias_is_newcombes(strong, weak):
    """Each bound squares and adds the half of the one share that points its way and that of the other against it."""
    right = torch.zeros(40, dtype=torch.bool)
    right[:weak] = True  # rows 0..9 are the weakest
    right[30 : 30 + strong] = True
    found = spuriosity(torch.arange(40.0), right)
    a, b = strong / 10, weak / 10
    (a_low, a_high), (b_low, b_high) = wilson(strong, 10), wilson(weak, 10)
    assert found.bias.value == pytest.approx(a - b)
    assert found.bias.low == pytest.approx(a - b - math.hypot(a - a_low, b_high - b), abs=1e-9)
    assert found.bias.high == pytest.approx(a - b + math.hypot(a_high - a, b - b_low), abs=1e-9)


def test_one_image_has_no_ends_and_two_have_one_each():
    assert spuriosity(torch.zeros(1), torch.ones(1, dtype=torch.bool)).each == 0
    assert spuriosity(torch.zeros(2), torch.ones(2, dtype=torch.bool)).each == 1
