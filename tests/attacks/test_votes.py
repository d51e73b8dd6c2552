"""The vote attack against its definition, its limits and its controls."""

from __future__ import annotations

import pytest
import torch

from whywrong.attacks.balls import Ball
from whywrong.attacks.votes import VIEWS, VoteAttackConfig, vote_attack, vote_view
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.models.architectures.build import build_network, plan_network
from whywrong.models.architectures.routing import log_share, squashed_length
from whywrong.models.classifier import Classifier

SHAPE = (3, 16, 16)


def capsules(family="capsnet", **settings):
    net = build_network(plan_network(family, SHAPE, 4, width=4, **settings), seed=0).eval()
    spec = InputSpec(height=16, width=16)
    return Classifier(net, classes=list("abcd"), preprocess=spec, batch_size=8)


def images(n=6):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))


def labels(classifier, x):
    return classifier.predict(x)


def test_the_view_of_the_votes_is_their_squashed_mean():
    classifier, x = capsules(), images()
    votes = classifier.module.answer(x, details=True).votes
    expected = log_share(squashed_length(votes.mean(1)))
    assert torch.allclose(vote_view(classifier).logits(x), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["capsnet", "convnet"])
def test_the_routed_view_is_the_network_and_scaling_alone_keeps_the_ranking(family):
    classifier = capsules(family, **({"routing": True, "transform": True} if family == "convnet" else {}))
    x = images(20)
    plain = classifier.logits(x)
    assert torch.allclose(vote_view(classifier, "routed").logits(x), plain, atol=1e-6)
    scaled = vote_view(classifier, "scaled").logits(x)
    assert torch.equal(scaled.argmax(1), plain.argmax(1))
    assert not torch.allclose(scaled, plain, atol=1e-6)
    views = {view: vote_view(classifier, view).logits(x) for view in ("votes", "uniform")}
    assert torch.equal(views["votes"].argmax(1), views["uniform"].argmax(1))


def test_without_routing_only_the_scale_differs_between_the_views():
    classifier, x = capsules(iterations=1), images()
    found = {view: vote_view(classifier, view).logits(x) for view in VIEWS}
    assert torch.allclose(found["uniform"], found["routed"], atol=1e-5)
    assert torch.allclose(found["votes"], found["scaled"], atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("view", sorted(VIEWS))
def test_changes_stay_in_ball_and_box_and_are_judged_by_the_network_itself(view, norm):
    classifier, x = capsules(), images()
    y = labels(classifier, x)
    eps = 0.1 if norm == "linf" else 0.5
    result = vote_attack(classifier, x, y, config=VoteAttackConfig(view=view, norm=norm, eps=eps, steps=4))
    assert float(result.linf.max() if norm == "linf" else result.l2.max()) <= eps + 1e-6
    assert bool(((result.x_adv >= 0) & (result.x_adv <= 1)).all())
    assert torch.allclose(result.logits, classifier.logits(result.x_adv), atol=1e-6)
    assert torch.equal(result.success, classifier.predict(result.x_adv) != y)
    assert (result.forwards.tolist(), result.backwards.tolist()) == ([6] * 6, [4] * 6)


def test_one_step_from_the_image_follows_the_sign_of_the_gradient_of_the_view():
    classifier, x = capsules(), images(3)
    y = labels(classifier, x)
    config = VoteAttackConfig(eps=0.05, steps=1, step_size=0.05, random_start=False)
    result = vote_attack(classifier, x, y, config=config)
    _, _, grad = vote_view(classifier).gradient(x, lambda z, part: -z.log_softmax(1).gather(1, y[part, None])[:, 0])
    expected = Ball(x, 0.05, "linf").clip(x + 0.05 * grad.sign())
    assert torch.allclose(result.x_adv, expected, atol=1e-6)


def test_the_loss_of_the_view_rises():
    classifier, x = capsules(), images()
    y, view = labels(classifier, x), vote_view(classifier)
    changed = vote_attack(classifier, x, y, config=VoteAttackConfig(eps=0.2, steps=8)).x_adv
    before, after = (view.logits(some).log_softmax(1).gather(1, y[:, None])[:, 0] for some in (x, changed))
    assert bool((after < before).all())


def test_images_that_are_wrong_already_are_left_alone_and_rows_do_not_depend_on_each_other():
    classifier, x = capsules(), images()
    y = labels(classifier, x)
    y[2] = (y[2] + 1) % 4
    keys, config = torch.arange(6), VoteAttackConfig(eps=0.1, steps=3)
    together = vote_attack(classifier, x, y, keys=keys, config=config)
    assert together.status[2] == "already_correct"
    assert torch.equal(together.x_adv[2], x[2])
    alone = vote_attack(classifier, x[4:5], y[4:5], keys=keys[4:5], config=config)
    assert torch.allclose(alone.x_adv, together.x_adv[4:5], atol=1e-6)


def test_models_without_votes_and_closed_models_are_refused():
    x, y = images(2), torch.tensor([0, 1])
    plain = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)), classes=list("abcd"))
    with pytest.raises(InputError, match="makes no votes for each class"):
        vote_attack(plain, x, y)
    with pytest.raises(InputError, match="gracapsnet makes no votes"):
        vote_attack(capsules("gracapsnet"), x, y)
    closed = Classifier(capsules().module, classes=list("abcd"), access=Access.SCORES)
    with pytest.raises(AccessError, match="INTERNALS"):
        vote_attack(closed, x, y)


@pytest.mark.parametrize("wrong", [{"view": "all"}, {"steps": 0}, {"eps": 0.0}, {"step_size": 9.0}, {"loss": "l1"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        VoteAttackConfig(**wrong)
