"""Comparing groups: a difference that is there is found, none is invented, and pairs share all chance."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from tests.reproduce.interactions.profiles_kit import NAMES, features, measured, noisy_profiles
from torch import nn

from whywrong.core.errors import InputError
from whywrong.explain.interactions.pairs import orders_of
from whywrong.explain.masking.players import PlayersConfig
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.compare_groups import (
    STATISTICS,
    compare,
    curves_of,
    group_draws,
    sampling_noise,
)
from whywrong.reproduce.interactions.features import Features
from whywrong.reproduce.interactions.groups import Group, Groups
from whywrong.reproduce.interactions.measure_groups import (
    MeasureConfig,
    MeasuredGroups,
    measure_groups,
)
from whywrong.reproduce.interactions.order_bands import band_of, within
from whywrong.reproduce.interactions.vectors import shape_vectors, vectors_differ


def test_a_known_difference_at_high_orders_is_found_there_and_nowhere_else():
    source = noisy_profiles(30, 0)
    own = source + np.random.default_rng(1).normal(0, 0.05, source.shape) + np.array([0, 0, 0, 0.3, 0.3])
    found = compare(measured(adv_mis=(features(own), features(source))), "adv_mis", "source")
    A = found.bands["A"]["log_odds_true"]
    assert A["high"].value == pytest.approx(0.3, abs=0.03)
    assert 0.2 < A["high"].low < 0.3 < A["high"].high < 0.4
    assert A["high"].p_holm < 0.01
    assert A["low"].low < 0 < A["low"].high
    significant = [effect.p_holm < 0.05 for effect in found.orders["A"]["log_odds_true"]]
    assert significant == [False, False, False, True, True]
    assert (found.paired, found.n) == (True, 30)


def test_pairs_find_what_independent_groups_cannot():
    source = noisy_profiles(20, 2)
    own = source + 0.05 + 0.001 * noisy_profiles(20, 4)
    all_groups = measured(adv_mis=(features(own), features(source)), correct=(features(noisy_profiles(20, 3)), None))
    paired = compare(all_groups, "adv_mis", "source").bands["A"]["log_odds_true"]["mid"]
    unpaired = compare(all_groups, "adv_mis", "correct").bands["A"]["log_odds_true"]["mid"]
    assert paired.low > 0
    assert paired.p < 0.001
    assert unpaired.low < 0 < unpaired.high
    assert unpaired.high - unpaired.low > 3 * (paired.high - paired.low)


@pytest.mark.parametrize("against", ["source", "correct"])
def test_without_a_difference_p_is_spread_evenly(against):
    p = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        base = noisy_profiles(12, 1000 + seed)
        own, source = (base + rng.normal(0, 0.1, base.shape) for _ in range(2))
        other = noisy_profiles(12, 5000 + seed)
        found = compare(
            measured(adv_mis=(features(own), features(source)), correct=(features(other), None)),
            "adv_mis", against, draws=1000, flips=299, seed=seed,
        )  # fmt: skip
        p.append([found.bands[name]["log_odds_true"]["high"].p for name in ("A", "J", "U")])
    shares = (np.array(p) <= 0.1).mean(0)
    assert (np.abs(shares - 0.1) < 0.1).all()  # 80 tests: standard error 0.034
    assert (np.abs(np.mean(p, 0) - 0.5) < 0.1).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(100):
        source = noisy_profiles(40, seed)
        own = source + np.random.default_rng(7000 + seed).normal(0.2, 0.3, source.shape)
        both_groups = measured(adv_mis=(features(own), features(source)))
        effect = compare(both_groups, "adv_mis", "source", draws=1000, flips=99).bands["A"]["log_odds_true"]["high"]
        hits += effect.low <= 0.2 <= effect.high
    assert hits / 100 > 0.87  # percentile bootstrap of 40 images: nominal 0.95, known to be a little narrow


def test_statistics_are_what_their_formulas_say():
    A = noisy_profiles(9, 4)
    profile = curves_of(measured(correct=(features(A, sign=-1), None)), "correct")
    mean = A.mean(0)
    get = {name: np.array([i.value for i in profile.orders[name]["log_odds_true"]]) for name in STATISTICS}
    np.testing.assert_allclose(get["A"], mean)
    np.testing.assert_allclose(get["J"], mean / mean.mean())
    np.testing.assert_allclose(get["M"], -mean)
    np.testing.assert_allclose(get["U"], (A**2).mean(0))
    np.testing.assert_allclose(get["strength"], np.sqrt((A**2).mean(0)))
    np.testing.assert_allclose(get["pos_share"], 0.0)
    np.testing.assert_allclose(get["A_scaled"], mean / 4.0)
    np.testing.assert_allclose(profile.noise["log_odds_true"], 0.2)
    assert not any(profile.noisy["log_odds_true"])
    assert profile.full["log_odds_true"].value == 2.0
    high = profile.bands["A"]["log_odds_true"]["high"].value
    assert high == pytest.approx(mean[3:].mean())


def test_bands_hold_the_orders_that_their_ratios_stand_for():
    orders = orders_of(64)  # r = 0.2 is s = 12, r = 0.8 is s = 49, which is 0.79 of 62
    low, mid, high = (np.array(orders)[band].tolist() for band in band_of(orders, 64))
    assert low == [0, 3, 6, 12]
    assert mid == [18, 24, 31, 37, 43]
    assert high == [49, 55, 58, 62]
    assert within(orders, 64, 0.9, 1).tolist() == [order >= 55 for order in orders]


def test_draws_of_a_group_centre_on_its_statistic():
    A = noisy_profiles(30, 5)
    found = group_draws(measured(correct=(features(A), None)), "correct", "J", draws=2000)
    np.testing.assert_allclose(found.value[:, 0], A.mean(0) / A.mean(0).mean())
    np.testing.assert_allclose(found.draws.mean(0), found.value, atol=0.01)
    without = np.delete(A, 3, 0).mean(0)
    np.testing.assert_allclose(found.left_out[3, :, 0], without / without.mean())
    with pytest.raises(InputError, match="statistics are"):
        group_draws(measured(correct=(features(A), None)), "correct", "K")


def test_a_model_in_which_nothing_interacts_has_no_form_and_no_p():
    zero = features(np.zeros((6, 5)))
    found = compare(measured(adv_mis=(zero, zero)), "adv_mis", "source")
    effect = found.bands["J"]["log_odds_true"]["high"]
    assert math.isnan(effect.value)
    assert math.isnan(effect.p)
    assert found.bands["A"]["log_odds_true"]["high"].p == 1.0


def test_sampling_noise_is_a_share_of_the_variance_between_images():
    A = noisy_profiles(30, 6)
    np.testing.assert_allclose(sampling_noise(features(A))["A"][:, 0], 0.01 / A.var(0, ddof=1))


def test_what_cannot_be_compared_is_named():
    few = measured(correct=(features(noisy_profiles(5, 0)), None), one=(features(noisy_profiles(1, 0)), None))
    for arguments, words in (
        (("adv_mis", "correct"), "no group adv_mis"),
        (("correct", "source"), "no sources"),
        (("correct", "one"), "at least 2 images"),
    ):
        with pytest.raises(InputError, match=words):
            compare(few, *arguments)
    with pytest.raises(InputError, match="at least 1000"):
        curves_of(few, "correct", draws=10)


def test_vectors_of_groups_that_differ_in_form_are_told_apart():
    steep, flat = noisy_profiles(20, 7), noisy_profiles(20, 8)
    flat[:, 0] *= 0.6
    vectors = [shape_vectors(features(part), "J", 0) for part in (steep, flat)]
    found = vectors_differ(vectors)
    assert found.p < 0.001
    assert found.low > 0
    assert found.value > 0.2


def test_vectors_of_one_law_explain_nothing_on_average():
    found = [
        vectors_differ([noisy_profiles(10, 100 + 3 * seed + part) for part in range(3)], draws=199, seed=seed)
        for seed in range(40)
    ]
    assert abs(np.mean([one.value for one in found])) < 0.03
    assert np.mean([one.p <= 0.1 for one in found]) < 0.25


class Cells(nn.Module):
    """Two logits that look at products of neighbouring cells, so that pairs interact."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m = nn.functional.avg_pool2d(x, 2)[:, 0]
        a = (m[:, :-1] * m[:, 1:]).sum((1, 2)) * 3
        b = (m[:, :, :-1] * m[:, :, 1:] ** 2).sum((1, 2)) * 4
        return torch.stack([a, b, a * 0 + 1.5], 1)


@pytest.fixture(scope="module")
def real() -> tuple[Groups, MeasuredGroups]:
    """Six images, each of which is its own attacked and corrupted version for two different classes t."""
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    rows, keys = torch.arange(6), torch.arange(6) * 11 + 5
    y = torch.zeros(6, dtype=torch.int64)

    def same(name: str, target: int) -> Group:
        t = torch.full_like(y, target)
        return Group(name, x.clone(), rows, keys, y, t, y.double(), y.double(), ("pgd",) * 6)

    parts = {"correct": same("correct", 1), "adv_mis": same("adv_mis", 2), "corrupt_mis": same("corrupt_mis", 1)}
    groups = Groups(parts, x, "", (), 0, 0)
    config = MeasureConfig(players=PlayersConfig(kind="pixels", grid=4), contexts=4)
    return groups, measure_groups(Classifier(Cells()), groups, config=config)


def test_an_image_and_its_source_share_pairs_contexts_and_class(real):
    _, found = real
    for name in ("adv_mis", "corrupt_mis"):
        own, source = found.groups[name].own, found.groups[name].source
        assert source is not None
        for entry in fields(Features):
            np.testing.assert_allclose(getattr(own, entry.name), getattr(source, entry.name), atol=1e-5)


def test_classes_of_several_errors_are_measured_from_the_same_passes(real):
    groups, found = real
    assert found.images == 18  # six sources once, six attacked, six corrupted
    assert found.names == NAMES
    adv, corrupted = found.groups["adv_mis"].source, found.groups["corrupt_mis"].source
    assert adv is not None
    assert corrupted is not None
    np.testing.assert_array_equal(adv.A[..., 0], corrupted.A[..., 0])  # the true class
    assert np.abs(adv.A[..., 1] - corrupted.A[..., 1]).max() > 0.01  # classes 2 and 1
    np.testing.assert_array_equal(corrupted.A, found.groups["correct"].own.A)
    alone = measure_groups(
        Classifier(Cells()),
        Groups({"adv_mis": groups["adv_mis"]}, groups.x, "", (), 0, 0),
        config=MeasureConfig(players=PlayersConfig(kind="pixels", grid=4), contexts=4),
    )
    assert alone.images == 12
    assert alone.groups["adv_mis"].source is not None
    np.testing.assert_allclose(alone.groups["adv_mis"].source.A, adv.A, atol=1e-5)


def test_the_ends_of_the_game_are_those_of_the_model(real):
    groups, found = real
    logits = Cells()(groups["correct"].x).double()
    expected = logits[:, 0] - logits[:, 1:].logsumexp(1)
    np.testing.assert_allclose(found.groups["correct"].own.full[:, 0], expected, atol=1e-5)


def test_progress_ends_at_all_images_and_passes(real):
    groups, found = real
    steps: list[tuple[int, int, int]] = []
    config = MeasureConfig(players=PlayersConfig(kind="pixels", grid=4), contexts=4)
    measure_groups(Classifier(Cells()), groups, config=config, progress=lambda *step: steps.append(step))
    assert steps[-1] == (18, 18, found.forwards)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"value": "odds"}, "log_odds"), ({"noise": 1.5}, "noise"), ({"contexts": 1}, "contexts"), ({"side": 1}, "side"),
     ({"ratios": (1.2,)}, "ratios")],
)  # fmt: skip
def test_settings_of_a_measurement_are_checked(settings, words):
    with pytest.raises(InputError, match=words):
        MeasureConfig(**settings)
