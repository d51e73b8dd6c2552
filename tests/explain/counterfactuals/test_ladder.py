"""Which rung of the ladder is taken, and what is said where there is none."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.attack_nets import Linear, SmallNet

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals.finetune import FinetuneConfig, finetune
from whywrong.explain.counterfactuals.guidance import (
    ConeGuidance,
    DenoisedGuidance,
    EnsembleGuidance,
    SmoothGuidance,
)
from whywrong.explain.counterfactuals.ladder import choose_guide, gradient_coherence
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.trust import TrustConfig
from whywrong.models.classifier import Classifier


def robust_copy(classifier: Classifier):
    x, y = torch.rand((20, 3, 8, 8), generator=torch.Generator().manual_seed(0)), torch.arange(20) % 5
    return finetune(classifier, x, y, config=FinetuneConfig(epochs=1, attack_steps=1, batch=10))


def test_the_rungs_are_tried_from_the_cheapest():
    own, aux = Classifier(SmallNet(0)), Classifier(SmallNet(1))
    copy, denoiser = robust_copy(own), torch.nn.Identity()
    given = {"coherence": 0.9, "aux": aux, "copy": copy, "trained_with_noise": True, "denoiser": denoiser}
    expected = ["own gradient", "auxiliary", "robust copy", "smoothing", "denoiser", "refusal"]
    found = []
    for missing in range(6):
        given = dict(list(given.items())[1:]) if missing else given
        guide = choose_guide(own, **given)
        found.append(guide.rung)
        assert [step.rung for step in guide.steps] == expected
        assert [step.available for step in guide.steps] == [False] * missing + [True] * (6 - missing)
    assert found == expected


def test_each_rung_brings_the_objective_of_its_name():
    own, aux = Classifier(SmallNet(0)), Classifier(SmallNet(1))
    copy = robust_copy(own)
    assert isinstance(choose_guide(own, aux=aux).objective, EnsembleGuidance)
    cone = choose_guide(own, aux=aux, way="cone", angle=30.0)
    assert isinstance(cone.objective, ConeGuidance)
    assert cone.objective.angle == 30.0
    assert cone.aux is aux
    assert cone.explained is own
    explained_copy = choose_guide(own, copy=copy)
    assert explained_copy.explained is copy.classifier
    assert isinstance(explained_copy.objective, ClassObjective)
    assert explained_copy.objective.classifier is copy.classifier
    assert "agrees with the original on" in explained_copy.words
    assert isinstance(choose_guide(own, trained_with_noise=True).objective, SmoothGuidance)
    assert isinstance(choose_guide(own, denoiser=torch.nn.Identity()).objective, DenoisedGuidance)
    assert isinstance(choose_guide(own, coherence=0.9).objective, ClassObjective)


def test_without_help_noise_is_not_called_an_explanation():
    guide = choose_guide(Classifier(SmallNet(0)), coherence=0.12)
    assert guide.rung == "refusal"
    assert not guide.drawable
    assert "does not keep its direction under small noise (cosine 0.12, bound 0.6)" in guide.words
    assert "not drawn as an explanation" in guide.words
    assert "not measured" in choose_guide(Classifier(SmallNet(0))).words
    assert choose_guide(Classifier(SmallNet(0)), coherence=0.6).drawable


def test_the_gradient_of_a_linear_log_odds_is_coherent_and_passes_are_counted():
    w = torch.randn((2, 192), generator=torch.Generator().manual_seed(0))
    own, x = Classifier(Linear(w, torch.zeros(2))), torch.rand(5, 3, 8, 8)
    target = torch.tensor([0, 1, 0, 1, 0])
    found = gradient_coherence(own, x, target, config=TrustConfig(draws=3))
    torch.testing.assert_close(found, torch.ones(5), atol=1e-5, rtol=0)
    assert (own.forwards, own.backwards) == (20, 20)


def test_another_way_is_refused():
    with pytest.raises(InputError, match="way must be one of cone, ensemble"):
        choose_guide(Classifier(SmallNet(0)), way="average")


@pytest.mark.slow
def test_robust_nets_have_coherent_gradients_and_ordinary_ones_do_not(shared_data, shared_models):
    import numpy as np

    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"][:30]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"][:30])
    median = {
        name: float(gradient_coherence(Classifier(shared_models(name)), x, (y + 1) % 10).median())
        for name in ("robust_resnet", "robust_vit", "resnet20", "resnet56", "small_vit")
    }
    assert min(median["robust_resnet"], median["robust_vit"]) > 0.7
    assert max(median["resnet20"], median["resnet56"], median["small_vit"]) < 0.6
