"""Scores of the best classes only."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, ModelError
from whywrong.models.answers import FLOOR
from whywrong.models.classifier import Classifier
from whywrong.models.listed import MOST, listed_scores

X = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def net(x: Tensor) -> Tensor:
    return torch.cat([x[:, 0].flatten(1), x[:, 1].flatten(1)], 1) * 3


def top2(x: Tensor) -> Tensor:
    best = net(x).softmax(1).topk(2, 1)
    return torch.zeros(len(x), 8).scatter(1, best.indices, best.values)


def test_a_model_that_lists_its_best_classes_grants_top_and_no_more():
    classifier = Classifier(top2, output="top")
    assert classifier.access == Access.TOP
    assert torch.equal(classifier.predict(X), net(X).argmax(1))
    with pytest.raises(AccessError, match="SCORES"):
        classifier.logits(X)
    with pytest.raises(AccessError, match="SCORES"):
        classifier.logits_or_faults(X)
    assert ((listed_scores(classifier, X) > math.log(2 * FLOOR)).sum(1) == 2).all()
    assert Classifier(top2, output="top", access=Access.GRADIENTS).access == Access.TOP


def test_of_a_model_with_all_scores_five_are_read():
    classifier = Classifier(net, access=Access.TOP)
    scores = listed_scores(classifier, X)
    full = net(X).log_softmax(1)
    shown = scores > math.log(2 * FLOOR)
    assert (shown.sum(1) == MOST).all()
    torch.testing.assert_close(scores[shown], full[shown])
    assert (full.where(shown, torch.inf).amin(1) >= full.where(~shown, -torch.inf).amax(1)).all()


def test_labels_do_not_grant_the_best_classes_and_bad_scores_stay_bad():
    with pytest.raises(AccessError, match="TOP"):
        listed_scores(Classifier(net, access=Access.LABELS), X)
    spoilt = Classifier(lambda x: net(x).where(torch.arange(8) > 0, torch.nan), access=Access.TOP)
    assert listed_scores(spoilt, X).isnan().all()
    with pytest.raises(ModelError, match="outside"):
        listed_scores(Classifier(lambda x: 2 * top2(x) + 1, output="top"), X)
