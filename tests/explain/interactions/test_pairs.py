"""Pairs and orders."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.interactions.pairs import (
    all_pairs,
    check_orders,
    check_pairs,
    clamped_weights,
    draw_pairs,
    near_pairs,
    orders_of,
)


def test_orders_are_the_floor_of_the_ratio_and_come_once():
    assert orders_of(256) == (0, 12, 25, 50, 76, 101, 127, 152, 177, 203, 228, 241, 254)
    assert orders_of(16) == (0, 1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 14)
    assert orders_of(102, [0.29]) == (29,)  # 0.29 * 100 is 28.999... in floats


def test_the_counts_of_pairs_are_those_of_the_grid():
    assert len(all_pairs(256)) == 32640
    assert len(near_pairs(4, 4)) == 90
    assert len(near_pairs(5, 5)) == 168
    assert near_pairs(2, 3, 1).tolist() == [
        [0, 1], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4], [1, 5], [2, 4], [2, 5], [3, 4], [4, 5],
    ]  # fmt: skip


def test_pairs_are_drawn_without_repetition_and_by_key():
    keys = row_keys(0, 4)
    found = draw_pairs(keys, near_pairs(4, 4), 60)
    check_pairs(found, 4, 16)  # refuses repetitions
    assert torch.equal(draw_pairs(keys[2:3], near_pairs(4, 4), 60)[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_more_pairs_than_there_are_gives_all_of_them_and_a_warning():
    with pytest.warns(UserWarning, match="91 pairs were asked for, there are 90"):
        found = draw_pairs(row_keys(0, 1), near_pairs(4, 4), 91)
    assert sorted(found[0].tolist()) == sorted(near_pairs(4, 4).tolist())


def test_the_clamped_law_is_that_of_drawing_and_rejecting():
    rows, cols, radius = 3, 4, 2
    pairs = near_pairs(rows, cols, radius)
    hits = dict.fromkeys(map(tuple, pairs.tolist()), 0)
    for i in range(rows * cols):
        for down in range(-radius, radius + 1):
            for right in range(-radius, radius + 1):
                j = min(max(i // cols + down, 0), rows - 1) * cols + min(max(i % cols + right, 0), cols - 1)
                if i != j:
                    hits[min(i, j), max(i, j)] += 1
    weights = clamped_weights(rows, cols, radius, pairs)
    assert weights.tolist() == list(hits.values())
    first = draw_pairs(row_keys(1, 20_000), pairs, 1, weights)[:, 0]
    share = torch.stack([(first == pair).all(1).double().mean() for pair in pairs])
    expected = weights / weights.sum()
    z = (share - expected) / (expected * (1 - expected) / 20_000).sqrt()
    assert float(z.abs().max()) < 4  # of 51 pairs; the seed is fixed


@pytest.mark.parametrize(
    "pairs",
    [
        torch.tensor([[0, 0]]),
        torch.tensor([[0, 1], [1, 0]]),
        torch.tensor([[0, 5]]),
        torch.tensor([[-1, 2]]),
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([0, 1]),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.tensor([[[0, 1]]] * 3),
        [[0, 1]],
    ],
)
def test_wrong_pairs_are_refused(pairs):
    with pytest.raises(InputError):
        check_pairs(pairs, 2, 5)


@pytest.mark.parametrize("orders", [(), (4,), (-1,), (1, 1), (0.5,), (True,)])
def test_wrong_orders_are_refused(orders):
    with pytest.raises(InputError):
        check_orders(orders, 5)


def test_impossible_requests_are_refused():
    with pytest.raises(InputError, match="at least one pair"):
        draw_pairs(row_keys(0, 1), near_pairs(4, 4), 0)
    with pytest.raises(InputError):
        near_pairs(4, 4, 0)
    with pytest.raises(InputError):
        orders_of(16, [1.1])
