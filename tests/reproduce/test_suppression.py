"""Claims of promotion and suppression on a small net: all are decided from one measurement, controls beside them."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images

from whywrong.core.errors import InputError
from whywrong.core.registry import claims, resolve
from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import TensorImages
from whywrong.reproduce.suppression.measuring import SuppressionClaimConfig

NAMES = [name for name in claims() if name.startswith("suppression.")]
CONFIG = SuppressionClaimConfig(limit=24, grid=4)


@pytest.fixture(scope="module")
def shared():
    net, x = build("gap"), images(48, seed=5)
    with torch.no_grad():
        order = net(x).argsort(1, descending=True)
    y = torch.where(torch.arange(48) % 2 == 0, order[:, 0], order[:, 1])
    return Classifier(net), TensorImages(x, y), {}


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_is_measured_with_its_control(shared, name):
    classifier, data, cache = shared
    found = resolve(claims()[name].function)([classifier], data, CONFIG, cache=cache)
    assert found.n == 24
    assert found.verdict in ("holds", "does not hold", "undecided")
    assert found.interval[0] <= found.effect <= found.interval[1]
    controls = {"C1": "random_signs_neutral", "C2": "random", "C3": "random", "C4": "others", "C5": "s_other"}
    assert controls.get(name.split(".")[1], "random_signs_neutral") in found.numbers


def test_pairs_are_measured_once_for_all_claims(shared):
    classifier, data, cache = shared
    before = None
    for name in ("suppression.C1", "suppression.C2", "suppression.C3"):
        resolve(claims()[name].function)([classifier], data, CONFIG, cache=cache)
        before = before or classifier.forwards
    assert classifier.forwards == before


def test_the_strongest_half_suffices_far_more_often_than_a_random_one(shared):
    classifier, data, cache = shared
    found = resolve(claims()["suppression.C3"].function)([classifier], data, CONFIG, cache=cache)
    assert found.numbers["top"] > found.numbers["random"] + 0.3


def test_without_errors_nothing_is_decided(shared):
    classifier, data, _ = shared
    right = TensorImages(data.x[::2], data.y[::2])
    found = resolve(claims()["suppression.C9"].function)([classifier], right, CONFIG, cache={})
    assert (found.n, found.verdict) == (0, "undecided")


def test_settings_outside_their_range_are_refused():
    for name, value in (("limit", 0), ("grid", 1), ("least", 0.0), ("enough", 1.0)):
        with pytest.raises(InputError, match=name):
            SuppressionClaimConfig(**{name: value})
