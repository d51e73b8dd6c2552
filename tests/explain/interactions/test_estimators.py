"""The three estimators against full enumeration: bias, errors, intervals, cost, keys."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.explain.interactions.exact import exact_interactions, exact_order_shapley
from tests.explain.interactions.game_tables import random_tables, smooth_table, table
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.explain.interactions import draws
from whywrong.explain.interactions.coalitions import draw_pair_coalitions, draw_sets, permutations, plan_sets
from whywrong.explain.interactions.curves import passes_of_signed_means, player_maps, signed_means
from whywrong.explain.interactions.estimators import METHODS, InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import all_pairs, near_pairs
from whywrong.explain.interactions.permutation_windows import bases
from whywrong.explain.interactions.strengths import strengths
from whywrong.explain.masking.games import FunctionGame, TableGame

N = 9
PAIRS = near_pairs(3, 3, 1)


def repeated(values: Tensor, times: int) -> TableGame:
    """One game as many images, each with a key of its own: independent repeats of an estimate."""
    return TableGame(values.expand(times, -1))


def z_of(estimates: Tensor, truth: Tensor) -> Tensor:
    """Error of the mean over repeats (first axis) in standard errors; 0 where all repeats agree with the truth."""
    seen = estimates.isfinite()
    times = seen.sum(0)
    mean = estimates.nanmean(0)
    sd = ((estimates - mean).square().nansum(0) / (times - 1)).sqrt()
    near = (mean - truth).abs() < 1e-9
    return torch.where(near, 0.0, (mean - truth) / (sd / times.sqrt()))


@pytest.mark.parametrize("method", METHODS)
def test_every_pair_and_the_debiased_square_are_unbiased_at_every_order(method):
    values = random_tables(1, N)
    truth = exact_interactions(TableGame(values), PAIRS)[0, :, :, 0]
    config = InteractionsConfig(method=method, contexts=3, orders=tuple(range(N - 1)), units=2, permutations=4)
    found = estimate(repeated(values, 2000), PAIRS, config=config)
    z = z_of(found.mean[..., 0], truth)
    assert z.isfinite().all()
    assert float(z.abs().max()) < 4.5  # the largest of 160 standard normals stays below with 99.9 %; the seed is fixed
    assert float(z_of(found.U[..., 0], truth.square().mean(1)).abs().max()) < 4
    assert float(z_of(found.M[..., 0], truth.mean(1)).abs().max()) < 4
    if found.overall is not None:
        everything = exact_interactions(TableGame(values))[0, :, :, 0].mean(1)
        assert float(z_of(found.overall.mean[..., 0], everything).abs().max()) < 4


@pytest.mark.parametrize("method", METHODS)
def test_end_orders_have_no_error(method):
    values = random_tables(2, N)
    found = estimate(TableGame(values), PAIRS, config=InteractionsConfig(method=method, orders=(0, N - 2)))
    truth = exact_interactions(TableGame(values), PAIRS)[:, [0, -1]]
    torch.testing.assert_close(found.mean, truth, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.U, truth.square().mean(2), atol=1e-10, rtol=0)
    assert float(found.mean_se.max()) < 1e-10
    assert float(found.A_se.max()) < 1e-10
    assert float(found.noise_share.max()) < 1e-10


def test_exact_end_orders_cost_one_pass_for_each_set_there_is():
    game = TableGame(random_tables(1, N))
    found = estimate(game, PAIRS, config=InteractionsConfig(orders=(0,), permutations=0))
    assert found.exact == (True,)
    assert found.forwards.tolist() == [1 + N + len(PAIRS)]
    found = estimate(game, PAIRS[:1], config=InteractionsConfig(orders=(N - 2,), permutations=0))
    assert found.forwards.tolist() == [1 + 2 + 1]  # players without a wanted pair are left alone


def test_faithful_takes_four_passes_a_draw_at_every_order():
    game = TableGame(random_tables(2, N))
    found = estimate(game, PAIRS, config=InteractionsConfig(method="faithful", contexts=5, orders=(0, 3, 7)))
    assert found.forwards.tolist() == [4 * 5 * len(PAIRS) * 3] * 2
    assert game.forwards.tolist() == found.forwards.tolist()


def test_where_there_are_few_sets_all_are_taken_and_nothing_is_left_to_chance():
    values = random_tables(1, N)
    config = InteractionsConfig(contexts=200, orders=tuple(range(N - 1)), permutations=0)
    found = estimate(TableGame(values), all_pairs(N), config=config)
    assert all(found.exact)
    torch.testing.assert_close(found.mean, exact_interactions(TableGame(values)), atol=1e-10, rtol=0)
    torch.testing.assert_close(
        found.draws[0, :, 0], torch.tensor([math.comb(N - 2, s) for s in range(N - 1)], dtype=torch.int64)
    )


@pytest.mark.parametrize("method", METHODS)
def test_additive_games_give_exactly_nothing_and_products_exactly_their_factor(method):
    both = torch.cat(
        [table(N, lambda x: sum((i + 1) * v for i, v in enumerate(x))), table(N, lambda x: 2 * x[0] * x[1])]
    )
    config = InteractionsConfig(method=method, contexts=4, orders=(0, 2, 4, 7))
    found = estimate(TableGame(both), PAIRS, config=config)
    assert float(found.A[0].abs().max()) < 1e-12
    assert found.J[0].isnan().all()  # 0 / 0 is undefined
    assert float(found.noise_share[0].max()) == 0
    product = (torch.tensor([0, 1]) == PAIRS).all(1)
    torch.testing.assert_close(found.mean[1, :, product], torch.full((4, 1, 1), 2.0, dtype=torch.float64))
    assert float(found.mean[1, :, ~product].abs().max()) < 1e-12
    torch.testing.assert_close(found.disentanglement[1], torch.ones(4, 1, dtype=torch.float64))
    torch.testing.assert_close(found.J[1], torch.ones(4, 1, dtype=torch.float64))
    torch.testing.assert_close(found.positive[1], torch.full((4, 1), 1 / len(PAIRS), dtype=torch.float64))


def test_parts_add_up_and_the_raw_mean_square_is_debiased_square_plus_noise():
    found = estimate(TableGame(random_tables(3, N)), PAIRS, config=InteractionsConfig(contexts=6, orders=(2, 4)))
    torch.testing.assert_close(found.pos - found.neg, found.M)
    torch.testing.assert_close(found.pos + found.neg, found.A)
    raw = found.mean.square().nanmean(2)
    torch.testing.assert_close((1 - found.U / raw).clamp(0, 1), found.noise_share)


def test_the_debiased_square_of_single_draws_is_the_textbook_formula():
    """I^2 minus the sample variance over K, and the error of a mean, for K draws a pair."""
    total = torch.randn(2, 5, 7, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = strengths(draws.Sums(total, torch.ones(2, 5, 7, dtype=torch.int64), total.abs().sum(1), exact=False))
    mean, variance = total.mean(1), total.var(1)
    torch.testing.assert_close(found.U, (mean.square() - variance / 5).mean(1))
    torch.testing.assert_close(found.mean_se, (variance / 5).sqrt())
    torch.testing.assert_close(found.M_se, (total.mean(2).var(1) / 5).sqrt())
    torch.testing.assert_close(found.disentanglement, mean.abs().sum(1) / total.abs().mean(1).sum(1))


def test_noise_makes_the_strength_too_large_and_the_debiased_strength_not():
    values = smooth_table(10)
    pairs = all_pairs(10)
    truth = exact_interactions(TableGame(values), pairs)[0, :, :, 0]
    config = InteractionsConfig(method="faithful", contexts=2, orders=(4,))
    found = estimate(repeated(values, 100), pairs, config=config)
    assert float(found.A.mean()) > 1.1 * float(truth[4].abs().mean())
    assert float(found.U.mean()) == pytest.approx(float(truth[4].square().mean()), rel=0.1)
    assert float(found.noisy.double().mean()) > 0.8


def test_sharing_and_balancing_lower_the_error_of_a_pair_at_equal_passes():
    values = smooth_table(12, seed=7)
    pairs, orders = all_pairs(12), (2, 8)
    truth = exact_interactions(TableGame(values), pairs)[0, list(orders), :, 0]
    error, passes = {}, {}
    for method, number in (("faithful", 8), ("shared", 20), ("balanced", 20)):
        config = InteractionsConfig(method=method, contexts=number, orders=orders, permutations=0)
        found = estimate(repeated(values, 60), pairs, config=config)
        error[method] = float((found.mean[..., 0] - truth).square().nanmean())
        passes[method] = int(found.forwards[0])
    assert passes["balanced"] <= passes["faithful"]
    assert passes["shared"] <= passes["faithful"]
    assert error["shared"] < 0.6 * error["faithful"]
    assert error["balanced"] < 0.8 * error["shared"]


# Intervals.


def coverage(method: str, runs: int) -> dict[str, Tensor]:
    """Share of runs, by order, whose interval holds the exact value."""
    players = 12
    values, pairs = smooth_table(players, seed=1), near_pairs(3, 4, 2)
    game = TableGame(values)
    truth = exact_interactions(game, pairs)[0]
    exact = {"M": truth.mean(1), "U": truth.square().mean(1), "overall": exact_interactions(game)[0].mean(1)}
    orders = (3, 5, 7)
    config = InteractionsConfig(method=method, contexts=24, orders=orders, units=8, permutations=24)
    found = estimate(repeated(values, runs), pairs, config=config)
    shares = {}
    for name in ("M", "U", "overall") if found.overall else ("M", "U"):
        low, high = found.interval(name)
        held = (low <= exact[name][list(orders)]) & (exact[name][list(orders)] <= high)
        shares[name] = held.double().mean(0)[:, 0]
    low, high = found.pair_interval()
    held = (low <= truth[list(orders)]) & (truth[list(orders)] <= high)
    shares["pairs"] = held.double().mean((0, 2))[:, 0]
    return shares


@pytest.mark.parametrize("method", METHODS)
def test_intervals_hold_the_truth_about_as_often_as_they_say(method):
    for name, share in coverage(method, 500).items():
        assert float(share.min()) > 0.90, (name, share)  # 500 runs: three standard errors below 93 %
        assert float(share.mean()) < 0.995, (name, share)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_intervals_hold_the_truth_in_92_to_98_percent_of_1000_runs(method):
    for name, share in coverage(method, 1000).items():
        assert float(share.min()) >= 0.92, (name, share)
        assert float(share.max()) <= 0.98, (name, share)


@pytest.mark.parametrize("method", METHODS)
def test_the_error_of_a_pair_is_as_large_as_it_says(method):
    values = smooth_table(10, seed=2)
    config = InteractionsConfig(method=method, contexts=16, orders=(3, 4, 5), units=8, permutations=0)
    found = estimate(repeated(values, 300), near_pairs(2, 5), config=config)
    real = found.mean.std(0)
    said = found.mean_se.square().mean(0).sqrt()
    assert float((said / real).mean()) == pytest.approx(1, abs=0.1)


# Keys, batches, memory.


@pytest.mark.parametrize("method", METHODS)
def test_an_image_gets_the_same_bits_alone_in_another_order_and_in_small_blocks(method, monkeypatch):
    values, keys = random_tables(5, N), row_keys(7, 5)
    config = InteractionsConfig(method=method, contexts=4, orders=(0, 2, 4, 6), permutations=6)
    whole = estimate(TableGame(values), PAIRS, keys=keys, config=config)
    turned = estimate(TableGame(values.flip(0)), PAIRS, keys=keys.flip(0), config=config)
    alone = estimate(TableGame(values[3:4]), PAIRS, keys=keys[3:4], config=config)
    monkeypatch.setattr(draws, "MOST_MASKS", 50)
    small = estimate(TableGame(values), PAIRS, keys=keys, config=config)
    for name in ("mean", "U", "U_se", "A", "A_se", "disentanglement", "forwards"):
        expected = getattr(whole, name)
        for other in (getattr(turned, name).flip(0), getattr(small, name)):
            torch.testing.assert_close(other, expected, atol=1e-12, rtol=1e-12, equal_nan=True)
        torch.testing.assert_close(getattr(alone, name), expected[3:4], atol=1e-12, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_images_with_one_key_share_their_contexts(method):
    """A game and itself plus a constant differ by nothing at all: their noise is common."""
    values = random_tables(1, N)
    game = TableGame(torch.cat([values, values + 5, values]))
    keys = row_keys(0, 2)[[0, 0, 1]]
    found = estimate(game, PAIRS, keys=keys, config=InteractionsConfig(method=method, contexts=4, orders=(3,)))
    torch.testing.assert_close(found.mean[0], found.mean[1], equal_nan=True)
    assert not torch.allclose(found.M[0], found.M[2])


def test_pairs_may_differ_between_images_and_values_are_treated_apart():
    values = random_tables(4, N).view(2, 2, -1).transpose(1, 2)
    pairs = torch.stack([PAIRS, PAIRS.flip(0)])
    config = InteractionsConfig(contexts=4, orders=(2, 5), permutations=0)
    both = estimate(TableGame(values), pairs, config=config)
    second = estimate(TableGame(values[:, :, 1]), PAIRS, config=config)
    torch.testing.assert_close(both.mean[0, ..., 1], second.mean[0, ..., 0], equal_nan=True)
    torch.testing.assert_close(both.mean[1, ..., 1].flip(1), second.mean[1, ..., 0], equal_nan=True)


def test_contexts_have_their_size_and_never_hold_their_pair():
    keys, pairs = row_keys(0, 3), PAIRS.expand(3, -1, -1)
    for order in (0, 1, 4, N - 2):
        context = draw_pair_coalitions(keys, N, order, 0, pairs)
        assert (context.sum(2) == order).all()
        assert not context.gather(2, pairs).any()


def test_windows_of_one_permutation_go_round_the_players_once():
    plan = plan_sets(64, 6, 44, 4, balanced=True)
    assert (plan.units, plan.per_permutation) == (4, 11)
    found = draw_sets(row_keys(0, 2), 64, plan)
    assert (found.sum(3) == 6).all()
    assert set(found.sum(2).unique().tolist()) == {1, 2}  # 66 places for 64 players


@pytest.mark.parametrize("order", [6, 20, 31, 40, 57])
def test_every_window_serves_every_pair_once_with_a_context_of_the_order(order):
    """Also its contexts hold the other players about equally often, whatever the pair: that is what is balanced."""
    pairs = near_pairs(8, 8)[None, ::7]
    plan = plan_sets(64, order, 60, 2, balanced=True)
    drawn = bases(row_keys(1, 1), 64, pairs, plan, torch.ones(1, plan.units, plan.per_permutation, dtype=torch.bool))
    assert (drawn.usable.view(1, plan.units, plan.per_permutation, 3, -1).sum(3) == 1).all()
    for number, (i, j) in enumerate(pairs[0].tolist()):
        base = drawn.sets[0, 0][drawn.usable[0, 0, :, number]]  # (per_permutation, n)
        inside = base[:, [i, j]].sum(1)
        sign = drawn.sign[drawn.usable[0, 0, :, number]]
        assert torch.equal(sign, torch.where(inside == 1, -1.0, 1.0).double())
        base[:, [i, j]] = False
        assert (base.sum(1) == order).all()
        often = base.sum(0).double()[[k for k in range(64) if k not in (i, j)]]
        expected = plan.per_permutation * order / 62
        assert float((often - expected).abs().max()) <= 2
        independent = expected * (1 - order / 62)
        assert float(often.var()) < 0.8 * independent


def test_a_part_of_d_that_is_linear_in_the_context_adds_next_to_no_noise():
    """v holds products of three players only: D(i, j, S) is a sum over the players of S."""
    weights = keyed_normal(row_keys(6, 1), (40, 40, 40)).double()[0].numpy()

    def value(masks):
        x = masks.astype(float)
        return ((x @ weights.reshape(40, -1)).reshape(-1, 40, 40) @ x[:, :, None])[:, :, 0].__mul__(x).sum(1)

    pairs = near_pairs(2, 4, 2)
    for order in (4, 8, 30, 34):
        error = {}
        for method in ("shared", "balanced"):
            config = InteractionsConfig(method=method, contexts=40, orders=(order,), units=4, permutations=0)
            game = FunctionGame([value] * 12, 40)
            error[method] = float(estimate(game, pairs, config=config).mean.var(0).mean())
        assert error["balanced"] < 0.25 * error["shared"], order


def test_more_permutations_only_add_to_fewer():
    keys = row_keys(0, 2)
    assert torch.equal(permutations(keys, 12, 9, 4)[:, :5], permutations(keys, 12, 5, 4))


def test_expected_draws_are_the_contexts_asked_for_at_every_order():
    found = estimate(
        repeated(random_tables(1, 12), 30),
        all_pairs(12),
        config=InteractionsConfig(method="shared", contexts=12, orders=(2, 5, 8), permutations=0),
    )
    mean = found.draws.double().mean((0, 2))
    assert float(mean.min()) >= 11.5
    assert float(mean.max()) <= 14


# Curves and maps.


def test_signed_means_cost_a_star_for_each_order_and_draw():
    game = TableGame(random_tables(2, N))
    signed_means(game, (0, 3, N - 2), draws=10)
    assert game.forwards.tolist() == [10 * 3 * (1 + 4 + 6)] * 2
    assert passes_of_signed_means(N, (0, 3, N - 2), 10) == 330
    small = TableGame(random_tables(1, 4))
    signed_means(small, (0, 1, 2), draws=2)
    assert small.forwards.tolist() == [passes_of_signed_means(4, (0, 1, 2), 2)]


def test_differences_between_players_are_no_noise_of_signed_means():
    """A chain of nested sets would measure them; nothing interacts here."""
    found = signed_means(TableGame(table(N, lambda x: sum(i * v for i, v in enumerate(x)))), tuple(range(N - 1)))
    assert float(found.mean.abs().max()) < 1e-12
    assert float(found.se.max()) < 1e-12


def test_player_maps_are_unbiased_and_exact_at_both_ends():
    values = random_tables(1, 8)
    phi = exact_order_shapley(TableGame(values))[0, :, :, 0]
    found = player_maps(repeated(values, 1500), tuple(range(7)), draws=4)
    steps = phi[1:] - phi[:-1]
    assert float(z_of(found.shapley[..., 0], phi[:-1]).abs().max()) < 4
    assert float(z_of(found.interaction[..., 0], steps).abs().max()) < 4
    assert float(found.shapley_se[:, 0].max()) < 1e-12
    enumerated = player_maps(TableGame(values), tuple(range(7)), draws=100)
    torch.testing.assert_close(enumerated.shapley[0, ..., 0], phi[:-1])
    torch.testing.assert_close(enumerated.interaction[0, ..., 0], steps)
    assert float(enumerated.interaction_se.max()) < 1e-12


# What is refused.


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "kernel"},
        {"contexts": 1},
        {"units": 1},
        {"permutations": 1},
        {"permutations": -1},
        {"orders": ()},
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(InputError, match=r"interactions\."):
        InteractionsConfig(**settings)


def test_wrong_arguments_are_refused_before_the_first_pass():
    game = TableGame(random_tables(2, N))
    config = InteractionsConfig(orders=(1,))
    for pairs, keys, given in (
        (torch.tensor([[0, 0]]), None, config),
        (PAIRS, torch.zeros(3, dtype=torch.int64), config),
        (PAIRS, torch.zeros(2), config),
        (PAIRS, None, replace(config, orders=(N - 1,))),
        (PAIRS, None, replace(config, orders=(1, 1))),
    ):
        with pytest.raises(InputError):
            estimate(game, pairs, keys=keys, config=given)
    with pytest.raises(InputError):
        signed_means(game, (1,), draws=1)
    assert game.forwards.tolist() == [0, 0]


def test_a_game_of_shapiq_style_goes_through_the_same_door():
    found = estimate(
        FunctionGame(lambda masks: 3.0 * (masks[:, 0] & masks[:, 1]) + masks.sum(1), 20),
        torch.tensor([[0, 1], [2, 3]]),
        config=InteractionsConfig(contexts=3),
    )
    torch.testing.assert_close(found.M, torch.full_like(found.M, 1.5))


def test_player_maps_do_not_depend_on_neighbours_or_blocks(monkeypatch):
    values, keys = random_tables(4, 8), row_keys(2, 4)
    whole = player_maps(TableGame(values), (2, 4), keys=keys, draws=5)
    monkeypatch.setattr(draws, "MOST_MASKS", 30)
    small = player_maps(TableGame(values), (2, 4), keys=keys, draws=5)
    alone = player_maps(TableGame(values[2:3]), (2, 4), keys=keys[2:3], draws=5)
    for name in ("shapley", "shapley_se", "interaction", "interaction_se"):
        torch.testing.assert_close(getattr(small, name), getattr(whole, name), equal_nan=True)
        torch.testing.assert_close(getattr(alone, name)[0], getattr(whole, name)[2], equal_nan=True)
