"""Players that pairs join: who they are, that their contexts are uniform, and that no set is asked twice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.explain.interactions.exact import exact_interactions
from tests.explain.interactions.game_tables import random_tables
from tests.explain.interactions.test_estimators import repeated, z_of

from whywrong.core.randomness import row_keys
from whywrong.explain.interactions.blocks import block_pairs
from whywrong.explain.interactions.coalitions import plan_sets
from whywrong.explain.interactions.components import components_of
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import all_pairs, draw_pairs, near_pairs
from whywrong.explain.interactions.permutation_windows import bases
from whywrong.explain.masking.games import TableGame

N = 12
TWO_BLOCKS = torch.cat([all_pairs(4), all_pairs(4) + 7])  # players 0-3 and 7-10


def drawn(pairs, players, order, contexts=24, units=4):
    plan = plan_sets(players, order, contexts, units, balanced=True)
    ran = torch.ones(len(pairs), plan.units, plan.per_permutation, dtype=torch.bool)
    return plan, bases(row_keys(3, len(pairs)), players, pairs, plan, ran)


def reachable(pairs, start):
    found = {start}
    while True:
        more = {k for i, j in pairs for k in (i, j) if i in found or j in found}
        if more <= found:
            return found
        found |= more


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(6, 20), st.integers(4, 14))
def test_players_have_one_label_if_and_only_if_pairs_connect_them(seed, players, number):
    pairs = draw_pairs(row_keys(seed, 2), all_pairs(players), number)
    found = components_of(pairs, players)
    for image in range(2):
        rows = pairs[image].tolist()
        components = {frozenset(reachable(rows, i)) for i, _ in rows}
        if sum(map(len, components)) < 3 * len(components):
            components = {frozenset().union(*components)}
        labels = found.label[image]
        assert {frozenset((labels == k).nonzero().flatten().tolist()) for k in range(len(components))} == components
        assert set(labels.unique().tolist()) - {-1} == set(range(len(components)))
        assert sorted(found.players[image].tolist())[-len(components) :] == sorted(map(len, components))
        assert found.of_pair[image].tolist() == labels[pairs[image, :, 0]].tolist()


@pytest.mark.parametrize("order", [1, 4, 7, 9])
def test_pairs_of_two_blocks_are_unbiased(order):
    values = random_tables(1, N, seed=2)
    truth = exact_interactions(TableGame(values), TWO_BLOCKS)[0, order, :, 0]
    config = InteractionsConfig(orders=(order,), contexts=4, units=2, permutations=0)
    found = estimate(repeated(values, 3000), TWO_BLOCKS, config=config)
    assert not found.exact[0]
    assert float(z_of(found.mean[:, 0, :, 0], truth).abs().max()) < 4
    assert float(z_of(found.U[..., 0], truth.square().mean()[None]).abs().max()) < 4


@pytest.mark.parametrize("order", [5, 20, 31, 50])
def test_contexts_hold_every_other_player_equally_often(order):
    """Over many independent draws, for a pair of one block: players of its block, of the other block, and the rest."""
    pairs = block_pairs(row_keys(0, 1), 8, 8, side=2, blocks=2).expand(800, -1, -1)
    plan, found = drawn(pairs, 64, order, contexts=8, units=2)
    served = found.usable[..., 0]  # the first pair
    i, j = pairs[0, 0].tolist()
    sets = found.sets[served]
    sets[:, [i, j]] = False
    assert len(sets) == 800 * plan.units * plan.per_permutation
    assert (sets.sum(1) == order).all()
    often = sets.view(800, -1, 64).double().mean(1)  # (800, n), independent rows
    others = [k for k in range(64) if k not in (i, j)]
    z = (often.mean(0) - order / 62) / (often.std(0) / 800**0.5)
    assert float(z[others].abs().max()) < 4.5


@pytest.mark.parametrize("order", [0, 3, 20, 31, 45, 60])
@pytest.mark.parametrize("side", [2, 3])
def test_a_component_asks_for_one_set_a_pair_and_one_a_player_and_one_more(order, side):
    pairs = block_pairs(row_keys(0, 2), 8, 8, side=side, blocks=3)
    plan, found = drawn(pairs, 64, order)
    players, count = side**2, side**2 * (side**2 - 1) // 2
    if plan.exact:
        assert plan.per_permutation == 1
        assert (found.passes(pairs) == 1 + 3 * (players + count)).all()
    else:
        most = 3 * (1 + players + count) * plan.per_permutation
        assert (found.passes(pairs) <= most).all()  # small contexts may come up in two windows
        assert (found.passes(pairs) >= 0.9 * most).all()


@pytest.mark.parametrize("pairs", [near_pairs(3, 4, 2), TWO_BLOCKS])
def test_no_set_of_a_unit_is_asked_twice(pairs):
    """Whatever a set costs, all sets of the four corners are there, each under one number."""
    pairs = pairs.expand(2, -1, -1)
    plan, found = drawn(pairs, N, 5, contexts=6, units=3)
    queries = found.queries(pairs)
    per_permutation = found.sets.shape[2]
    unit = queries.base // per_permutation
    corners = []
    for which in range(4):
        sets = found.sets.flatten(0, 2)[queries.base].clone()
        for side in (0, 1):
            toggled = (which >> side) & 1
            players = pairs[unit // plan.units, queries.pair, side]
            sets[torch.arange(len(sets)), players] ^= bool(toggled)
        corners.append(torch.cat([unit[:, None], sets.long()], 1))
    distinct, number = torch.stack(corners).flatten(0, 1).unique(dim=0, return_inverse=True)
    assert len(distinct) == len(queries.asked) == int(found.passes(pairs).sum())
    together = torch.stack([number, queries.corner.flatten()], 1).unique(dim=0)
    assert len(together) == len(distinct)  # one number for one set
