"""The claim of the vote attack: measured on capsule networks, refused for others, undecided without images."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.registry import claims, resolve
from whywrong.models.architectures.build import build_network, plan_network
from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import TensorImages
from whywrong.reproduce.votes.claims import VoteClaimConfig

CLAIM = claims()["vote.V1"]
CONFIG = VoteClaimConfig(limit=24, eps=0.05, steps=3)


def capsules(**settings):
    net = build_network(plan_network("capsnet", (3, 16, 16), 4, width=4, **settings), seed=0).eval()
    return Classifier(net, classes=list("abcd"), preprocess=InputSpec(height=16, width=16))


@pytest.fixture(scope="module")
def x():
    return torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_all_attacks_are_measured_on_the_same_correct_images(x):
    classifier = capsules()
    found = resolve(CLAIM.function)([classifier], TensorImages(x, classifier.predict(x)), CONFIG)
    assert found.n == 24
    assert found.interval[0] <= found.effect <= found.interval[1]
    assert found.effect == pytest.approx(found.numbers["output"] - found.numbers["votes"])
    assert all(0 <= share <= 1 for share in found.numbers.values())


def test_without_routing_scale_alone_is_the_vote_attack(x):
    classifier = capsules(iterations=1)
    numbers = resolve(CLAIM.function)([classifier], TensorImages(x, classifier.predict(x)), CONFIG).numbers
    assert numbers["scaled"] == numbers["votes"]
    assert numbers["unrouted"] == numbers["output"]


def test_without_correct_images_nothing_is_decided(x):
    classifier = capsules()
    wrong = TensorImages(x, (classifier.predict(x) + 1) % 4)
    found = resolve(CLAIM.function)([classifier], wrong, CONFIG)
    assert (found.n, found.verdict) == (0, "undecided")


def test_models_without_votes_are_refused(x):
    plain = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)), classes=list("abcd"))
    with pytest.raises(InputError, match="makes no votes"):
        resolve(CLAIM.function)([plain], TensorImages(x, torch.zeros(30).long()), CONFIG)


def test_settings_outside_their_range_are_refused():
    for name, value in (("limit", 0), ("eps", 0.0), ("steps", 0), ("slack", 1.0)):
        with pytest.raises(InputError, match=name):
            VoteClaimConfig(**{name: value})
