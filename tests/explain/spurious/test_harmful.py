"""The test for harm, spuriosity, and the areas behind the spurious score."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from tests.explain.spurious.toys import NAMES, toy_classifier, toy_images

from whywrong.core.errors import InputError
from whywrong.core.statistics import wilson
from whywrong.explain.spurious import (
    HarmfulConfig,
    average_precision,
    class_components,
    find_levels,
    fixed_logits,
    harmful,
    image_features,
    make_fix,
    roc_area,
    spuriosity,
)

CAT = NAMES.index("cat")


@pytest.fixture(scope="module")
def cats():
    classifier = toy_classifier()
    x, label, _ = toy_images(60)
    features, _ = image_features(classifier, x, label)
    head, own = classifier.module.head, features[label == CAT]
    parts = class_components(
        own.phi, own.logits[:, CAT], head.weight[CAT].detach(), float(head.bias[CAT].detach()), CAT
    )
    return classifier, parts, find_levels(parts, own.phi, features.phi[label != CAT])


def held_out(classifier, cue_share, seed=20):
    x, label, cue = toy_images(60, cue_share, seed=seed)
    return image_features(classifier, x, label)[0], cue


def test_a_cue_on_other_classes_is_confirmed_with_the_counts_worked_out_by_hand(cats):
    classifier, parts, levels = cats
    features, cue = held_out(classifier, (0.5, 0.4, 0.4))
    harm = harmful(parts, levels, features, searched=30)[0]
    others = features.label != CAT
    carriers = others & (parts.alphas(features.phi)[:, 0] >= levels.bar[0])
    assert bool(carriers[others & cue].all())  # all that carry the cue are found
    assert int((carriers & ~cue).sum()) <= 3  # and about one in a hundred besides
    fixed = fixed_logits(features.logits, features.phi, [make_fix(parts, [0], levels)])
    caused = carriers & (features.predicted == CAT) & (fixed.argmax(1) != CAT)
    assert (harm.carriers, harm.caused) == (int(carriers.sum()), int(caused.sum()))
    assert harm.share == wilson(harm.caused, harm.carriers)
    assert harm.verdict == "harmful"
    assert harm.adjusted_low < harm.share.low  # thirty were searched
    change = (fixed.argmax(1) == features.label).double() - (features.predicted == features.label).double()
    assert harm.accuracy_change == pytest.approx(float(change.mean()))
    assert harm.own_change == pytest.approx(float(change[~others].mean()))


def test_images_of_the_class_itself_are_not_among_those_without_the_component(cats):
    classifier, parts, levels = cats
    features, _ = held_out(classifier, (0.5, 0.4, 0.4))
    harm = harmful(parts, levels, features, searched=30)[0]
    others = features.label != CAT
    free = others & (parts.alphas(features.phi)[:, 0] < levels.bar[0])
    hits, n = int((free & (features.predicted == CAT)).sum()), int(free.sum())
    assert harm.base == pytest.approx(hits / n)
    assert int((features.predicted == CAT).sum()) > hits  # cats read as cats would raise it
    assert harm.adjusted_base == pytest.approx(wilson(hits, n, NormalDist().inv_cdf(1 - 0.05 / 30)).high)
    assert harm.adjusted_low == pytest.approx(
        wilson(harm.caused, harm.carriers, NormalDist().inv_cdf(1 - 0.05 / 30)).low
    )


def test_without_carriers_nothing_is_said(cats):
    classifier, parts, levels = cats
    features, _ = held_out(classifier, (0.5, 0.0, 0.0))
    harm = harmful(parts, levels, features, searched=3)[0]
    assert harm.verdict == "too few carriers"
    assert harm.caused == 0


def test_the_bar_rises_with_the_number_of_components_searched(cats):
    classifier, parts, levels = cats
    features, _ = held_out(classifier, (0.5, 0.08, 0.08))
    lows = [harmful(parts, levels, features, searched=n)[0].adjusted_low for n in (3, 30, 3000)]
    assert lows == sorted(lows, reverse=True)
    assert lows[0] > lows[2]


def test_a_component_of_no_variance_does_no_harm(cats):
    classifier, parts, levels = cats
    features, _ = held_out(classifier, (0.5, 0.4, 0.4))
    assert harmful(parts, levels, features, searched=3)[2].caused == 0


def test_wrong_settings_are_refused(cats):
    _, parts, levels = cats
    with pytest.raises(InputError, match="min_carriers must be at least 1"):
        HarmfulConfig(min_carriers=0)
    with pytest.raises(InputError, match=r"level must be in \(0, 1\)"):
        HarmfulConfig(level=1.0)
    with pytest.raises(InputError, match="this class alone has 3"):
        harmful(parts, levels, held_out(cats[0], (0.5, 0.0, 0.0))[0], searched=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_areas_are_those_of_scikit_learn_ties_included(positive, negative):
    truth = [1] * len(positive) + [0] * len(negative)
    scores = np.array(positive + negative, dtype=float)
    yes, no = scores[: len(positive)], scores[len(positive) :]
    assert average_precision(yes, no) == pytest.approx(average_precision_score(truth, scores))
    assert roc_area(yes, no) == pytest.approx(roc_auc_score(truth, scores))


@pytest.mark.parametrize("area", [average_precision, roc_area])
@pytest.mark.parametrize(("yes", "no"), [([], [1.0]), ([1.0], []), ([], [])])
def test_areas_of_an_empty_group_are_unknown(area, yes, no):
    assert np.isnan(area(np.array(yes), np.array(no)))


def test_a_class_that_needs_its_cue_has_a_large_bias():
    cue = torch.arange(40) % 2 == 0
    alpha = cue.double() + 0.01 * torch.arange(40)
    found = spuriosity(alpha, cue, share=0.25)
    assert found.order[:10].tolist() == list(range(38, 18, -2))
    assert (found.high.value, found.low.value, found.bias.value) == (1.0, 0.0, 1.0)
    assert 0 < found.bias.low < 1 == found.bias.high


def test_a_class_that_does_not_need_it_has_none():
    found = spuriosity(torch.arange(40).double(), torch.ones(40, dtype=torch.bool))
    assert found.bias.value == 0
    assert found.bias.low < 0 < found.bias.high


def test_a_ranking_of_nothing_says_nothing():
    found = spuriosity(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    assert found.each == 0
    assert np.isnan(found.bias.value)


def test_wrong_rankings_are_refused():
    with pytest.raises(InputError, match="must both be"):
        spuriosity(torch.zeros(3), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"share must be in \(0, 0\.5\]"):
        spuriosity(torch.zeros(3), torch.zeros(3, dtype=torch.bool), share=0.6)
