"""The method: contrasts against what is known of small nets, refusals, and its arguments."""

from __future__ import annotations

import pytest
import torch
from tests.explain.patch_groups.nets import tiny_vit
from tests.explain.relevance.nets import Residual, images, seeded
from tests.explain.relevance.test_engine import Lossy
from torch import Tensor, nn

import whywrong as ww
from whywrong.core.errors import InputError, ModelError
from whywrong.explain.relevance import RelevanceConfig, relevance
from whywrong.explain.relevance.probe import is_transformer
from whywrong.models.classifier import Classifier


class Halves(nn.Module):
    """Class 0 sums the left half of what a shared trunk sees, class 1 the right half."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        nn.init.uniform_(self.trunk.weight)
        self.head = nn.Linear(4 * 8 * 8, 2, bias=False)
        left = (torch.arange(8) < 4).float().expand(4, 8, 8).flatten()
        self.head.weight.data = torch.stack([left, 1 - left])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.trunk(x)).flatten(1))


def test_a_class_that_sees_one_half_has_its_contrast_there():
    config = RelevanceConfig(contrast="clrp1", cells=0)
    found = relevance(Classifier(seeded(Halves)), images(3, 8), torch.ones(3, dtype=torch.int64), config=config)
    assert not found.true[:, :, :3].any()  # of class 1, the right half; the kernel reaches one column further
    assert not found.wrong[:, :, 5:].any()
    assert (found.true[:, :, 5:].sum((1, 2)) > 0.5).all()


def test_a_class_that_nothing_speaks_against_has_no_contrast_with_negated_weights():
    config = RelevanceConfig(contrast="clrp2")
    found = relevance(Classifier(seeded(Halves)), images(3, 8), torch.ones(3, dtype=torch.int64), config=config)
    assert found.status == ["refused"] * 3
    assert all(reason.startswith("blank map") for reason in found.reason)


def test_opposite_classes_have_the_same_contrast_of_either_kind():
    net = seeded(Residual)
    net.head = nn.Linear(8, 2, bias=False)
    net.head.weight.data[1] = -net.head.weight.data[0]
    x, y = images(4), torch.zeros(4, dtype=torch.int64)
    one, two = (relevance(Classifier(net), x, y, config=RelevanceConfig(contrast=c)) for c in ("clrp1", "clrp2"))
    for name in ("wrong", "true"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-4, atol=1e-7)
        assert (getattr(one, name) >= 0).all()


def test_the_unclipped_difference_of_shares_sums_to_zero():
    found = relevance(
        Classifier(seeded(Residual, True)),
        images(4),
        torch.arange(4) % 5,
        config=RelevanceConfig(rule="z_plus"),
    )
    good = torch.tensor([status == "ok" for status in found.status])  # in one, nothing speaks for a class
    assert int(good.sum()) == 3
    torch.testing.assert_close(found.difference[good].sum((1, 2)), torch.zeros(3), atol=1e-5, rtol=0)


def test_the_default_difference_sums_to_the_logits_less_what_constants_hold():
    net, x, y = seeded(Residual, True), images(4), torch.arange(4) % 5
    found = relevance(Classifier(net), x, y)
    z = net(x).detach()
    t = found.target
    z_t, z_y = z.gather(1, t[:, None])[:, 0], z.gather(1, y[:, None])[:, 0]
    due = z_t * (1 - found.bias - found.softmax) - z_y * (1 - found.bias_true)
    assert found.rule == "gamma"
    torch.testing.assert_close(found.difference.sum((1, 2)), due, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.evidence, found.difference.sum((1, 2)), rtol=1e-3, atol=1e-4)


def test_cells_hold_the_sums_of_their_pixels():
    classifier, x, y = Classifier(seeded(Residual)), images(2), torch.tensor([0, 1])
    whole, cells = (relevance(classifier, x, y, config=RelevanceConfig(cells=n)) for n in (0, 4))
    assert whole.difference.shape == (2, 12, 12)
    torch.testing.assert_close(cells.difference, whole.difference.unflatten(1, (4, 3)).unflatten(3, (4, 3)).sum((2, 4)))


def test_a_right_image_is_compared_with_its_runner_up():
    net, x = seeded(Residual, True), images(3)
    order = net(x).argsort(1, descending=True)
    found = relevance(Classifier(net), x, order[:, 0])
    assert found.target.tolist() == order[:, 1].tolist()
    assert set(found.status) == {"ok"}


def test_a_map_that_loses_relevance_is_refused_and_the_call_named():
    found = relevance(Classifier(seeded(Lossy)), images(2), torch.zeros(2, dtype=torch.int64))
    assert found.status == ["refused"] * 2
    assert found.difference.isnan().all()
    for reason in found.reason:
        assert reason.startswith("relevance is not conserved: ")
        assert "lost at logcumsumexp" in reason
    assert found.forwards.tolist() == [2, 2]
    assert found.backwards.tolist() == [4, 4]


def test_transformers_take_attnlrp_and_convolutions_gamma():
    found = relevance(Classifier(tiny_vit()), images(2, 32), torch.tensor([0, 1]))
    assert (found.rule, found.first, found.attention) == ("epsilon", "same", "attn")
    assert set(found.status) == {"ok"}
    assert not is_transformer(Classifier(seeded(Residual)), (3, 12, 12))


def test_random_weights_change_the_default_map():
    """Where the weights have no say, the maps of two nets of one shape would agree."""
    x, y = images(12, 24, seed=3), torch.zeros(12, dtype=torch.int64)
    one, two = (relevance(Classifier(seeded(Residual, True, seed=s)), x, y).difference.flatten(1) for s in (0, 1))
    ranks = [m.argsort(1).argsort(1).double() for m in (one, two)]
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*ranks, strict=True)]
    assert abs(float(torch.stack(correlations).mean())) < 0.3


def test_a_model_that_writes_into_its_input_unseen_is_refused():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x.neg_()
            return self.head(x.mean((2, 3)))

    with pytest.raises(ModelError, match="writes into its input"):
        relevance(Classifier(seeded(Hidden)), images(2), torch.tensor([0, 1]))


def test_probabilities_and_one_class_are_refused():
    net = nn.Sequential(seeded(Residual), nn.Softmax(1))
    with pytest.raises(ModelError, match="relevance starts at logits"):
        relevance(Classifier(net, output="probabilities"), images(2), torch.tensor([0, 1]))
    single = nn.Sequential(seeded(Residual), nn.Linear(5, 1))
    with pytest.raises(ModelError):
        relevance(Classifier(single), images(2), torch.tensor([0, 0]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "lrp"}, "relevance.rule must be"),
        ({"rule": "gamma", "contrast": "clrp2"}, "splits contributions by their sign"),
        ({"gamma": 0.0}, "relevance.gamma must be more than 0"),
        ({"cells": -1}, "relevance.cells must be"),
        ({"alpha": 0.5}, "relevance.alpha must be at least 1"),
        ({"tolerance": 0.0}, "relevance.tolerance must be"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        RelevanceConfig(**settings)


def test_it_is_public_and_registered():
    assert ww.relevance is relevance
    classifier = ww.load_classifier("planted:cnn")
    found = ww.relevance(classifier, torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
    assert found.difference.shape == (2, 56, 56)
    assert (found.forwards.tolist(), found.backwards.tolist()) == ([1, 1], [2, 2])
