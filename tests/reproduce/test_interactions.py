"""Claims about interactions on small nets: each says what it measured, names its classes, and does not hide a split."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.reproduce.interactions.profiles_kit import features, measured, noisy_profiles
from torch import nn

from whywrong.core.errors import InputError
from whywrong.explain.masking.games import TableGame
from whywrong.models.classifier import Classifier
from whywrong.reproduce import CLAIMS
from whywrong.reproduce.figures import draw
from whywrong.reproduce.interactions import attribution, group_claims, rankings, two_models
from whywrong.reproduce.interactions.attribution import band_parts
from whywrong.reproduce.interactions.claim_groups import first_images
from whywrong.reproduce.interactions.config import InteractionsClaimConfig, common_grid
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups
from whywrong.reproduce.interactions.order_bands import band_of
from whywrong.reproduce.protocol import ClaimProgress, ClaimResult, TensorImages
from whywrong.reproduce.running import run_claim, run_claims

SIDE = 32
SETTINGS = {"limit": 6, "pool": 40, "players": "pixels", "grid": 4, "contexts": 2, "noise": None, "kinds": "brightness",
            "eps": 0.1, "draws": 1000, "permutations": 4}  # fmt: skip


class Steps(nn.Module):
    """Three classes by brightness, read by a small convolution and products of cells, so that cells interact."""

    def __init__(self, bend: float = 4.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.bend = bend
        self.register_buffer("centre", torch.tensor([0.3, 0.5, 0.7]))
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = nn.functional.avg_pool2d(torch.relu(self.conv(x)), SIDE // 4).flatten(1)
        level = cells.mean(1) + self.bend * 0.1 * (cells[:, :-1] * cells[:, 1:] - cells[:, 1:] ** 2).mean(1)
        return -300 * (level[:, None] - self.centre).square()


@pytest.fixture(scope="module")
def data() -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    level = 0.3 + 0.2 * y + 0.08 * (2 * torch.rand(60, generator=generator) - 1)
    x = level.view(-1, 1, 1, 1) + 0.1 * torch.randn(60, 1, 4, 4, generator=generator).repeat_interleave(
        8, 2
    ).repeat_interleave(8, 3)
    return TensorImages(x.clamp(0, 1), torch.where(torch.arange(60) % 5 == 0, (y + 1) % 3, y), batch_size=16)


@pytest.fixture(scope="module")
def outcomes(data) -> dict[str, ClaimResult]:
    """All claims on two small nets, in one call."""
    steps: list[ClaimProgress] = []
    models = [Classifier(Steps()), Classifier(Steps(bend=-3.0))]
    with pytest.warns(UserWarning, match="below 20"):
        results = list(run_claims("interactions", models, data, SETTINGS, progress=steps.append))
    assert [result for result in results if not isinstance(result, ClaimResult)] == []
    assert {"read", "measure", "attribute", "rank"} <= {step.stage for step in steps}
    assert sum(step.stage == "measure" and step.done == step.total for step in steps) == 1  # once for all claims
    return {result.name: result for result in results if isinstance(result, ClaimResult)}


def test_every_claim_has_effect_interval_sentence_and_figure(outcomes):
    assert list(outcomes) == [claim.name for claim in CLAIMS if claim.name.startswith("interactions.")]
    for result in outcomes.values():
        low, high = result.interval
        if math.isnan(low):  # six images a group
            assert result.verdict == "undecided"
            assert "no interval: fewer than 20 images" in result.sentence or result.name == "interactions.C5"
        else:
            assert low <= result.effect + 1e-9
            assert result.effect <= high + 1e-9
        assert result.n >= 2
        assert result.verdict in ("holds", "does not hold", "undecided")
        assert len(draw(result).subfigs) == 2
        json.dumps(result.to_dict(), allow_nan=False)


def test_statements_name_both_classes(outcomes):
    for name in ("C1", "C2", "C3", "C5", "C7"):
        sentence = outcomes[f"interactions.{name}"].sentence
        assert "log-odds of the true class" in sentence
        assert "log-odds of the predicted class" in sentence
        assert {"verdict_true", "verdict_predicted"} <= set(outcomes[f"interactions.{name}"].numbers)


def test_the_groups_and_their_noise_are_stated(outcomes):
    numbers = outcomes["interactions.C1"].numbers
    assert "linf PGD, eps 25.5/255" in numbers["groups"]
    assert 0 <= numbers["noise_share_adv_mis_true"] <= 1
    assert numbers["value_whole_adv_mis_source_true"] > 0 > numbers["value_whole_adv_mis_true"]


def test_the_gain_on_a_ranking_is_the_difference_of_accuracies(data, monkeypatch):
    draw = torch.Generator().manual_seed(0)

    def curves(ask, x, y, keys):
        level = {"moxi": (0.9, 0.2), "shapley": (0.6, 0.3), "grad_cam": (0.7, 0.8)}
        hits = {
            name: torch.stack([(torch.rand(len(y), 5, generator=draw) < share).double() for share in shares]).numpy()
            for name, shares in level.items()
        }
        return hits, {"rollout": "no attention"}, 16

    monkeypatch.setattr(rankings, "_curves", curves)
    numbers = run_claim("interactions.C8", [Classifier(Steps())], data, {"limit": 40, "draws": 1000}).numbers
    for name in ("shapley", "grad_cam"):
        for word, better in (("insertion", 1), ("deletion", -1)):
            difference = better * (numbers[f"{word}_moxi"] - numbers[f"{word}_{name}"])
            assert numbers[f"{word}_gain_on_{name}"] == pytest.approx(difference, abs=1e-9)
            assert difference > 0.05


def test_the_highest_fifth_is_compared_with_the_lowest_and_with_a_fifth_between(data, monkeypatch):
    """Shares of the fall: .1 by players alone, .1, .6 and .2 by bands: 0.2 - 0.6 / 3 is the smaller lead, 0."""
    shares = torch.tensor([0.1, 0.1, 0.6, 0.2], dtype=torch.float64)
    calls = []

    def parts(game, keys, draws):
        calls.append(len(keys))
        fall = shares if len(calls) == 1 else torch.zeros(4, dtype=torch.float64)
        return fall[None, :, None].expand(len(keys), 4, len(game.names)).clone()

    monkeypatch.setattr(attribution, "band_parts", parts)
    with pytest.warns(UserWarning, match="below 20"):
        result = run_claim("interactions.C7", [Classifier(Steps())], data, SETTINGS)
    assert len(calls) == 2
    assert result.effect == pytest.approx(0.0, abs=1e-9)
    assert result.numbers["share_high_true"] == pytest.approx(0.2)


def test_the_same_call_gives_the_same_bits(data, outcomes):
    with pytest.warns(UserWarning, match="below 20"):
        again = run_claim("interactions.C6", [Classifier(Steps())], data, SETTINGS)
    assert again.effect == outcomes["interactions.C6"].effect


def case(change: dict[int, float]) -> MeasuredGroups:
    """Attacked images whose A differs from their sources' at high orders, by class: 0 true, 1 predicted."""
    source = features(noisy_profiles(25, 0))
    own = features(noisy_profiles(25, 0) + np.random.default_rng(1).normal(0, 0.02, (25, 5)))
    for value, by in change.items():
        own.A[:, 3:, value] += by
    return measured(correct=(features(noisy_profiles(25, 2)), None), adv_mis=(own, source))


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({0: 0.3, 1: 0.3}, "holds", "rose by"),
        ({0: -0.3, 1: -0.3}, "does not hold", "fell by"),
        ({0: -0.3, 1: 0.3}, "does not hold", "depends on the class"),
        ({0: 0.3, 1: 0.0}, "undecided", "depends on the class"),
        ({}, "undecided", "changed by"),
    ],
)
def test_c1_is_decided_by_both_classes(monkeypatch, change, verdict, words):
    monkeypatch.setattr(group_claims, "measured_groups", lambda *_, **__: case(change))
    result = group_claims.attacks_raise_high_orders([None], None, InteractionsClaimConfig(draws=1000))  # type: ignore[list-item,arg-type]
    assert result.verdict == verdict
    assert words in result.sentence
    assert result.effect == pytest.approx(change.get(0, 0.0), abs=0.02)
    for value, word in enumerate(("true", "predicted")):
        by = change.get(value, 0.0)
        expected = "holds" if by > 0 else "does not hold" if by < 0 else "undecided"
        assert result.numbers[f"verdict_{word}"] == expected


def test_c6_wants_both_ends_above_the_middle(monkeypatch):
    for lift, verdict in ((0.5, "holds"), (-0.5, "does not hold")):
        A = noisy_profiles(30, 3)
        A[:, 3:] += lift
        monkeypatch.setattr(
            group_claims, "measured_groups", lambda *_, A=A, **__: measured(correct=(features(A), None))
        )
        result = group_claims.both_ends_are_high([None], None, InteractionsClaimConfig(draws=1000))  # type: ignore[list-item,arg-type]
        assert result.verdict == verdict


def test_parts_of_a_game_add_up_to_what_the_whole_is_worth():
    game = TableGame(torch.randn(3, 2**8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    parts = band_parts(game, torch.arange(3), 3)
    torch.testing.assert_close(parts.sum(1)[:, 0], game.table[:, -1, 0] - game.table[:, 0, 0])


@pytest.mark.parametrize(("size", "part"), [(1, 0), (2, 1), (5, 2), (9, 3)])
def test_what_only_sets_of_a_size_know_is_credited_to_their_orders(size, part):
    """F jumps by 1 from ``size - 1`` to ``size`` players: the threshold game, whose orders are known."""
    n = 10
    table = (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).sum(1) >= size
    parts = band_parts(TableGame(table.double()[None]), torch.zeros(1, dtype=torch.int64), 2)[0, :, 0]
    slope = np.array([float(k + 1 == size) for k in range(n)])
    weight = np.arange(n - 1, 0, -1)
    by_order = weight * np.diff(slope)  # (n-1-s) F''(s)
    low, mid, high = (by_order[band].sum() for band in band_of(range(n - 1), n))
    expected = [n * slope[0], low, mid, high]
    np.testing.assert_allclose(parts, expected, atol=1e-12)
    assert parts[part] != 0


def test_no_more_images_are_read_than_needed(data):
    classifier = Classifier(Steps())
    x, y, ids = first_images(classifier, data, wrong=2, right=5)
    assert len(x) == 7
    assert classifier.forwards == 16  # one batch
    assert ids == sorted(ids, key=int)
    assert int((classifier.predict(x) == y).sum()) == 5


def test_a_group_that_is_needed_and_empty_is_named(data):
    settings = SETTINGS | {"eps": 1e-4, "step_size": 1e-4, "steps": 1}
    with (
        pytest.warns(UserWarning, match="empty|below 20"),
        pytest.raises(InputError, match=r"adv_mis is empty: raise eps"),
    ):
        run_claim("interactions.C1", [Classifier(Steps())], data, settings)


@pytest.mark.parametrize("second", [["b", "c"], ["c", "d"]])
def test_two_models_need_two_images_that_both_classify_correctly(monkeypatch, second):
    correct = {"first": ["a", "b", "c"], "second": second}

    def first_images(model, *args, **options):
        ids = correct[model]
        return torch.rand(len(ids), 1, 2, 2), torch.arange(len(ids)), ids

    monkeypatch.setattr(two_models, "first_images", first_images)
    context = SimpleNamespace(models=("first", "second"), data=None, progress=None, config=InteractionsClaimConfig())
    if second == ["b", "c"]:
        images, labels, _ = two_models._both_right(context)
        assert [len(x) for x in images] == [2, 2]
        assert labels.tolist() == [1, 2]
    else:
        with pytest.raises(InputError, match="both models classify only 1 of the images correctly"):
            two_models._both_right(context)


def test_models_share_a_grid_that_divides_both():
    assert common_grid([(32, 32), (28, 28)]) == 4
    with pytest.raises(InputError, match="divides all"):
        common_grid([(31, 31), (32, 32)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"limit": 1}, "at least 2"), ({"pool": 10}, "pool"), ({"kinds": "fog,smoke"}, "smoke"), ({"draws": 10}, "1000"),
     ({"value": "odds"}, "log_odds"), ({"matched_drop": "fog"}, "matched_drop")],
)  # fmt: skip
def test_settings_that_break_their_contract_are_refused(data, settings, words):
    with pytest.raises(InputError, match=words):
        run_claim("interactions.C1", [Classifier(Steps())], data, settings)


@pytest.mark.parametrize(("number", "asked"), [(1, ("adv_mis", "high", True)), (2, ("corrupt_mis", "low", False))])
def test_attacks_raise_high_orders_and_corruptions_lower_low_ones(monkeypatch, number, asked):
    """The direction and the band that a claim asks about are its meaning."""
    seen = []

    def note(measured, config, group, band, *, above):
        seen.append((group, band, above))
        raise InputError("enough")

    monkeypatch.setattr(group_claims, "measured_groups", lambda *_, **__: None)
    monkeypatch.setattr(group_claims, "_one_band", note)
    with pytest.raises(InputError, match="enough"):
        run_claim(
            f"interactions.C{number}",
            [Classifier(nn.Flatten())],
            TensorImages(torch.rand(4, 1, 2, 2), torch.zeros(4).long()),
        )
    assert seen == [asked]
