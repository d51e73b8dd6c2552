"""Games: what they take, what they refuse, what they count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.explain.interactions.game_tables import random_tables

from whywrong.core.errors import InputError, NonFiniteError
from whywrong.explain.masking.games import FunctionGame, TableGame


def test_a_table_is_read_by_the_bits_of_the_set():
    game = TableGame(torch.arange(16.0).expand(2, 16))
    masks = torch.tensor([[[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1]]] * 2, dtype=torch.bool)
    assert game(masks)[..., 0].tolist() == [[0.0, 1.0, 10.0]] * 2
    assert game.forwards.tolist() == [3, 3]


def test_a_function_gets_numpy_booleans_and_may_give_several_values():
    seen = []

    def function(masks):
        seen.append((type(masks), masks.dtype, masks.shape))
        return np.stack([masks.sum(1), -masks.sum(1)], 1)

    game = FunctionGame(function, 3, names=("up", "down"))
    assert game(torch.ones(1, 2, 3, dtype=torch.bool)).tolist() == [[[3.0, -3.0]] * 2]
    assert seen == [(np.ndarray, np.dtype(bool), (2, 3))]


def test_every_image_has_its_own_function_and_its_own_count():
    game = FunctionGame([lambda m: m.sum(1), lambda m: 10 * m.sum(1)], 3)
    found = game.values(torch.ones(3, 3, dtype=torch.bool), torch.tensor([1, 0, 1]))
    assert found[:, 0].tolist() == [30.0, 3.0, 30.0]
    assert game.forwards.tolist() == [1, 2]


def test_a_value_that_is_not_finite_stops_with_image_and_set():
    table = random_tables(2, 3)
    table[1, 5] = torch.inf
    with pytest.raises(NonFiniteError, match=r"image 1 with players \[0, 2\]"):
        TableGame(table)(torch.tensor([[True, False, True]]).expand(2, 1, 3))


@pytest.mark.parametrize(
    ("masks", "rows"),
    [
        (torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 1])),
    ],
)
def test_wrong_masks_and_rows_are_refused(masks, rows):
    with pytest.raises(InputError):
        TableGame(random_tables(1, 3)).values(masks, rows)


def test_wrong_games_are_refused():
    for bad in (torch.zeros(1, 6), torch.zeros(8), torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 4)):
        with pytest.raises(InputError):
            TableGame(bad)
    with pytest.raises(InputError, match="at least 3 players"):
        FunctionGame(lambda m: m.sum(1), 2)
    with pytest.raises(InputError, match="one image"):
        FunctionGame([], 4)
    with pytest.raises(InputError, match="expected"):
        FunctionGame(lambda m: np.zeros((len(m), 2)), 3)(torch.zeros(1, 2, 3, dtype=torch.bool))
