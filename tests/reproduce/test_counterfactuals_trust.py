"""Claim counterfactuals.C6 on nets of which it is known who shares what they know."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.reproduce.counterfactuals.trust import (
    FEWEST_CONTROLS,
    TrustClaimConfig,
    _beyond,
    _Told,
    guidance_convinces,
)
from whywrong.reproduce.protocol import TensorImages

SIDE, CLASSES = 12, 4


def smooth() -> Tensor:
    """(K, D): one smooth pattern a class, of length 1."""
    coarse = torch.randn((CLASSES, 3, 3, 3), generator=torch.Generator().manual_seed(0))
    fine = nn.functional.interpolate(coarse, size=SIDE, mode="bicubic").flatten(1)
    return fine / fine.norm(dim=1, keepdim=True)


class Patterns(nn.Module):
    """Logits are inner products with one pattern a class: smooth ones are shared knowledge, noise is private.

    Args:
        shared: Weight of the smooth patterns, which are the same in every net.
        private: Weight of noise patterns of this seed.
    """

    def __init__(self, shared: float, private: float, seed: int) -> None:
        super().__init__()
        noise = torch.randn((CLASSES, 3 * SIDE * SIDE), generator=torch.Generator().manual_seed(seed))
        self.weights = nn.Parameter(shared * smooth() + private * noise / noise.norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).flatten(1) @ self.weights.T


def data(n: int = 40) -> TensorImages:
    """Grey images with the smooth pattern of class 0, which judges read without doubt."""
    x = 0.5 + 0.1 * (torch.rand((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(5)) - 0.5)
    x = (x + 0.8 * smooth()[0].view(3, SIDE, SIDE)).clamp(0, 1)
    return TensorImages(x, torch.zeros(n, dtype=torch.int64), batch_size=16)


ORDINARY, ROBUST, JUDGE = Patterns(0.1, 8.0, 1), Patterns(8.0, 0.1, 2), Patterns(4.0, 0.1, 3)
CONFIG = TrustClaimConfig(eps=2.5, p=2.0, steps=8, way="cone", angle=60.0)


def test_the_claim_holds_where_only_the_guide_shares_what_the_judge_knows():
    judge = Classifier(JUDGE)
    result = guidance_convinces([Classifier(ORDINARY), Classifier(ROBUST)], data(), CONFIG, judges=[judge])
    assert result.verdict == "holds"
    assert 30 <= result.n <= 40  # images whose every class is read by one of the three are left out
    assert result.effect > 2
    assert result.interval[0] > 0
    assert result.numbers["plain_judge_flips"] <= 0.1
    assert result.numbers["guided_judge_flips"] > 0.9
    assert result.numbers["guided_beyond_plain"] > 0.9
    json.dumps(result.to_dict(), allow_nan=False)
    plain, guided = (result.samples[f"judge rise, {name}"] for name in ("plain", "guided"))
    assert len(plain) == len(guided) == result.n
    assert sum(guided) / result.n - sum(plain) / result.n == pytest.approx(result.effect, abs=1e-5)


def test_it_does_not_hold_where_the_explained_net_shares_it_too():
    shares = Classifier(Patterns(8.0, 0.1, 7))
    result = guidance_convinces([shares, Classifier(ROBUST)], data(), CONFIG, judges=[Classifier(JUDGE)])
    assert result.verdict == "does not hold"
    assert result.numbers["plain_judge_flips"] > 0.9


def test_a_guide_that_knows_nothing_more_convinces_nobody():
    guide = Classifier(Patterns(0.0, 8.0, 8))
    result = guidance_convinces([Classifier(ORDINARY), guide], data(), CONFIG, judges=[Classifier(JUDGE)])
    assert abs(result.effect) < 0.5  # a change of 2.5 along noise, whose cosine with a pattern is about 1 / sqrt(432)
    assert result.numbers["guided_judge_flips"] <= 0.2


def test_the_ensemble_guides_as_well():
    config = TrustClaimConfig(eps=2.5, p=2.0, steps=8)
    result = guidance_convinces([Classifier(ORDINARY), Classifier(ROBUST)], data(), config, judges=[Classifier(JUDGE)])
    assert result.interval[0] > 0


def test_limit_and_progress():
    told = []
    config = TrustClaimConfig(eps=2.5, p=2.0, steps=2, limit=20)
    result = guidance_convinces(
        [Classifier(ORDINARY), Classifier(ROBUST)], data(), config, judges=[Classifier(JUDGE)], progress=told.append
    )
    assert result.n <= 20
    assert [step.total for step in told] == [20, 20]
    assert told[-1].done == result.n


def test_no_image_is_nothing_to_measure():
    empty = TensorImages(torch.zeros(0, 3, SIDE, SIDE), torch.zeros(0, dtype=torch.int64))
    result = guidance_convinces(
        [Classifier(ORDINARY), Classifier(ROBUST)], empty, TrustClaimConfig(), judges=[Classifier(JUDGE)]
    )
    assert (result.n, result.verdict) == (0, "undecided")
    assert not result.samples
    json.dumps(result.to_dict(), allow_nan=False)


def test_judges_are_needed_and_must_be_independent():
    models = [Classifier(ORDINARY), Classifier(ROBUST)]
    with pytest.raises(InputError, match="at least one with --judge"):
        guidance_convinces(models, data(), CONFIG)
    with pytest.raises(InputError, match="judge 1 is the auxiliary classifier"):
        guidance_convinces(models, data(), CONFIG, judges=[models[1]])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit": 0}, "limit must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"p": 0.5}, r"p must be in \[1, inf\]"),
        ({"eps": -1.0}, "eps must be positive"),
        ({"way": "both"}, "way must be one of"),
        ({"angle": 0.0}, r"angle must be in \(0, 90\]"),
        ({"convinced": 1.0}, "convinced must be a share"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        TrustClaimConfig(**settings)


def test_a_guided_change_goes_beyond_the_plain_ones_only_if_every_judge_says_so():
    plain = torch.linspace(0.0, 1.0, 2 * FEWEST_CONTROLS).view(-1, 2)
    guided = torch.tensor([[9.0, 9.0], [9.0, -9.0], [-9.0, 9.0], [9.0, 9.0]]).repeat(FEWEST_CONTROLS // 4, 1)
    nothing = torch.zeros(0, dtype=torch.bool)
    assert _beyond(_Told(plain, nothing, nothing), _Told(guided, nothing, nothing)) == 0.5
    assert _beyond(_Told(plain[1:], nothing, nothing), _Told(guided, nothing, nothing)) is None
