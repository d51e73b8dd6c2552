"""How many draws an image gets: caps on passes, precision by pilot, independence of the batch, no bias."""

from __future__ import annotations

import math

import pytest
import torch
from tests.explain.interactions.exact import exact_interactions
from tests.explain.interactions.game_tables import random_tables, smooth_table
from tests.explain.interactions.test_estimators import repeated, z_of

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.explain.interactions.coalitions import plan_sets
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import all_pairs, draw_pairs, near_pairs
from whywrong.explain.interactions.permutation_windows import bases
from whywrong.explain.masking.games import FunctionGame, TableGame

N = 12
PAIRS = near_pairs(3, 4, 1)
SAMPLED = ("shared", "balanced")


def large_game(images: int, players: int, setup: int = 0) -> FunctionGame:
    """Saturating sums of many players."""
    weights = keyed_normal(row_keys(4, images), (players,)).double().numpy()

    def value(row: int):
        return lambda masks: 3 * torch.tanh(torch.from_numpy(masks @ weights[row] / 2)).numpy()

    game = FunctionGame([value(row) for row in range(images)], players)
    game.setup = setup
    game.forwards += setup
    return game


@pytest.mark.parametrize("method", SAMPLED)
def test_passes_of_sets_are_known_before_they_are_asked(method):
    plan = plan_sets(N, 4, 30, 4, balanced=method == "balanced")
    pairs = PAIRS.expand(2, -1, -1)
    drawn = bases(row_keys(0, 2), N, pairs, plan, torch.ones(2, plan.units, plan.per_permutation, dtype=torch.bool))
    config = InteractionsConfig(method=method, contexts=30, orders=(4,), permutations=0)
    found = estimate(TableGame(random_tables(2, N)), PAIRS, config=config)
    assert found.forwards.tolist() == drawn.passes(pairs).sum(1).tolist()
    assert found.passes[:, 0].tolist() == found.forwards.tolist()


@pytest.mark.parametrize("method", ["faithful", *SAMPLED])
@pytest.mark.parametrize("cap", [3000, 7000])
def test_a_cap_counts_every_pass_and_is_used_up_to_a_tenth(method, cap):
    game = large_game(4, 256, setup=1)
    pairs = draw_pairs(row_keys(0, 4), near_pairs(3, 16, 2), 24)
    found = estimate(
        game, pairs, config=InteractionsConfig(method=method, contexts=400, max_passes=cap, permutations=2)
    )
    assert int(game.forwards.max()) <= cap
    assert (found.forwards + 1 == game.forwards).all()
    share = 0.75 if method == "faithful" else 0.9  # whole contexts of all pairs at 13 orders are coarse steps
    assert float(game.forwards.double().mean()) >= share * cap
    assert int(found.units_used[:, 1:-1].min()) >= 2


def test_contexts_that_fill_whole_permutations_do_so():
    config = InteractionsConfig(contexts=40, units=4, orders=(25, 127), permutations=0)
    found = estimate(large_game(1, 256), near_pairs(2, 16, 1), config=config)
    assert found.units == (4, 20)  # windows of 25 go round 256 players in ten steps, of 127 in two
    assert found.draws.unique().tolist() == [40]


def test_a_cap_that_does_not_bind_changes_nothing():
    values = random_tables(2, N)
    free = estimate(TableGame(values), PAIRS, config=InteractionsConfig(contexts=6, orders=(0, 2, 5)))
    capped = estimate(
        TableGame(values), PAIRS, config=InteractionsConfig(contexts=6, orders=(0, 2, 5), max_passes=10**6)
    )
    assert torch.equal(free.mean.nan_to_num(), capped.mean.nan_to_num())
    assert torch.equal(free.forwards, capped.forwards)


@pytest.mark.parametrize("method", ["faithful", *SAMPLED])
def test_a_cap_too_low_for_two_draws_says_what_they_take(method):
    game = large_game(2, 64)
    with pytest.raises(InputError, match=r"max_passes") as refused:
        estimate(game, near_pairs(8, 8), config=InteractionsConfig(method=method, max_passes=2000, permutations=0))
    assert game.forwards.tolist() == [0, 0]
    assert "2000" in str(refused.value)


def test_few_players_are_enumerated_only_as_far_as_the_cap_goes():
    game, orders = TableGame(random_tables(2, 16)), (0, 1, 2, 7, 13)
    config = InteractionsConfig(contexts=200, orders=orders, permutations=0)
    assert estimate(game, near_pairs(4, 4), config=config).exact == (True, True, True, False, True)
    config = InteractionsConfig(contexts=200, orders=orders, permutations=0, max_passes=12_000)
    capped = estimate(TableGame(random_tables(2, 16)), near_pairs(4, 4), config=config)
    assert capped.exact == (True, True, False, False, True)
    assert int(capped.forwards.max()) <= 12_000


SETTINGS = (
    {"max_passes": 700, "contexts": 40},
    {"precision": 0.2, "contexts": 40},
    {"precision": 0.2, "contexts": 40, "max_passes": 1500},
)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("method", SAMPLED)
def test_every_pair_and_the_debiased_square_stay_unbiased(method, settings):
    """Also where sampling stops early: what decides on it is no part of the estimate."""
    values, orders = smooth_table(N, seed=4), (3, 5, 8)
    truth = exact_interactions(TableGame(values), PAIRS)[0, list(orders), :, 0]
    config = InteractionsConfig(method=method, orders=orders, units=2, permutations=0, **settings)
    found = estimate(repeated(values, 2000), PAIRS, config=config)
    if "precision" in settings:
        assert int((found.units_used.amax(0) > found.units_used.amin(0)).sum()) >= 2  # it does stop at different times
    z = z_of(found.mean[..., 0], truth)
    assert float(z.abs().max()) < 4.5
    assert float(z_of(found.U[..., 0], truth.square().mean(1)).abs().max()) < 4
    assert float(z_of(found.M[..., 0], truth.mean(1)).abs().max()) < 4


@pytest.mark.parametrize("settings", SETTINGS)
def test_neighbours_in_the_batch_change_no_number_of_draws(settings):
    values, keys = random_tables(4, N), row_keys(7, 4)
    pairs = draw_pairs(keys, all_pairs(N), 9)
    config = InteractionsConfig(orders=(0, 2, 4, 6, 9), permutations=4, **settings)
    whole = estimate(TableGame(values), pairs, keys=keys, config=config)
    turned = estimate(TableGame(values.flip(0)), pairs.flip(0), keys=keys.flip(0), config=config)
    for row in range(4):
        rows = slice(row, row + 1)
        alone = estimate(TableGame(values[rows]), pairs[rows], keys=keys[rows], config=config)
        assert alone.exact == whole.exact
        for name in ("mean", "U", "U_se", "A_se", "draws", "units_used", "passes", "forwards"):
            torch.testing.assert_close(getattr(alone, name), getattr(whole, name)[rows], equal_nan=True)
    for name in ("mean", "U", "units_used"):
        torch.testing.assert_close(getattr(turned, name).flip(0), getattr(whole, name), equal_nan=True)


def test_precision_spends_more_where_there_is_more_noise_and_says_whether_it_was_reached():
    quiet, loud = torch.zeros(1, 2**N, dtype=torch.float64), random_tables(1, N)
    quiet = 0.01 * loud + torch.tensor([[float((code & 3) == 3) for code in range(2**N)]])  # a product of two players
    config = InteractionsConfig(orders=(0, 4, 5, 6), contexts=100, precision=0.1, permutations=0)
    found = estimate(TableGame(torch.cat([quiet, loud])), PAIRS, keys=row_keys(0, 1).expand(2), config=config)
    assert (found.passes[0, 1:] < found.passes[1, 1:] / 3).all()
    assert found.reached is not None
    assert found.reached[0].tolist() == [True] * 4
    assert found.reached[1].tolist() == [True, False, False, False]
    assert torch.equal(found.reached, (found.noise_share <= 0.1).all(2))
    assert estimate(TableGame(loud), PAIRS, config=InteractionsConfig(orders=(4,))).reached is None


def test_the_pilot_asks_for_the_draws_that_bring_noise_down_to_the_share_asked_for():
    """With n the variance of a single draw and U the mean square of the interactions, K = n (1 - p) / (p U) draws."""
    pairs_present = [[math.comb(code.bit_count(), 2) for code in range(2**N)]]  # every pair interacts by 1
    table = 2.7 * random_tables(1, N) / 2 + torch.tensor(pairs_present, dtype=torch.float64)
    share, order = 0.4, 5
    config = InteractionsConfig(orders=(order,), contexts=250, precision=share, pilot=8, permutations=0)
    found = estimate(repeated(table, 40), PAIRS, config=config)
    codes, pairs = torch.arange(2**N), []
    sizes = sum((codes >> player) & 1 for player in range(N))
    for i, j in PAIRS.tolist():
        context = codes[((codes >> i) & 1 == 0) & ((codes >> j) & 1 == 0) & (sizes == order)]
        v = [table[0, context + (a << i) + (b << j)] for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
        pairs.append(v[0] - v[1] - v[2] + v[3])
    D = torch.stack(pairs)
    needed = float(D.var(1).mean() * (1 - share) / (share * D.mean(1).square().mean()))
    assert needed > 8
    # A pilot of 8 draws puts the square of an image off by a tenth or two.
    assert float(found.draws.double().mean(2).median()) == pytest.approx(needed, rel=0.35)


def test_intervals_use_the_draws_of_each_image():
    config = InteractionsConfig(orders=(4, 5), contexts=80, precision=0.3, permutations=0)
    found = estimate(repeated(smooth_table(N), 40), PAIRS, config=config)
    low, high = found.interval("M")
    factor = ((high - low) / 2 / found.M_se)[..., 0]
    few, many = found.units_used.flatten().argmin(), found.units_used.flatten().argmax()
    assert found.units_used.flatten()[few] < found.units_used.flatten()[many]
    assert factor.flatten()[few] > factor.flatten()[many] > 1.96 - 1e-9
    assert math.isclose(factor.flatten()[many], 1.96, rel_tol=0.2)


@pytest.mark.parametrize(
    "settings",
    [{"precision": 0.0}, {"precision": 1.0}, {"precision": 0.1, "method": "faithful"}, {"max_passes": 0}, {"pilot": 1}],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match=r"interactions\."):
        InteractionsConfig(**settings)
