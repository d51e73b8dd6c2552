"""Three depths of access: all scores, the best classes, labels."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.queries.black_boxes import CLASSES, Asked, errors
from tests.attacks.queries.test_hard_access import soft, top
from torch import Tensor

from whywrong.attacks.black_box import BlackBoxConfig, BlackBoxResult, black_box
from whywrong.attacks.queries.inspection import inspect_answers
from whywrong.attacks.queries.square import SquareConfig, square
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.core.access import Access
from whywrong.models.classifier import Classifier

NAMES = list("abcde")


def depth(net, kind: str, k: int = 2) -> tuple[Classifier, Asked]:
    told = {"scores": soft, "top": top(k), "labels": lambda logits: logits.argmax(1)}[kind]
    asked = Asked(net, told)
    return Classifier(asked, output={"scores": "probabilities"}.get(kind, kind), classes=NAMES), asked


def last_class(net, x: Tensor) -> Tensor:
    """The class that comes last, which no list of the best holds."""
    with torch.no_grad():
        return net(x).argmin(1)


def run(classifier: Classifier, x: Tensor, y: Tensor, net=None, **settings) -> BlackBoxResult:
    surrogate = None if net is None else Surrogate.own(Classifier(net, classes=NAMES))
    config = BlackBoxConfig(**{"eps": 24 / 255, "queries": 60, "steps": 3, **settings})
    return black_box(classifier, x, y, surrogate=surrogate, config=config)


@pytest.mark.parametrize("kind", ["scores", "top", "labels"])
@pytest.mark.parametrize("own", [True, False])
def test_each_depth_fixes_errors_and_counts_what_was_asked(kind, own):
    net, x, y = errors(12)
    classifier, asked = depth(net, kind)
    result = run(classifier, x, y, net if own else None)
    assert set(result.access) == {kind}
    assert len(asked.images) == int(result.forwards.sum())
    assert result.fixed.float().mean() > 0.6
    with torch.no_grad():
        assert torch.equal(net(result.fix_u8[result.fixed] / 255).argmax(1), y[result.fixed])


def test_margins_of_the_best_classes_are_those_of_all_scores_and_unknown_for_others():
    net, x, y = errors(8)
    full, listed = run(depth(net, "scores")[0], x, y), run(depth(net, "top")[0], x, y)
    torch.testing.assert_close(listed.margin_before, full.margin_before)
    far = last_class(net, x)
    assert run(depth(net, "top")[0], x, far).margin_before.isnan().all()
    assert run(depth(net, "top", CLASSES)[0], x, far).margin_before.isfinite().all()


def test_with_the_best_classes_the_next_length_is_extrapolated_as_with_all_scores():
    net, x, y = errors(12)  # y is second, hence listed
    settings = {"tail": "none", "recrafts": 0, "lengths": 4, "first": 1.0}
    full = run(depth(net, "scores")[0], x, y, net, **settings)
    listed = run(depth(net, "top")[0], x, y, net, **settings)
    labels = run(depth(net, "labels")[0], x, y, net, **settings)
    assert (listed.queries == full.queries).sum() >= 11
    assert (labels.queries == full.queries).sum() <= 8


def test_a_class_that_is_not_listed_is_searched_as_with_labels():
    net, x, _ = errors(12)
    y = last_class(net, x)
    settings = {"tail": "none", "recrafts": 0, "lengths": 3, "first": 1.0, "eps": 2 / 255}
    listed, labels = (run(depth(net, kind, 1)[0], x, y, net, **settings) for kind in ("top", "labels"))
    assert torch.equal(listed.queries, labels.queries)
    assert int(listed.queries.max()) > 1


@pytest.mark.parametrize("kind", ["scores", "top", "labels"])
@pytest.mark.parametrize("budget", [0, 1])
@pytest.mark.parametrize("own", [True, False])
def test_a_budget_of_none_or_one_query_is_kept(kind, budget, own):
    net, x, y = errors(4)
    classifier, asked = depth(net, kind)
    result = run(classifier, x, y, net if own else None, queries=budget)
    assert int(result.queries.max()) <= budget
    assert len(asked.images) == int(result.forwards.sum())
    assert budget or (not asked.images and not result.fixed.any())


def test_a_model_with_all_scores_can_be_asked_for_its_best_classes_only():
    net, x, y = errors(6)
    config = SquareConfig(eps=24 / 255, queries=60)
    limited = square(Classifier(net, access=Access.TOP), x, y, config=config)
    full = square(Classifier(net), x, y, config=config)
    assert torch.equal(limited.queries, full.queries)  # five classes, so that all are listed
    assert torch.equal(limited.image, full.image)


def test_the_inspection_tells_the_best_classes_from_all_scores():
    net, x, _ = errors(4)
    traits = inspect_answers(depth(net, "top", 3)[0], x)
    assert (traits.access, traits.guide, traits.listed, traits.normalised) == (Access.TOP, Access.TOP, 3, None)
