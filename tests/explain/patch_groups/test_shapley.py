"""Sampled Shapley values, against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.masking.games import TableGame
from whywrong.explain.patch_groups.shapley import shapley_by_contexts, shapley_values

PLAYERS = 6
ESTIMATORS = {"permutations": shapley_values, "contexts": shapley_by_contexts}


def game(images: int = 3, seed: int = 0) -> TableGame:
    return TableGame(keyed_uniform(row_keys(seed, images), (1 << PLAYERS,)).double())


def exact(table: Tensor) -> Tensor:
    """(n,) by the sum over all sets."""
    total = torch.zeros(PLAYERS, dtype=torch.float64)
    for player in range(PLAYERS):
        others = [p for p in range(PLAYERS) if p != player]
        for size in range(PLAYERS):
            weight = math.factorial(size) * math.factorial(PLAYERS - 1 - size) / math.factorial(PLAYERS)
            for group in itertools.combinations(others, size):
                at = sum(1 << p for p in group)
                total[player] += weight * (table[at | 1 << player] - table[at])
    return total


@pytest.mark.parametrize("name", ESTIMATORS)
def test_values_are_unbiased(name):
    repeats = 1500
    one = game(1)
    table = one.table[:, :, 0].expand(repeats, -1)
    found = ESTIMATORS[name](TableGame(table), "value", row_keys(5, repeats), 1)  # every image another stream
    z = (found.mean(0) - exact(table[0])) / (found.std(0) / repeats**0.5)
    assert float(z.abs().max()) < 4


def test_every_permutation_shares_out_exactly_what_there_is():
    one = game()
    found = shapley_values(one, "value", row_keys(1, 3), 2)
    torch.testing.assert_close(found.sum(1), one.table[:, -1, 0] - one.table[:, 0, 0])
    assert one.forwards.tolist() == [2 + 2 * (PLAYERS - 1)] * 3


def test_additive_games_are_exact_at_once():
    weight = torch.tensor([[0.5, -1.0, 2.0, 0.0, 3.0, 0.25]], dtype=torch.float64)
    members = torch.tensor([[float(s >> p & 1) for p in range(PLAYERS)] for s in range(1 << PLAYERS)]).double()
    additive = TableGame(weight @ members.T)
    for estimator in ESTIMATORS.values():
        torch.testing.assert_close(estimator(additive, "value", row_keys(0, 1), 1), weight)


def test_contexts_have_one_size_for_all_players_and_leave_each_player_out():
    class Seen(TableGame):
        def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
            self.masks = masks
            return super().evaluate(masks, rows)

    seen = Seen(game(4).table[:, :, 0])
    shapley_by_contexts(seen, "value", row_keys(2, 4), 1)
    without, with_ = seen.masks.view(4, PLAYERS, 2, PLAYERS).unbind(2)
    assert (without.sum(2) == without.sum(2)[:, :1]).all()
    assert torch.equal(with_ & ~without, torch.eye(PLAYERS, dtype=torch.bool).expand(4, -1, -1))
    assert len(set(without.sum(2)[:, 0].tolist())) > 1  # of each image its own
    assert seen.forwards.tolist() == [2 * PLAYERS] * 4


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_image_draws_from_its_own_key_whatever_its_neighbours(name):
    keys = row_keys(3, 3)
    together = ESTIMATORS[name](game(), "value", keys, 2)
    alone = ESTIMATORS[name](TableGame(game().table[1:2]), "value", keys[1:2], 2)
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together, ESTIMATORS[name](game(), "value", row_keys(4, 3), 2))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_settings_are_refused(name):
    with pytest.raises(InputError, match="at least 1"):
        ESTIMATORS[name](game(), "value", row_keys(0, 3), 0)
    with pytest.raises(InputError, match="keys"):
        ESTIMATORS[name](game(), "value", row_keys(0, 2), 1)
    with pytest.raises(InputError, match='no value "worth"'):
        ESTIMATORS[name](game(), "worth", row_keys(0, 3), 1)
