"""Black boxes that tell little, tell it badly, or change."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.queries.black_boxes import CLASSES, Asked, errors
from torch import Tensor

from whywrong.attacks.queries.answers import read_margin
from whywrong.attacks.queries.hop_skip_jump import HopSkipJumpConfig, hop_skip_jump
from whywrong.attacks.queries.inspection import inspect_answers
from whywrong.attacks.queries.pattern_search import PatternSearchConfig, pattern_search
from whywrong.attacks.queries.square import SquareConfig, square
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, EnvironmentFailure, InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier
from whywrong.models.endpoints.ledger import BudgetUsedUp


def soft(logits: Tensor) -> Tensor:
    return logits.softmax(1)


def top(k: int):
    """Probabilities of the ``k`` best classes, 0 for the others."""

    def told(logits: Tensor) -> Tensor:
        best = logits.softmax(1).topk(k, 1)
        return torch.zeros_like(logits).scatter(1, best.indices, best.values)

    return told


def rounded(decimals: int):
    return lambda logits: logits.softmax(1).round(decimals=decimals)


def box(net, told, output="probabilities") -> tuple[Classifier, Asked]:
    asked = Asked(net, told)
    return Classifier(asked, output=output), asked


def test_a_class_that_is_not_listed_has_at_least_the_margin_of_the_last_one():
    logits = torch.tensor([[0.6, 0.3, 1e-30, 1e-30], [0.6, 0.3, 1e-30, 1e-30]]).log()
    label, margin = read_margin(logits, torch.tensor([1, 3]), probabilities=True)
    assert label.tolist() == [0, 0]
    assert margin.tolist() == pytest.approx([0.6931, 0.6931], abs=1e-4)


def test_a_tie_with_another_class_is_not_right():
    label, margin = read_margin(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0]), probabilities=False)
    assert (label.tolist(), margin.tolist()) == ([1], [0.0])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_best_classes_are_enough_for_square(k):
    net, x, y = errors(12)
    classifier, asked = box(net, top(k))
    result = square(classifier, x, y, config=SquareConfig(eps=24 / 255, queries=100))
    with torch.no_grad():
        assert torch.equal(net(result.image).argmax(1) == y, result.found)
    assert result.found.float().mean() > 0.6
    assert len(asked.images) == int(result.forwards.sum())


def test_rounded_scores_are_noticed_and_labels_take_over():
    net, x, y = errors(12)
    classifier, asked = box(net, rounded(0))
    result = square(classifier, x, y, config=SquareConfig(eps=24 / 255, queries=100))
    assert result.plateau.any()
    assert result.found[result.plateau].any()
    with torch.no_grad():
        assert (net(result.image).argmax(1) == y)[result.found].all()
    assert len(asked.images) == int(result.forwards.sum())


def test_full_scores_are_no_plateau():
    net, x, y = errors(12)
    result = square(Classifier(net), x, y, config=SquareConfig(eps=2 / 255, queries=60))
    assert not result.plateau.any()


def test_scores_that_are_not_normalised_give_the_same_search():
    net, x, y = errors(8)
    config = SquareConfig(eps=24 / 255, queries=100)
    plain = square(Classifier(net), x, y, config=config)
    scaled = square(Classifier(Asked(net, lambda logits: 4 * logits + 8)), x, y, config=config)  # exact in float32
    assert torch.equal(plain.queries, scaled.queries)
    assert torch.equal(plain.image, scaled.image)


def test_permuted_classes_with_permuted_labels_give_the_same_search():
    net, x, y = errors(8)
    order = torch.tensor([3, 0, 4, 1, 2])
    config = SquareConfig(eps=24 / 255, queries=100)
    plain = square(Classifier(net), x, y, config=config)
    other = square(Classifier(Asked(net, lambda z: z[:, order])), x, order.argsort()[y], config=config)
    assert torch.equal(plain.queries, other.queries)
    assert torch.equal(plain.image, other.image)


def test_labels_refuse_a_search_by_scores_and_allow_one_by_patterns():
    net, x, y = errors(12)
    labels = Classifier(lambda pixels: net(pixels).argmax(1), output="labels", classes=list("abcde"))
    with pytest.raises(AccessError, match="TOP"):
        square(labels, x, y)
    result = pattern_search(labels, x, y, config=PatternSearchConfig(eps=24 / 255, queries=100))
    assert result.found.float().mean() > 0.6
    assert result.margin.isnan().all()
    with torch.no_grad():
        assert torch.equal(net(result.image).argmax(1) == y, result.found)
    assert float(result.linf.max()) <= 24 / 255 + 1e-6


class Changing:
    """Another net from its n-th image on."""

    def __init__(self, first, second, after: int) -> None:
        self.first, self.second, self.after, self.seen = first, second, after, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        with torch.no_grad():
            return (self.first if self.seen <= self.after else self.second)(x)


@pytest.mark.parametrize("attack", [square, hop_skip_jump])
def test_a_model_that_changes_in_mid_run_is_a_failure_of_the_environment(attack):
    net, x, y = errors(4)
    changing = Changing(net, errors(1, seed=7)[0], after=40)
    kinds = {square: SquareConfig, hop_skip_jump: HopSkipJumpConfig}
    config = kinds[attack](eps=1 / 255, queries=200, ask_again=20)
    start = {"start": (x - 0.5).abs()} if attack is hop_skip_jump else {}
    with pytest.raises(EnvironmentFailure, match="changed in mid-run"):
        attack(Classifier(changing), x, y, config=config, **start)
    assert changing.seen < 4 * 60  # noticed within the next twenty queries of each image


class Noisy:
    """Logits with noise that is never the same."""

    def __init__(self, net, sigma: float) -> None:
        self.net, self.sigma, self.draw = net, sigma, torch.Generator().manual_seed(0)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.net(x)
        return logits + self.sigma * torch.randn(logits.shape, generator=self.draw)


def test_answers_that_are_not_repeatable_are_refused():
    net, x, y = errors(4)
    config = SquareConfig(eps=1 / 255, queries=60, ask_again=20)
    result = square(Classifier(Noisy(net, 0.05)), x, y, config=config)
    assert Status.REFUSED in result.status
    reasons = {why for why, status in zip(result.reason, result.status, strict=True) if status == Status.REFUSED}
    assert all("another answer" in why for why in reasons if why)
    assert int(result.queries.max()) <= 60


def test_confirmed_results_hold_where_single_answers_do_not():
    net, x, y = errors(24)

    def false_results(confirm: int) -> int:
        config = SquareConfig(eps=3 / 255, queries=40, confirm=confirm, ask_again=0)
        result = square(Classifier(Noisy(net, 2.0)), x, y, config=config)
        assert int(result.queries.max()) <= 40
        with torch.no_grad():
            return int((result.found & (net(result.image).argmax(1) != y)).sum())

    assert false_results(0) > 2 * false_results(4)


def test_an_image_on_which_the_model_raises_is_not_the_end_of_the_others():
    net, x, y = errors(6)

    def told(pixels: Tensor) -> Tensor:
        if bool((pixels[:, 0, 0, 0] < x[2, 0, 0, 0] + 0.5 / 255).any()) and len(pixels) == 1:
            raise ValueError("no")
        if bool((pixels == x[2]).flatten(1).all(1).any()):
            raise ValueError("no")
        return net(pixels)

    x[2, 0, 0, 0] = 0.0
    x[[0, 1, 3, 4, 5], 0, 0, 0] = 0.8
    result = square(Classifier(told), x, y, config=SquareConfig(eps=24 / 255, queries=60))
    assert result.status[2] == Status.REFUSED
    assert not result.found[2]
    assert result.found[[0, 1, 3, 4, 5]].any()


def test_an_endpoint_without_budget_counts_only_what_was_sent():
    net, x, y = errors(3)
    sent = []

    def told(pixels: Tensor) -> Tensor:
        if len(sent) + len(pixels) > 20:
            raise BudgetUsedUp("the budget of 20 queries is used up")
        sent.extend(pixels)
        return net(pixels)

    result = square(Classifier(told), x, y, config=SquareConfig(eps=1 / 255, queries=100))
    assert len(sent) == int(result.forwards.sum()) <= 20
    assert int(result.queries.sum()) == len(sent) - 3
    assert not result.found.any()
    assert any("budget of 20 queries" in (why or "") for why in result.reason)


def test_the_inspection_tells_scores_from_less():
    net, x, _ = errors(4)
    full = inspect_answers(box(net, soft)[0], x)
    assert (full.guide, full.listed, full.decimals, full.normalised) == (Access.SCORES, CLASSES, None, True)
    assert (full.repeatable, full.queries) == (True, 8)
    coarse = inspect_answers(box(net, rounded(2))[0], x)
    assert (coarse.guide, coarse.decimals) == (Access.LABELS, 2)
    assert inspect_answers(box(net, rounded(4))[0], x).guide == Access.SCORES
    assert inspect_answers(box(net, top(2))[0], x).listed == 2
    assert inspect_answers(box(net, lambda z: z.sigmoid())[0], x).normalised is False
    noisy = inspect_answers(Classifier(Noisy(net, 0.1)), x)
    assert (noisy.repeatable, noisy.guide) == (False, Access.LABELS)
    assert inspect_answers(Classifier(lambda p: net(p).argmax(1), output="labels"), x).access == Access.LABELS
    with pytest.raises(InputError, match="at least 2 repeats"):
        inspect_answers(Classifier(net), x, repeats=1)
