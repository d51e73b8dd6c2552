"""Claims about counterfactuals on small nets: what is compared, what it is decided by, and what is measured once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.contract.nets import build, images
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals import default_radius, maximize
from whywrong.explain.counterfactuals.metrics import pix90
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier
from whywrong.reproduce.counterfactuals.config import CounterfactualClaimConfig
from whywrong.reproduce.counterfactuals.measuring import targeted_images
from whywrong.reproduce.figures import draw
from whywrong.reproduce.protocol import ClaimResult, TensorImages
from whywrong.reproduce.running import run_claim, run_claims

NAMES = ["C1", "C2", "C3", "C4", "C5", "C8"]
FAST = {"limit": 22, "steps": 6, "long": 12}


@dataclass(frozen=True, slots=True, eq=False)
class MaskedImages(TensorImages):
    """Images in memory with masks of their objects (N, H, W) bool."""

    masks: Tensor | None = None


@pytest.fixture(scope="module")
def data() -> TensorImages:
    return TensorImages(images(24, seed=1), torch.arange(24) % 4, batch_size=5)


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(build("gap"))


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_gives_an_effect_an_interval_and_a_figure(name, classifier, data):
    result = run_claim(f"counterfactuals.{name}", [classifier], data, FAST)
    assert result.n == (0 if name == "C8" else 22)
    if name != "C8":
        assert result.interval[0] <= result.effect <= result.interval[1]
    assert result.verdict in ("holds", "does not hold", "undecided")
    assert draw(result).axes
    assert result.to_dict()["sentence"].endswith(".")


def test_sparsity_is_that_of_searches_made_by_hand(classifier, data):
    result = run_claim("counterfactuals.C1", [classifier], data, FAST)
    batches = targeted_images(classifier, data, CounterfactualClaimConfig(limit=22))
    held = []
    with classifier:
        for batch in batches:
            assert not bool((classifier.predict(batch.x) == batch.target).any())
            eps = default_radius(1.5, batch.x[0].numel())
            found = maximize(
                ClassObjective(classifier), batch.x, batch.target, p=1.5, eps=eps, steps=6, keys=batch.keys
            )
            held += pix90(batch.x, found.z).tolist()
    assert result.numbers["pix90_p1.5"] == pytest.approx(np.mean(held), rel=1e-5)
    assert result.numbers["pix90_p1"] < result.numbers["pix90_p2"]


def test_without_masks_nothing_is_said_of_objects_and_with_them_it_is(classifier, data):
    assert run_claim("counterfactuals.C8", [classifier], data, FAST).verdict == "undecided"
    masks = torch.zeros(24, 16, 16, dtype=torch.bool)
    masks[2:, 4:12, 4:12] = True
    result = run_claim("counterfactuals.C8", [classifier], MaskedImages(data.x, data.y, 5, masks), FAST)
    assert result.n == 20
    assert 0 < result.numbers["inside_p1.5"] < 1


def test_a_family_measures_the_same_search_once(classifier, data):
    results = [r for r in run_claims("counterfactuals", [classifier], data, FAST) if isinstance(r, ClaimResult)]
    assert {r.name for r in results} >= {f"counterfactuals.{name}" for name in NAMES}
    together = classifier.forwards
    classifier.forwards = 0
    for name in NAMES:
        run_claim(f"counterfactuals.{name}", [classifier], data, FAST)
    assert together < 0.75 * classifier.forwards


def test_no_images_leave_every_claim_undecided(classifier):
    none = TensorImages(torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64))
    classifier.logits(torch.zeros(1, 3, 16, 16))
    for name in NAMES:
        result = run_claim(f"counterfactuals.{name}", [classifier], none, FAST)
        assert (result.verdict, result.n) == ("undecided", 0)
        assert draw(result).axes


@pytest.mark.parametrize("settings", [{"limit": 0}, {"scale": 0.0}, {"kept": 1.5}, {"points": 0.0}, {"long": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        CounterfactualClaimConfig(**settings)
