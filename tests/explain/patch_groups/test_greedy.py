"""Greedy search over tables of known games, against brute force and the formulas of the paper."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.masking.games import TableGame
from whywrong.explain.patch_groups.greedy import greedy, greedy_order, whole_order
from whywrong.explain.patch_groups.search import Search


def random_table(images: int, players: int, seed: int = 0, winners: bool = False) -> TableGame:
    value = keyed_uniform(row_keys(seed, images), (1 << players,)).double()
    if not winners:
        return TableGame(value)
    won = (keyed_uniform(row_keys(seed + 1, images), (1 << players,)) * 3).long().double()
    return TableGame(torch.stack([value, won], 2), ["value", "winner"])


def brute_force(table: Tensor, players: int, adds: bool) -> list[int]:
    """The greedy order of one image, written out with sets."""
    present = set() if adds else set(range(players))
    order = []
    while len(order) < players:
        candidates = [b for b in range(players) if (b in present) != adds]
        worth = {b: float(table[sum(1 << p for p in present ^ {b})]) for b in candidates}
        best = (max if adds else min)(candidates, key=lambda b: worth[b])
        present ^= {best}
        order.append(best)
    return order


@pytest.mark.parametrize("players", [3, 5, 8, 10])
@pytest.mark.parametrize("adds", [True, False])
def test_orders_are_those_of_brute_force(players, adds):
    game = random_table(6, players, seed=players)
    found = greedy_order(game, "value", adds=adds, tie=0.0)
    assert found.order.tolist() == [brute_force(table[:, 0], players, adds) for table in game.table]
    assert found.length.tolist() == [players] * 6


def interactions_form(table: Tensor, players: int, adds: bool) -> list[int]:
    """Insertion by phi(b) + I(S, b), deletion by phi(b) - I(S, b), S as one player, without scale."""

    def v(present: set[int]) -> float:
        return float(table[sum(1 << p for p in present)])

    everyone = set(range(players))
    taken: list[int] = []
    while len(taken) < players:
        group = set(taken)

        def score(b: int, group: set[int] = group) -> float:
            if adds:
                phi = v({b}) - v(set())
                together = v(group | {b}) - v(group) - v({b}) + v(set())
                return phi + together
            phi = v(everyone) - v(everyone - {b})
            together = v(everyone) - v(everyone - group) - v(everyone - {b}) + v(everyone - group - {b})
            return phi - together

        taken.append(max((b for b in range(players) if b not in group), key=score))
    return taken


@pytest.mark.parametrize("adds", [True, False])
def test_orders_are_those_of_first_order_terms_and_interactions(adds):
    game = random_table(8, 6, seed=4)
    found = greedy_order(game, "value", adds=adds, tie=0.0)
    assert found.order.tolist() == [interactions_form(table[:, 0], 6, adds) for table in game.table]


def test_the_deletion_formula_as_printed_gives_another_order():
    game = random_table(1, 3, seed=0)
    table = torch.tensor([0.0, 0.9, 0.0, 0.2, 0.0, 0.8, 0.9, 1.0])  # bit i is player i
    game = TableGame(table[None])
    order = greedy_order(game, "value", adds=False).order[0].tolist()

    def v(*present: int) -> float:
        return float(table[sum(1 << p for p in present)])

    assert order[0] == 2  # v(0, 1) = 0.2 is the lowest
    printed = {
        b: (v(0, 1, 2) - v(*(p for p in range(3) if p != b))) / 3
        + 2 * (v(0, 1, 2) - v(0, 1) - v(*(p for p in range(3) if p != b)) + v(3 - 2 - b)) / 2
        for b in (0, 1)
    }
    greedy_choice = min((0, 1), key=lambda b: v(1 - b))
    assert order[1] == greedy_choice == 0
    assert max(printed, key=lambda b: printed[b]) == 1


@given(st.integers(0, 10_000), st.integers(3, 7))
@settings(max_examples=30, deadline=None)
def test_values_are_those_of_the_sets_on_the_way(seed, players):
    game = random_table(2, players, seed)
    for adds in (True, False):
        found = greedy_order(game, "value", adds=adds)
        for row in range(2):
            present = set() if adds else set(range(players))
            expected = [float(game.table[row, sum(1 << p for p in present), 0])]
            for player in found.order[row].tolist():
                present ^= {player}
                expected.append(float(game.table[row, sum(1 << p for p in present), 0]))
            assert found.values[row].tolist() == expected


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_group_of_one_is_the_best_of_all_groups_of_one(seed):
    game = random_table(3, 5, seed)
    single = torch.tensor([1 << p for p in range(5)])
    shown = greedy_order(game, "value", adds=True, steps=1, tie=0.0).values[:, 1]
    assert torch.equal(shown, game.table[:, single, 0].amax(1))
    hidden = greedy_order(game, "value", adds=False, steps=1, tie=0.0).values[:, 1]
    assert torch.equal(hidden, game.table[:, 31 - single, 0].amin(1))


def set_sum(digits: list[int]) -> Tensor:
    """(1, 2^n) the sum of the distinct digits present."""
    sets = itertools.product([False, True], repeat=len(digits))
    sums = {}
    for bits in sets:
        sums[sum(1 << i for i, on in enumerate(bits) if on)] = sum(
            {d for d, on in zip(digits, bits, strict=True) if on}
        )
    return torch.tensor([[float(sums[key]) for key in range(len(sums))]])


def shapley_of(table: Tensor, players: int) -> list[float]:
    total = [0.0] * players
    for order in itertools.permutations(range(players)):
        present = 0
        for player in order:
            total[player] += float(table[present | 1 << player] - table[present])
            present |= 1 << player
    return [value / math.factorial(players) for value in total]


def test_set_sum_takes_distinct_values_first_where_shapley_values_repeat_one():
    digits = [9, 9, 4, 3]
    table = set_sum(digits)
    order = greedy_order(TableGame(table), "value", adds=True).order[0].tolist()
    assert [digits[i] for i in order] == [9, 4, 3, 9]
    fair = shapley_of(table[0], 4)
    assert fair == pytest.approx([4.5, 4.5, 4.0, 3.0])
    by_shapley = sorted(range(4), key=lambda i: -fair[i])
    assert [digits[i] for i in by_shapley] == [9, 9, 4, 3]
    value = table[0, sum(1 << i for i in order[:2])], table[0, sum(1 << i for i in by_shapley[:2])]
    assert value == (13.0, 9.0)


# Passes.


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_passes_follow_the_formula(adds, steps):
    players = 8
    game = random_table(3, players)
    greedy_order(game, "value", adds=adds, steps=steps, ask_start=False)
    assert game.forwards.tolist() == [steps * players - steps * (steps - 1) // 2] * 3
    game = random_table(3, players)
    greedy_order(game, "value", adds=adds)
    assert game.forwards.tolist() == [players * (players + 1) // 2 + 1] * 3


def test_a_set_that_two_searches_want_is_asked_for_once():
    game = random_table(2, 6, winners=True)
    rows = torch.arange(2)
    one = Search(rows=rows, value=torch.zeros(2, dtype=torch.int64), adds=False, highest=False, steps=1)
    other = Search(rows=rows, value=torch.zeros(2, dtype=torch.int64), adds=False, highest=True, steps=1)
    low, high = greedy(game, [one, other])
    assert game.forwards.tolist() == [7, 7]
    assert torch.equal(low.last, high.last)
    assert (low.values[:, 1] < high.values[:, 1]).all()


# Stopping.


def test_a_search_ends_at_the_flip_of_its_image_and_no_image_waits():
    game = random_table(20, 5, seed=2, winners=True)
    watched = torch.zeros(20, dtype=torch.int64)
    whole = greedy_order(game, "value", adds=True)
    game.forwards.zero_()
    found = greedy_order(game, "value", adds=True, watched=watched)
    lengths = set(found.length.tolist())
    assert len(lengths) > 2
    for row in range(20):
        path, present, expected = whole.order[row].tolist(), 0, None
        for step in range(6):
            if int(game.table[row, present, 1]) == 0:
                expected = step
                break
            present |= 1 << path[step] if step < 5 else 0
        length = int(found.length[row])
        assert length == (5 if expected is None else expected)
        assert bool(found.found[row]) == (expected is not None)
        assert found.order[row, :length].tolist() == path[:length]
        assert (found.order[row, length:] == -1).all()
        assert found.values[row, length + 1 :].isnan().all()
        assert int(game.forwards[row]) == 1 + 5 * length - length * (length - 1) // 2


def test_a_removal_ends_when_the_class_no_longer_wins():
    game = random_table(20, 5, seed=3, winners=True)
    whole = game.table[:, 31, 1].long()
    found = greedy_order(game, "value", adds=False, watched=whole)
    assert found.length.min() >= 1  # it wins at the start
    ends = (found.present.long() * 2 ** torch.arange(5)).sum(1)
    winner = game.table[torch.arange(20), ends, 1].long()
    assert torch.equal(found.winner, winner)
    assert torch.equal(found.found, winner != whole)
    assert (found.found | (found.length == 5)).all()


def test_results_do_not_depend_on_the_neighbours():
    game = random_table(12, 6, seed=5, winners=True)
    watched = game.table[:, -1, 1].long()
    together = greedy_order(game, "value", adds=False, watched=watched)
    for row in range(12):
        alone = greedy_order(
            TableGame(game.table[row : row + 1], game.names), "value", adds=False, watched=watched[row : row + 1]
        )
        length = int(alone.length[0])
        assert together.order[row, :length].tolist() == alone.order[0, :length].tolist()
        assert int(together.length[row]) == length


def test_searches_of_some_images_and_of_a_start_of_their_own():
    game = random_table(4, 5, seed=6)
    start = torch.tensor([[True, False, True, True, False], [True, True, True, True, True]])
    search = Search(
        rows=torch.tensor([3, 1]),
        value=torch.zeros(2, dtype=torch.int64),
        adds=False,
        highest=False,
        steps=9,
        start=start,
    )
    [found] = greedy(game, [search])
    assert found.length.tolist() == [3, 5]
    assert sorted(found.order[0, :3].tolist()) == [0, 2, 3]
    assert float(found.values[0, 0]) == float(game.table[3, 0b01101, 0])
    assert game.forwards.tolist() == [0, 1 + 15, 0, 1 + 6]


def test_nothing_to_do_asks_for_nothing():
    game = random_table(2, 4, winners=True)
    nobody = torch.zeros(0, dtype=torch.int64)
    found = greedy(game, [Search(rows=nobody, value=nobody, adds=True, highest=True, steps=3, watched=nobody)])[0]
    assert found.order.shape[0] == 0
    assert game.forwards.sum() == 0


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_flip_that_one_player_makes_is_never_missed_where_flips_go_first(seed, adds):
    game = random_table(4, 5, seed, winners=True)
    start = 0 if adds else 31
    watched = torch.zeros(4, dtype=torch.int64) if adds else game.table[:, 31, 1].long()
    search = Search(
        rows=torch.arange(4),
        value=torch.zeros(4, dtype=torch.int64),
        adds=adds,
        highest=adds,
        steps=5,
        watched=watched,
        until_wins=adds,
        flip_first=True,
    )
    [found] = greedy(game, [search])
    for row in range(4):
        single = game.table[row, [start ^ 1 << p for p in range(5)]]
        ends = (single[:, 1] == watched[row]) == adds
        if bool(found.found[row]) and int(found.length[row]) == 0:
            continue
        assert bool(ends.any()) == (int(found.length[row]) == 1)
        if ends.any():
            best = single[ends, 0].max() if adds else single[ends, 0].min()
            assert float(found.values[row, 1]) == pytest.approx(float(best), abs=1e-5)


# Ties.


def test_of_equals_the_lowest_number_is_taken_also_when_rounding_tells_them_apart():
    value = torch.zeros(1, 16, dtype=torch.float64)
    value[0, [1, 2, 4, 8]] = torch.tensor([0.3, 1.0, 1.0 + 1e-9, 0.2], dtype=torch.float64)
    found = greedy_order(TableGame(value), "value", adds=True, steps=1)
    assert found.order.tolist() == [[1]]
    assert found.near_ties.tolist() == [1]
    assert greedy_order(TableGame(value), "value", adds=True, steps=1, tie=0.0).order.tolist() == [[2]]


def test_the_rest_of_an_order_follows_by_the_values_of_the_last_step():
    game = random_table(5, 6, seed=8)
    for adds in (True, False):
        path = greedy_order(game, "value", adds=adds, steps=2)
        order = whole_order(path, highest=adds)
        assert torch.equal(order[:, :2], path.order)
        assert torch.equal(order.sort(1).values, torch.arange(6).expand(5, -1))
        left = path.last.gather(1, order[:, 2:]) * (-1 if adds else 1)
        assert (left.diff(dim=1) >= 0).all()


# Lazy search.


def test_lazy_search_is_exact_where_gains_only_shrink_and_asks_for_less():
    weights = keyed_uniform(row_keys(1, 3), (10, 12)).double()  # cover: the best of each of 12 needs
    members = torch.tensor([[bool(s >> p & 1) for p in range(10)] for s in range(1024)])
    covered = torch.where(members[None, :, :, None], weights[:, None], 0.0).amax(2).sum(2)  # (3, 1024)
    game, lazy = TableGame(covered), TableGame(covered)
    plain = greedy_order(game, "value", adds=True, tie=0.0)
    found = greedy_order(lazy, "value", adds=True, tie=0.0, lazy=1)
    assert torch.equal(found.order, plain.order)
    assert torch.equal(found.values, plain.values)
    assert (lazy.forwards < 0.8 * game.forwards).all()


def test_lazy_search_that_asks_for_all_is_plain_search():
    game = random_table(4, 6, seed=9, winners=True)
    watched = game.table[:, -1, 1].long()
    plain = greedy_order(game, "value", adds=False, watched=watched)
    lazy = greedy_order(game, "value", adds=False, watched=watched, lazy=6)
    assert torch.equal(plain.order, lazy.order)
    assert torch.equal(plain.near_ties, lazy.near_ties)


# What is refused.


def test_bad_questions_are_refused():
    game = random_table(2, 4)
    with pytest.raises(InputError, match='no value "worth"'):
        greedy_order(game, "worth", adds=True)
    for steps in (0, 5, True):
        with pytest.raises(InputError, match="steps must be"):
            greedy_order(game, "value", adds=True, steps=steps)
    with pytest.raises(InputError, match="flip"):
        greedy_order(game, "value", adds=True, watched=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match="start"):
        greedy_order(game, "value", adds=True, lazy=2, ask_start=False)
