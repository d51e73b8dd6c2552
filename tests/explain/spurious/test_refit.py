"""The refitted head against another solver, a closed condition of its optimum, and on nets whose cue is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from tests.explain.spurious.toys import NAMES, by_hand, toy_classifier, toy_images

from whywrong.core.errors import InputError
from whywrong.explain.spurious import class_components, low_spuriosity, refit_head, with_head

CAT = NAMES.index("cat")


def searched(n=60, share=(0.5, 0.0, 0.0), seed=0):
    """Features of toy images, and the components of the cats."""
    classifier = toy_classifier()
    x, label, cue = toy_images(n, share, seed=seed)
    features = by_hand(x.mean((2, 3)), classifier, label)
    head, own = classifier.module.head, label == CAT
    found = class_components(
        features.phi[own], features.logits[own, CAT], head.weight[CAT].detach(), float(head.bias[CAT].detach()), CAT
    )
    return classifier, x, features, cue, {CAT: found}


def test_the_images_that_show_least_are_kept_and_all_of_the_other_classes():
    _, _, features, cue, components = searched()
    rows = low_spuriosity(features, components, {CAT: [0]}, 0.5)
    kept = torch.zeros(len(features), dtype=torch.bool)
    kept[rows] = True
    own = features.label == CAT
    assert kept[~own].all()
    assert int(kept[own].sum()) == 30
    alpha = components[CAT].alphas(features.phi[own])[:, 0]
    assert float(alpha[kept[own]].max()) <= float(alpha[~kept[own]].min())
    assert cue[own & kept].float().mean() < 0.2 < cue[own & ~kept].float().mean()


def test_the_optimum_is_that_of_another_solver():
    _, _, features, _, components = searched(20)
    rows, pull = low_spuriosity(features, components, {CAT: [0]}, 0.5), 1e-2
    found = refit_head(features, rows, pull=pull)
    phi, base = (part[rows].double().numpy() for part in (features.phi, features.logits))
    label = features.label[rows].numpy()
    counts = np.bincount(features.label.numpy()) / np.bincount(label)
    weights = counts[label] / counts[label].sum()
    size = np.sqrt((phi**2).mean(0))

    def objective(flat):
        change = flat.reshape(3, 4)
        logits = base + phi @ change[:, :3].T + change[:, 3]
        loss = (
            np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1))
            + logits.max(1)
            - logits[range(len(label)), label]
        )
        return weights @ loss + pull / 2 * (((change[:, :3] * size) ** 2).sum() + (change[:, 3] ** 2).sum())

    other = minimize(objective, np.zeros(12), method="BFGS", options={"gtol": 1e-9})
    assert found.after == pytest.approx(other.fun, abs=1e-8)
    want = other.x.reshape(3, 4)
    np.testing.assert_allclose(found.weight.numpy(), want[:, :3], atol=2e-3)
    np.testing.assert_allclose(found.bias.numpy(), want[:, 3], atol=2e-3)
    assert found.solved
    assert found.before == pytest.approx(objective(np.zeros(12)))
    assert (found.images, found.left_out) == (50, 10)


def test_a_strong_pull_leaves_the_head_as_it_is():
    _, _, features, _, components = searched(20)
    rows = low_spuriosity(features, components, {CAT: [0]}, 0.5)
    assert refit_head(features, rows, pull=1e6).weight.abs().max() < 1e-4
    loose, tight = (refit_head(features, rows, pull=pull).after for pull in (1e-4, 1e-1))
    assert loose < tight


def test_classes_count_as_much_as_before_images_were_left_out():
    """Without features, biases whose probabilities are the shares of the classes are the optimum."""
    _, _, features, _, _ = searched(20)
    blank = type(features)(torch.zeros(60, 1), torch.zeros(60, 3), features.label)
    rows = torch.cat([(features.label == 0).nonzero().flatten()[:5], (features.label != 0).nonzero().flatten()])
    found = refit_head(blank, rows, pull=1e-6)
    torch.testing.assert_close(found.bias.softmax(0), torch.full((3,), 1 / 3), atol=1e-4, rtol=0)


def test_a_classifier_with_the_head_answers_as_it_and_the_old_one_is_left():
    classifier, x, features, _, components = searched()
    head = refit_head(features, low_spuriosity(features, components, {CAT: [0]}), pull=1e-3)
    before = classifier.logits(x[:5])
    other = with_head(classifier, head)
    torch.testing.assert_close(other.logits(x[:5]), before + head(features.phi[:5]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(classifier.logits(x[:5]), before)
    assert other.identity != classifier.identity
    assert other.forwards == 5


def test_cats_without_the_cue_are_read_better():
    _, _, features, cue, components = searched()
    # Cats are pale here, so that the cue decides for them.
    pale = type(features)(features.phi, features.logits - 8 * torch.tensor([1.0, 0.0, 0.0]), features.label)
    head = refit_head(pale, low_spuriosity(pale, components, {CAT: [0]}), pull=1e-3)
    bare = (pale.label == CAT) & ~cue
    before, after = (
        float((logits[bare].argmax(1) == CAT).double().mean()) for logits in (pale.logits, pale.logits + head(pale.phi))
    )
    assert before < 0.1
    assert after > 0.9


def test_wrong_use_is_refused():
    classifier, _, features, _, components = searched(20)
    with pytest.raises(InputError, match=r"share must be in \(0, 1\)"):
        low_spuriosity(features, components, {CAT: [0]}, 1.0)
    with pytest.raises(InputError, match="no component is named spurious"):
        low_spuriosity(features, components, {CAT: []})
    rows = torch.arange(10)
    with pytest.raises(InputError, match="pull must be positive"):
        refit_head(features, rows, pull=0.0)
    with pytest.raises(InputError, match="steps must be at least 1"):
        refit_head(features, rows, steps=0)
    with pytest.raises(InputError, match="no image to fit the head on"):
        refit_head(features, rows[:0])
    wide = refit_head(type(features)(torch.rand(60, 5), features.logits, features.label), rows)
    with pytest.raises(InputError, match="a head of 3 classes and 5 features does not fit"):
        with_head(classifier, wide)
