"""Pairs in blocks of neighbours, spread over the grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.interactions.blocks import block_pairs
from whywrong.explain.interactions.pairs import check_pairs


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 16), cols=st.integers(2, 16), side=st.integers(2, 4), blocks=st.integers(1, 5),
    radius=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_pairs_are_different_near_and_inside_of_the_grid(rows, cols, side, blocks, radius, seed):
    pairs = block_pairs(row_keys(seed, 3), rows, cols, side=side, blocks=blocks, radius=radius)
    check_pairs(pairs, 3, rows * cols)  # in range, no player with itself, none twice
    i, j = pairs.unbind(2)
    assert bool((i < j).all())
    apart = torch.maximum((i // cols - j // cols).abs(), (i % cols - j % cols).abs())
    assert int(apart.max()) <= min(radius, side - 1)


def test_the_players_of_a_block_are_all_paired_within_the_radius():
    pairs = block_pairs(row_keys(0, 4), 14, 14, side=3, blocks=1, radius=2)
    assert pairs.shape == (4, 36, 2)
    assert all(len(one.unique()) == 9 for one in pairs)


def test_blocks_do_not_overlap_and_a_small_grid_holds_fewer():
    assert len(block_pairs(row_keys(0, 1), 9, 9, side=3, blocks=4)[0].unique()) == 36
    assert block_pairs(row_keys(0, 1), 4, 5, side=3, blocks=9).shape == (1, 36, 2)
    assert block_pairs(row_keys(0, 1), 2, 5, side=3, blocks=1, radius=1).shape == (1, 11, 2)


def test_every_player_takes_part_in_some_image_and_keys_decide_where():
    keys = row_keys(0, 400)
    pairs = block_pairs(keys, 7, 7, side=3, blocks=1)
    assert len(pairs.unique()) == 49
    assert torch.equal(block_pairs(keys[5:6], 7, 7, side=3, blocks=1), pairs[5:6])


@pytest.mark.parametrize("bad", [{"side": 1}, {"blocks": 0}, {"radius": 0}])
def test_what_makes_no_pairs_is_refused(bad):
    with pytest.raises(InputError):
        block_pairs(row_keys(0, 1), 8, 8, **bad)
