"""Enumeration: games with interactions in closed form, and the identities between orders."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from tests.explain.interactions.exact import (
    enumerate_game,
    exact_interactions,
    exact_mean_curve,
    exact_order_shapley,
    exact_shapley,
    exact_shapley_interactions,
)
from tests.explain.interactions.game_tables import choose, random_tables, table
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.interactions.pairs import all_pairs
from whywrong.explain.masking.games import FunctionGame, TableGame

N = 7
TIGHT = {"atol": 1e-10, "rtol": 0}


def orders_by_pair(values: Tensor) -> dict[tuple[int, int], list[float]]:
    found = exact_interactions(TableGame(values))[0, :, :, 0]  # (n-1, P)
    return {(i, j): found[:, p].tolist() for p, (i, j) in enumerate(all_pairs(N).tolist())}


def test_an_additive_game_has_no_interactions():
    found = exact_interactions(TableGame(table(N, lambda x: sum((i + 1) * v for i, v in enumerate(x)))))
    torch.testing.assert_close(found, torch.zeros_like(found), **TIGHT)


def test_a_product_has_its_factor_at_every_order_and_no_other_pair_has_any():
    found = orders_by_pair(table(N, lambda x: 2.5 * x[1] * x[4]))
    for pair, curve in found.items():
        assert curve == pytest.approx([2.5 if pair == (1, 4) else 0.0] * (N - 1), abs=1e-10)


@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_and_of_some_players_cooperates_at_high_orders(k):
    found = orders_by_pair(table(N, lambda x: float(all(x[:k]))))
    expected = [choose(N - k, s - k + 2) / choose(N - 2, s) for s in range(N - 1)]
    for (i, j), curve in found.items():
        assert curve == pytest.approx(expected if j < k else [0.0] * (N - 1), abs=1e-10), (i, j)


@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_or_of_some_players_is_redundant_at_low_orders(k):
    found = orders_by_pair(table(N, lambda x: float(any(x[:k]))))
    expected = [-choose(N - k, s) / choose(N - 2, s) for s in range(N - 1)]
    for (i, j), curve in found.items():
        assert curve == pytest.approx(expected if j < k else [0.0] * (N - 1), abs=1e-10), (i, j)


@pytest.mark.parametrize("t", [2, 4, 6])
def test_a_threshold_interacts_on_both_of_its_sides_only(t):
    found = orders_by_pair(table(N, lambda x: float(sum(x) >= t)))
    expected = [1.0 if s == t - 2 else -1.0 if s == t - 1 else 0.0 for s in range(N - 1)]
    for curve in found.values():
        assert curve == pytest.approx(expected, abs=1e-10)


def test_parity_interacts_with_alternating_sign():
    found = orders_by_pair(table(N, lambda x: float(sum(x) % 2)))
    for curve in found.values():  # v(2) - 2 v(1) + v(0) of the parity 0, 1, 0
        assert curve == pytest.approx([-2.0 * (-1) ** s for s in range(N - 1)], abs=1e-10)


def test_a_dictator_interacts_with_nobody():
    assert all(curve == pytest.approx([0.0] * (N - 1)) for curve in orders_by_pair(table(N, lambda x: x[2])).values())


def test_scaling_scales_and_constants_do_nothing():
    values = random_tables(1, N)
    plain = exact_interactions(TableGame(values))
    torch.testing.assert_close(exact_interactions(TableGame(-3 * values + 11)), -3 * plain, atol=1e-9, rtol=0)


def test_a_pair_is_the_same_in_both_directions():
    game = TableGame(random_tables(2, N))
    pairs = all_pairs(N)
    torch.testing.assert_close(exact_interactions(game, pairs), exact_interactions(game, pairs.flip(1)), **TIGHT)


# Identities (a) to (d), on random games of several images and values.


@pytest.fixture(scope="module")
def game() -> TableGame:
    return TableGame(random_tables(6, N).view(2, 3, -1).transpose(1, 2))


def test_a_efficiency(game):
    found = exact_interactions(game)  # (B, n-1, P, V)
    weight = torch.tensor([(N - 1 - s) / (N * (N - 1)) for s in range(N - 1)], dtype=torch.float64)
    together = 2 * (found.sum(2) * weight[:, None]).sum(1)  # every pair in both directions
    alone = sum(game.table[:, 1 << i] - game.table[:, 0] for i in range(N))
    torch.testing.assert_close(alone + together, game.table[:, -1] - game.table[:, 0], **TIGHT)


def test_b_steps_of_order_shapley_values_are_mean_interactions(game):
    found, phi = exact_interactions(game), exact_order_shapley(game)
    for i in range(N):
        mine = (all_pairs(N) == i).any(1)
        torch.testing.assert_close(found[:, :, mine].mean(2), phi[:, 1:, i] - phi[:, :-1, i], **TIGHT)


def test_c_second_differences_of_the_mean_curve_are_mean_interactions(game):
    curve = exact_mean_curve(game)
    torch.testing.assert_close(
        exact_interactions(game).mean(2), curve[:, 2:] - 2 * curve[:, 1:-1] + curve[:, :-2], **TIGHT
    )


def test_d_the_shapley_interaction_is_the_mean_over_orders(game):
    torch.testing.assert_close(exact_interactions(game).mean(1), exact_shapley_interactions(game), **TIGHT)


def test_shapley_values_share_out_the_whole_and_agree_with_all_orders_of_arrival():
    values = random_tables(1, 4)
    found = exact_shapley(TableGame(values))[0, :, 0]
    expected = torch.zeros(4, dtype=torch.float64)
    for arrival in permutations(range(4)):
        code = 0
        for player in arrival:
            expected[player] += (values[0, code | 1 << player] - values[0, code]) / 24
            code |= 1 << player
    torch.testing.assert_close(found, expected, **TIGHT)
    assert float(found.sum()) == pytest.approx(float(values[0, -1] - values[0, 0]))


def test_any_function_of_sets_is_enumerated_with_one_pass_a_set():
    game = FunctionGame(lambda masks: masks[:, 0] * 2.0 + masks[:, 1] * masks[:, 2], 5)
    known = enumerate_game(game)
    assert game.forwards.tolist() == [32]
    found = exact_interactions(known, torch.tensor([[1, 2], [0, 1]]))[0, :, :, 0]
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]] * 4, dtype=torch.float64))


def test_too_many_players_are_not_enumerated():
    with pytest.raises(InputError, match="13 players"):
        enumerate_game(FunctionGame(lambda masks: masks.sum(1), 13))


def test_exact_values_are_those_of_shapiq():
    shapiq = pytest.importorskip("shapiq")
    values = random_tables(1, 6)[0]

    def game(masks):
        return values[torch.from_numpy(masks).long() @ 2 ** torch.arange(6)].numpy()

    found = shapiq.ExactComputer(n_players=6, game=game)("SII", order=2)
    ours = exact_shapley_interactions(TableGame(values[None]))[0, :, 0]
    for (i, j), value in zip(all_pairs(6).tolist(), ours.tolist(), strict=True):
        assert found[(i, j)] == pytest.approx(value, abs=1e-9)
