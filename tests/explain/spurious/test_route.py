"""The counterfactual route on a net whose way into a class is known: blue makes a cat."""

from __future__ import annotations

import pytest
import torch
from tests.explain.spurious.toys import NAMES, SIDE, toy_classifier, toy_images

from whywrong.core.errors import InputError
from whywrong.explain.spurious import RouteConfig, changes_into

CAT = NAMES.index("cat")


def dogs():
    x, label, _ = toy_images(24, (0.0, 0.0, 0.0))
    return x[label == NAMES.index("dog")]


def test_a_linear_net_is_changed_in_what_pays_most_and_is_readable():
    classifier, x = toy_classifier(), dogs()
    objects = torch.zeros(24, SIDE, SIDE, dtype=torch.bool)
    objects[:, :, : SIDE // 2] = True
    route = changes_into(classifier, x, CAT, objects=objects, config=RouteConfig(p=1.5, eps=4.0, steps=5))
    assert route.valid.value == 1.0
    delta = (route.changed - x).abs().sum((2, 3)).mean(0)
    assert delta.argmax() == 2  # blue carries the largest weight
    assert route.change.outside.value == pytest.approx(0.5, abs=0.02)  # the net knows no places
    assert route.change.images == 24
    assert route.coherence > 0.9  # the gradient of logits that are linear hardly turns
    assert route.readable


def test_passes_are_those_that_the_classifier_counts():
    classifier, x = toy_classifier(), dogs()
    before = classifier.forwards, classifier.backwards
    route = changes_into(classifier, x, CAT, config=RouteConfig(eps=4.0, steps=3))
    assert int(route.forwards.sum()) == classifier.forwards - before[0]
    assert int(route.backwards.sum()) == classifier.backwards - before[1]


def test_wrong_use_is_refused():
    classifier, x = toy_classifier(), dogs()
    with pytest.raises(InputError, match="at least 20"):
        changes_into(classifier, x[:5], CAT)
    with pytest.raises(InputError, match="target 7"):
        changes_into(classifier, x, 7)
    x[3, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="image 3 has values"):
        changes_into(classifier, x, CAT)
    with pytest.raises(InputError, match="steps must be at least 1"):
        RouteConfig(steps=0)
    with pytest.raises(InputError, match="eps must be positive"):
        RouteConfig(eps=-1.0)
