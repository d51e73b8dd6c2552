"""SpuFix: what it takes away, and what it leaves as it was."""

from __future__ import annotations

import pickle

import pytest
import torch
from tests.explain.spurious.toys import NAMES, toy_classifier, toy_images

from whywrong.core.errors import InputError
from whywrong.explain.spurious import (
    Features,
    class_components,
    find_levels,
    fixed_logits,
    image_features,
    make_fix,
    matched_fix,
    repair,
)
from whywrong.explain.spurious.spufix import RepairedRecipe

CAT = NAMES.index("cat")


@pytest.fixture(scope="module")
def found():
    """Components of cat, half of whose images carry the cue, with their levels."""
    classifier = toy_classifier()
    x, label, cue = toy_images(60)
    features, _ = image_features(classifier, x, label)
    head = classifier.module.head
    own, others = features[label == CAT], features[label != CAT]
    parts = class_components(
        own.phi, own.logits[:, CAT], head.weight[CAT].detach(), float(head.bias[CAT].detach()), CAT
    )
    return classifier, parts, find_levels(parts, own.phi, others.phi), features, cue


def test_the_first_component_is_the_cue(found):
    _, parts, _, features, cue = found
    own = features.label == CAT
    alpha = parts.alphas(features.phi[own])[:, 0]
    assert alpha[cue[own]].min() > alpha[~cue[own]].max()


@pytest.mark.parametrize("start", ["others", "class"])
def test_images_without_the_cue_keep_their_logits(found, start):
    classifier, parts, levels, *_ = found
    x, label, _ = toy_images(30, (0.0, 0.0, 0.0), seed=5)
    repaired = repair(classifier, [make_fix(parts, [0], levels, start)])
    before, after = classifier.logits(x), repaired.logits(x)
    assert torch.equal(before[:, 1:], after[:, 1:])  # only the class itself is touched
    changed = (before - after)[:, CAT]
    assert changed.min() >= 0
    # One in twenty images of other classes lies above their own 95 % quantile, and by little.
    assert float((changed[label != CAT] > 0).float().mean()) <= 0.1
    assert float(changed.max()) < 0.1


def test_the_cue_no_longer_makes_a_dog_a_cat(found):
    classifier, parts, levels, *_ = found
    x, label, _ = toy_images(30, (0.0, 1.0, 1.0), seed=6)
    others = label != CAT
    repaired = repair(classifier, [make_fix(parts, [0], levels)])
    assert float((classifier.predict(x)[others] == CAT).float().mean()) > 0.9
    assert float((repaired.predict(x)[others] == CAT).float().mean()) == 0
    assert torch.equal(repaired.predict(x)[others], label[others])


def test_the_published_form_takes_what_lies_above_the_mean_of_the_class(found):
    _, parts, _, features, _ = found
    alpha = parts.alphas(features.phi)[:, :2]
    fixed = fixed_logits(features.logits, features.phi, [make_fix(parts, [0, 1], start="class")])
    due = features.logits[:, CAT] - alpha.clamp_min(0).sum(1).float()
    torch.testing.assert_close(fixed[:, CAT], due, atol=1e-4, rtol=0)


def test_the_published_form_fails_where_the_whole_class_carries_the_cue():
    """The cue then sits in the mean of the class: why the default counts from other classes."""
    classifier = toy_classifier()
    x, label, _ = toy_images(120, (0.95, 0.0, 0.0))
    features, _ = image_features(classifier, x, label)
    head, own = classifier.module.head, features[label == CAT]
    parts = class_components(
        own.phi, own.logits[:, CAT], head.weight[CAT].detach(), float(head.bias[CAT].detach()), CAT
    )
    levels = find_levels(parts, own.phi, features.phi[label != CAT])
    marked, truth, _ = toy_images(30, (0.0, 1.0, 1.0), seed=7)
    others = truth != CAT
    rates = {}
    for start in ("class", "others"):
        read = repair(classifier, [make_fix(parts, [0], levels, start)]).predict(marked)
        rates[start] = float((read[others] == CAT).float().mean())
    assert rates["class"] > 0.9
    assert rates["others"] < 0.05


def test_the_wrapper_counts_one_pass_an_image_and_passes_gradients_on(found):
    classifier, parts, levels, *_ = found
    x = toy_images(4, (1.0, 1.0, 1.0), seed=8)[0].clamp_min(1e-3)  # room for a step downwards
    before = classifier.forwards
    repaired = repair(classifier, [make_fix(parts, [0], levels)])
    repaired.logits(x)
    assert (repaired.forwards, repaired.backwards) == (len(x), 0)
    assert classifier.forwards == before
    logits, _, grad = repaired.gradient(x, lambda z, _: z[:, CAT])
    plain = classifier.gradient(x, lambda z, _: z[:, CAT])[2]
    assert grad[:, 2, :4, :4].abs().sum() < 0.2 * plain[:, 2, :4, :4].abs().sum()  # the cue no longer pays
    step = 1e-3
    moved = x.clone()
    moved[:, 2] -= step
    due = (logits - repaired.logits(moved))[:, CAT]
    torch.testing.assert_close(grad[:, 2].sum((1, 2)) * step, due, atol=1e-4, rtol=1e-2)


def test_repair_leaves_the_module_as_it_was_and_keeps_the_door(found):
    classifier, parts, levels, *_ = found
    module = classifier.module
    module.train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    repaired = repair(classifier, [make_fix(parts, [0], levels)])
    repaired.logits(torch.rand(2, 3, 8, 8))
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(not part._forward_hooks for part in module.modules())
    assert repaired.classes == classifier.classes
    assert repaired.preprocess == classifier.preprocess
    assert repaired.identity != classifier.identity
    assert repaired.identity == repair(classifier, [make_fix(parts, [0], levels)]).identity
    module.eval()


def test_any_batch_split_gives_the_same_answer(found):
    classifier, parts, levels, *_ = found
    x, _, _ = toy_images(10, (1.0, 0.5, 0.5), seed=9)
    repaired = repair(classifier, [make_fix(parts, [0], levels)])
    whole = repaired.logits(x)
    repaired.batch_size = 7
    torch.testing.assert_close(repaired.logits(x), whole)


def test_a_repair_travels_to_another_process():
    from whywrong.models.loading.zoo import load_classifier

    classifier = load_classifier("planted:cnn", batch_size=8)
    x = torch.rand(30, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, _ = image_features(classifier, x, torch.zeros(30, dtype=torch.int64))
    head = classifier.module.head
    parts = class_components(
        features.phi, features.logits[:, 3], head.weight[3].detach(), float(head.bias[3].detach()), 3
    )
    repaired = repair(classifier, [make_fix(parts, [0], start="class")])
    assert isinstance(repaired.recipe, RepairedRecipe)
    again = pickle.loads(pickle.dumps(repaired.recipe)).build()
    assert again.identity == repaired.identity
    torch.testing.assert_close(again.logits(x), repaired.logits(x))


def test_the_matched_fix_finds_the_cue_in_a_rotated_copy(found):
    _, parts, _, features, _ = found
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    copy = toy_classifier(rotation)
    x, label, _ = toy_images(60)
    there, _ = image_features(copy, x, label)
    torch.testing.assert_close(there.logits, features.logits, atol=1e-4, rtol=1e-4)
    own, others = label == CAT, label != CAT
    fix = matched_fix(
        parts, [0], features.phi[own], there.phi[own], copy.module.head.weight[CAT].detach(), CAT,
        others=there.phi[others],
    )  # fmt: skip
    beta = there.phi[own] @ fix.taken[0]
    alpha = parts.alphas(features.phi[own])[:, 0]
    # psi depends on the basis of the features, so the direction is that of the cue and not the same to the last digit.
    assert float(torch.corrcoef(torch.stack([beta.double(), alpha]))[0, 1]) > 0.95
    marked, truth, _ = toy_images(30, (0.0, 1.0, 1.0), seed=6)
    read = repair(copy, [fix]).predict(marked)
    assert float((read[truth != CAT] == CAT).float().mean()) < 0.1


def test_matching_a_model_with_itself_recovers_the_first_direction(found):
    _, parts, levels, features, _ = found
    own, others = features[features.label == CAT], features[features.label != CAT]
    fix = matched_fix(parts, [0], own.phi, own.phi, parts.weight, CAT, others=others.phi)
    exact = make_fix(parts, [0], levels)
    # Covariance with alpha_0 is along v_0, exactly: components are uncorrelated.
    torch.testing.assert_close(fix.taken, exact.taken, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fix.offset, exact.offset, atol=1e-3, rtol=1e-3)


def test_wrong_use_is_refused(found):
    classifier, parts, levels, features, _ = found
    with pytest.raises(InputError, match="nothing to repair"):
        repair(classifier, [])
    with pytest.raises(InputError, match=r"components 0\.\.2, got 7"):
        make_fix(parts, [7], levels)
    with pytest.raises(InputError, match="needs the levels"):
        make_fix(parts, [0])
    with pytest.raises(InputError, match="two fixes for one class"):
        repair(classifier, [make_fix(parts, [0], levels), make_fix(parts, [1], levels)])
    with pytest.raises(InputError, match="the same ones"):
        matched_fix(parts, [0], features.phi[:9], features.phi[:8], parts.weight, CAT)


def test_features_say_what_the_logits_say_after_a_fix(found):
    _, parts, _, features, _ = found
    less = parts.alphas(features.phi)[:, 0].clamp_min(0)
    moved = features.logits.double().clone()
    moved[:, CAT] -= less
    assert torch.equal(features.without(CAT, less), moved.argmax(1))
    torch.testing.assert_close(features.chance(CAT, less), moved.softmax(1)[:, CAT], atol=1e-9, rtol=1e-6)


def test_chances_are_exact_where_the_class_is_all_but_sure():
    logits = torch.tensor([[90.0, 0.0, 0.0], [0.0, 90.0, -90.0], [1.0, 2.0, 3.0]])
    features = Features(torch.zeros(3, 1), logits, torch.zeros(3, dtype=torch.int64))
    odds = torch.log(features.chance(0, torch.tensor([80.0, 0.0, 0.0])))
    due = torch.tensor([10.0, 0.0, 1.0]).double() - torch.tensor(
        [[10.0, 0.0, 0.0], [0.0, 90.0, -90.0], [1.0, 2.0, 3.0]]
    ).double().logsumexp(1)
    torch.testing.assert_close(odds, due, atol=1e-9, rtol=1e-9)
