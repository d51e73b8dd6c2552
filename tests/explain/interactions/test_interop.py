"""To and from shapiq, whose exact values are the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.explain.interactions.exact import enumerate_game, exact_interactions, exact_shapley_interactions
from tests.explain.interactions.game_tables import random_tables

from whywrong.core.errors import InputError
from whywrong.explain.interactions import InteractionsConfig, TableGame, all_pairs, estimate, from_shapiq, to_shapiq

shapiq = pytest.importorskip("shapiq")


def theirs(table: np.ndarray, players: int):
    """A game of shapiq over a table whose entries are counted by bits."""

    class OfTable(shapiq.Game):
        def __init__(self) -> None:
            super().__init__(n_players=players, normalize=False)

        def value_function(self, coalitions: np.ndarray) -> np.ndarray:
            return table[coalitions.astype(int) @ (1 << np.arange(players))]

    return OfTable()


@pytest.mark.parametrize("players", [3, 6, 9, 12])
def test_the_shapley_interaction_index_is_that_of_shapiq(players):
    table = random_tables(1, players, seed=players)
    game = theirs(table[0].numpy(), players)
    due = shapiq.ExactComputer(game, players)("SII", 2)
    pairs = all_pairs(players)
    ours = exact_shapley_interactions(enumerate_game(from_shapiq(game)), pairs)[0, :, 0]
    expected = [due[tuple(pair)] for pair in pairs.tolist()]
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-10)


def test_a_profile_of_all_orders_leaves_as_the_index_that_shapiq_computes():
    game = theirs(random_tables(1, 6, seed=1)[0].numpy(), 6)
    config = InteractionsConfig(contexts=200, orders=tuple(range(5)))
    profile = estimate(from_shapiq(game), all_pairs(6), config=config)
    assert all(profile.exact)
    found = to_shapiq(profile)
    due = shapiq.ExactComputer(game, 6)("SII", 2)
    assert (found.index, found.min_order, found.max_order, found.estimated) == ("SII", 2, 2, False)
    assert found.estimation_budget == int(profile.forwards[0])
    for pair in all_pairs(6).tolist():
        assert found[tuple(pair)] == pytest.approx(due[tuple(pair)], abs=1e-10)


def test_one_order_leaves_under_its_own_name_and_unordered_pairs_are_sorted():
    tables = TableGame(random_tables(2, 7, seed=2))
    pairs = torch.tensor([[4, 1], [0, 6]])
    profile = estimate(tables, pairs, config=InteractionsConfig(contexts=500, orders=(2, 5)))
    found = to_shapiq(profile, image=1, order=2)
    due = exact_interactions(tables, pairs)[1, 2, :, 0]
    assert found.index == "order-2"
    assert found[(1, 4)] == pytest.approx(float(due[0]), abs=1e-10)
    assert found[(0, 6)] == pytest.approx(float(due[1]), abs=1e-10)


def test_what_cannot_leave_is_refused_with_the_reason():
    tables = TableGame(random_tables(1, 6).unsqueeze(2).expand(-1, -1, 2), names=("a", "b"))
    profile = estimate(tables, all_pairs(6), config=InteractionsConfig(contexts=4, orders=(0, 2)))
    with pytest.raises(InputError, match="name the value: one of a, b"):
        to_shapiq(profile)
    with pytest.raises(InputError, match="one of a, b, got 'c'"):
        to_shapiq(profile, value="c")
    with pytest.raises(InputError, match="holds 2 of 5"):
        to_shapiq(profile, value="a")
    with pytest.raises(InputError, match=r"one of \[0, 2\], got 1"):
        to_shapiq(profile, value="a", order=1)
    with pytest.raises(InputError, match=r"0\.\.0, got 3"):
        to_shapiq(profile, value="a", order=0, image=3)
    with pytest.raises(InputError, match="has n_players"):
        from_shapiq(lambda masks: masks.sum(1))
