"""The trust score and verdicts on trained networks, judges taking no part in the search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from whywrong.explain.counterfactuals.guidance import ConeGuidance
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.explain.counterfactuals.trust import trust
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier

ROBUST, PLAIN = ("robust_resnet", "robust_vit"), ("resnet20", "resnet56", "small_vit")


@pytest.mark.slow
def test_the_score_tells_robust_nets_from_ordinary_ones(shared_data, shared_models):
    """At 30 images: AUROC at least 0.9, and 90 % of ordinary ones not semantic."""
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"][:30]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"][:30]).long()
    target = (y + 1 + torch.arange(30) % 9) % 10
    nets = {name: Classifier(shared_models(name)) for name in (*ROBUST, *PLAIN)}
    vces = {}
    for name, net in nets.items():
        with net:
            vces[name] = maximize(ClassObjective(net), x, target, eps=5.6, steps=15).z
    results = {
        name: trust(
            net,
            x,
            vces[name],
            target,
            judges=[nets[r] for r in ROBUST if r != name],
            plain_vces=[vces[q] for q in PLAIN if q != name],
        )
        for name, net in nets.items()
    }
    scores = [results[name].score.numpy() for name in (*PLAIN, *ROBUST)]
    assert roc_auc_score([0] * 90 + [1] * 60, np.concatenate(scores)) >= 0.9
    not_semantic = [verdict != "semantic" for name in PLAIN for verdict in results[name].verdict]
    assert np.mean(not_semantic) >= 0.9
    assert results["robust_resnet"].verdict.count("semantic") >= 15
    assert "adversarial" not in results["robust_vit"].verdict


@pytest.mark.slow
def test_a_cone_makes_a_judge_believe_what_the_plain_gradient_does_not(shared_data, shared_models):
    """Table 3 in the form of rises: the judge moves at least three times as far."""
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"][:30]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"][:30]).long()
    target = (y + 1 + torch.arange(30) % 9) % 10
    net, aux, judge = (Classifier(shared_models(name)) for name in ("resnet20", *ROBUST))
    with net, aux:
        plain = maximize(ClassObjective(net), x, target, eps=5.6, steps=12).z
        guided = maximize(ConeGuidance(net, aux, 60.0), x, target, eps=5.6, steps=12).z
    found = trust(net, x, guided, target, judges=[judge], aux=aux, plain_vces=[plain])
    before = trust(net, x, plain, target, judges=[judge])
    assert float(found.opinion.rise.mean()) > 3 * float(before.opinion.rise.mean())
    assert float(found.opinion.agrees.float().mean()) > 0.5
    assert float((net.predict(guided) == target).float().mean()) > 0.9


@pytest.mark.slow
def test_changes_of_an_ordinary_shipped_net_are_not_semantic():
    from whywrong.data.planted import open_set

    pictures = open_set("test")
    x = pictures.draw(torch.arange(16)).images.float() / 255
    target = (pictures.label[:16] + 1) % 12
    net, judge = load_classifier("planted:cnn"), load_classifier("planted:vit")
    with net:
        vce = maximize(ClassObjective(net), x, target, eps=5.6, steps=12).z
    found = trust(net, x, vce, target, judges=[judge])
    assert float((net.predict(vce) == target).float().mean()) > 0.9
    assert found.verdict.count("semantic") <= 1
    assert float(found.coherence.median()) < 0.45
