"""Relevance against answers worked out by hand, by gradients and by plain loops.

No other library of relevance propagation is at hand, so the second writings here and in ``nets`` stand in for one.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from tests.contract.nets import snapshot
from tests.explain.relevance.nets import Residual, images, seeded, shares
from torch import Tensor, nn
from torch.nn import functional

from whywrong.core.errors import ModelError, ModelRaisedError
from whywrong.explain.relevance.engine import Propagation, Relevance
from whywrong.explain.relevance.rules import Rules
from whywrong.models.classifier import Classifier

RULES, FIRSTS = ("epsilon", "gamma", "z_plus", "alpha_beta"), ("same", "z_box", "flat", "w_square")
EVERY = [Rules(name=name, first=first) for name in RULES for first in FIRSTS]
NAMES = [f"{rules.name}-{rules.first}" for rules in EVERY]
EXACT = Rules(epsilon=0.0)


def relevance(
    net: nn.Module, x: Tensor, rules: Rules, start: Tensor | int = 0, *, sign: int = 0, audit: bool = False
) -> Relevance:
    classifier = Classifier(net)
    with classifier, torch.no_grad():
        made = Propagation(classifier, x, rules, audit=audit)
        if isinstance(start, int):
            start = functional.one_hot(torch.full((len(x),), start), made.logits.shape[1]).float()
        return made.relevance(start, sign=sign)


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight, dtype=torch.float32)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def plain_cnn() -> nn.Module:
    head = nn.Linear(36, 3, bias=False)
    first, second = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(6, 4, 3, bias=False)
    return nn.Sequential(first, nn.ReLU(True), nn.MaxPool2d(2), second, nn.ReLU(), nn.Flatten(), head)


def normalised_cnn() -> nn.Module:
    head = nn.Linear(600, 3)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), head)


def pooling_cnn() -> nn.Module:
    pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), pool, nn.Flatten(), nn.Linear(100, 2, bias=False))


def hooks_of(net: nn.Module) -> list[tuple[int, int, bool]]:
    return [(len(part._forward_hooks), len(part._forward_pre_hooks), part.training) for part in net.modules()]


def test_a_linear_model_gives_each_pixel_its_term():
    net = nn.Sequential(nn.Flatten(), nn.Linear(27, 4, bias=False))
    x = images(3, 3)
    found = relevance(net, x, EXACT, 2)
    torch.testing.assert_close(found.pixels, x * net[1].weight[2].view(1, 3, 3, 3))
    torch.testing.assert_close(found.start, net(x)[:, 2].double())


def test_two_layers_by_hand():
    # Pixels 0.5 and 1; hidden units 0.5 * 2 + 1 * 1 = 2 and 0.5 * -2 + 1 * 3 = 2; logit 3 * 2 - 1 * 2 = 4.
    net = nn.Sequential(nn.Flatten(), linear([[2, 1], [-2, 3]]), nn.ReLU(), linear([[3, -1], [0, 1]]))
    x = torch.tensor([0.5, 1.0]).view(1, 1, 1, 2)
    # Relevance of the hidden units 6 and -2: 6 * (1/2, 1/2) - 2 * (-1/2, 3/2).
    assert relevance(net, x, EXACT).pixels.flatten().tolist() == pytest.approx([4.0, 0.0])
    # z+: the logit 1 has one positive term, all relevance goes to unit 0 and from there as 1 : 1.
    assert relevance(net, x, Rules(name="z_plus"), sign=1).pixels.flatten().tolist() == pytest.approx([0.5, 0.5])
    # zB in front: a w - 0 w+ - 1 w- = (1, 1) for unit 0.
    found = relevance(net, x, Rules(name="z_plus", first="z_box"), sign=1)
    assert found.pixels.flatten().tolist() == pytest.approx([0.5, 0.5])
    # The contributions that lower logit 0 all come from unit 1: only its positive input counts.
    assert relevance(net, x, Rules(name="z_plus"), sign=-1).pixels.flatten().tolist() == pytest.approx([0.0, 1.0])


def test_epsilon_equals_gradient_times_input_without_biases():
    net, x = seeded(plain_cnn), images(4)
    leaf = x.clone().requires_grad_()
    grad = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(relevance(net, x, EXACT, 1).pixels, grad * x, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("rules", EVERY, ids=NAMES)
def test_rules_equal_plain_loops_over_two_layers(rules):
    generator = torch.Generator().manual_seed(1)
    inner, outer = (torch.randn(shape, generator=generator) for shape in ((6, 4), (3, 6)))
    bias = torch.randn(6, generator=generator) * 0.1
    net = nn.Sequential(nn.Flatten(), linear(inner.tolist(), bias.tolist()), nn.ReLU(), linear(outer.tolist()))
    x = torch.rand(1, 1, 2, 2, generator=generator)
    a = x.flatten().double().numpy()
    w, v, b = inner.double().numpy(), outer.double().numpy(), bias.double().numpy()
    hidden = np.maximum(w @ a + b, 0)
    unit = rules.name in ("z_plus", "alpha_beta")
    start = np.array([0.0, 1.0 if unit else (v @ hidden)[1], 0.0])
    middle = shares(hidden, v[1:2], start[1:2], "z_plus" if unit else rules.name)
    first = rules.name if rules.first == "same" else rules.first
    with_bias = b if first in ("epsilon", "gamma") else None
    alive = hidden > 0
    due = shares(a, w[alive], middle[alive], first, None if with_bias is None else b[alive])
    found = relevance(net, x, rules, 1, sign=int(unit))
    np.testing.assert_allclose(found.pixels.flatten().numpy(), due, rtol=2e-3, atol=1e-4)
    assert float(found.residual.abs()) < 1e-5 * max(1.0, abs(start[1]))


@pytest.mark.parametrize("rules", EVERY, ids=NAMES)
def test_nothing_is_lost_in_a_cnn_without_biases(rules):
    found = relevance(seeded(Residual), images(4), rules, 1, sign=int(rules.name in ("z_plus", "alpha_beta")))
    torch.testing.assert_close(found.total + found.bias, found.start, rtol=0.01, atol=1e-5)
    if rules.name in ("epsilon", "gamma") and rules.first == "same":
        assert float(found.bias.abs().max()) == 0


@pytest.mark.parametrize("rules", EVERY, ids=NAMES)
def test_what_biases_absorb_is_reported_apart(rules):
    sign = int(rules.name in ("z_plus", "alpha_beta"))
    found = relevance(seeded(Residual, True), images(4), rules, 1, sign=sign)
    assert float(found.residual.abs().max()) < 1e-3 * float(found.start.abs().max())
    if not sign:
        assert float(found.bias.abs().min()) > 0


@pytest.mark.parametrize("rules", EVERY, ids=NAMES)
def test_a_batch_normalisation_is_folded_into_its_layer(rules):
    net = seeded(normalised_cnn)
    nn.init.uniform_(net[1].weight, -1.0, 1.0)
    nn.init.uniform_(net[1].running_mean, -1.0, 1.0)
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(net[0].eval(), net[1].eval())
    x = images(2)
    one, two = (relevance(n, x, rules).pixels for n in (net, nn.Sequential(folded, *net[2:])))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_equal_largest_values_share_a_maximum():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 2, bias=False))
    net[0].weight.data.fill_(1.0)
    net[3].weight.data.fill_(1.0)
    x = torch.tensor([0.5, 0.5, 0.2, 0.5]).view(1, 1, 2, 2)
    assert relevance(net, x, EXACT).pixels.flatten().tolist() == pytest.approx([0.5 / 3, 0.5 / 3, 0, 0.5 / 3])


def test_overlapping_and_padded_maxima_equal_the_gradient_where_nothing_is_equal():
    net, x = seeded(pooling_cnn), images(2, 11)
    leaf = x.clone().requires_grad_()
    grad = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)[0]
    torch.testing.assert_close(relevance(net, x, EXACT).pixels, grad * x, atol=1e-6, rtol=1e-4)


def test_a_layer_that_is_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, 1, 1, bias=False), nn.Linear(3, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.conv(torch.relu(self.conv(x)))).mean((2, 3)))

    net, x = seeded(Twice), images(2)
    leaf = x.clone().requires_grad_()
    grad = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)[0]
    torch.testing.assert_close(relevance(net, x, EXACT).pixels, grad * x, atol=1e-6, rtol=1e-4)


def test_a_normalised_input_gives_grey_pixels_no_relevance_and_black_ones_some():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(((x - 0.5) / 0.25).flatten(1))

    net = seeded(Shifted)
    x = torch.tensor([0.5, 0.0, 1.0, 0.75]).view(1, 1, 2, 2)
    due = (x.flatten() - 0.5) / 0.25 * net.head.weight[0]
    torch.testing.assert_close(relevance(net, x, EXACT).pixels.flatten(), due)


def test_a_black_image_has_no_relevance_without_biases():
    found = relevance(seeded(Residual), torch.zeros(2, 3, 12, 12), Rules(name="z_plus"), sign=1)
    assert not found.pixels.any()
    torch.testing.assert_close(found.bias, found.start)  # there is nothing to share it between


def test_relevance_follows_a_permutation_of_the_classes():
    net, x = seeded(Residual, True), images(2)
    before = relevance(net, x, Rules(name="z_plus"), 3, sign=1).pixels
    net.head.weight.data, net.head.bias.data = net.head.weight.data.roll(1, 0), net.head.bias.data.roll(1, 0)
    torch.testing.assert_close(relevance(net, x, Rules(name="z_plus"), 4, sign=1).pixels, before)


def test_an_image_does_not_depend_on_its_neighbours():
    net, x = seeded(Residual, True), images(5)
    whole = relevance(net, x, Rules(name="gamma"), 1)
    alone = relevance(net, x[3:4], Rules(name="gamma"), 1)
    torch.testing.assert_close(whole.pixels[3:4], alone.pixels, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(whole.bias[3:4], alone.bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rules", EVERY, ids=NAMES)
def test_a_class_does_not_depend_on_the_classes_before_it(rules):
    sign = int(rules.name in ("z_plus", "alpha_beta"))
    classifier, x = Classifier(seeded(Residual, True)), images(3)
    starts = [functional.one_hot(torch.full((3,), c), 5).float() for c in (2, 1)]
    with classifier, torch.no_grad():
        made = Propagation(classifier, x, rules)
        second = [made.relevance(start, sign=sign) for start in starts][1]
    alone = relevance(classifier.model, x, rules, 1, sign=sign)
    torch.testing.assert_close(second.pixels, alone.pixels)
    torch.testing.assert_close(second.bias, alone.bias)


@pytest.mark.parametrize("name", ["z_plus", "alpha_beta"])
def test_outputs_that_no_contribution_can_take_are_booked_also_without_a_bias(name):
    """A sum that no ReLU follows may be negative and have no positive contribution at all."""
    net = nn.Sequential(nn.Flatten(), linear([[2.0, 1.0], [-2.0, -3.0]]), linear([[1.0, -2.0], [0.0, 1.0]]))
    x = torch.tensor([0.5, 1.0]).view(1, 1, 1, 2)
    found = relevance(net, x, Rules(name=name), sign=1)
    assert float(found.bias) > 0.1
    assert float(found.residual.abs()) < 1e-6


def test_alpha_beta_keeps_its_balance_where_hardly_anything_is_negative():
    """The sum of the negative contributions would be lost in the rounding of the difference of two large sums."""
    net = nn.Sequential(nn.Flatten(), linear([[3e3, -2e-4]]), nn.ReLU(), linear([[1.0], [-1.0]]))
    x = torch.tensor([1.0, 1.0]).view(1, 1, 1, 2)
    found = relevance(net, x, Rules(name="alpha_beta"), sign=1)
    assert found.pixels.flatten().tolist() == pytest.approx([2.0, -1.0])


class Lossy(nn.Module):
    """Has a step that is neither linear nor known."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.logcumsumexp(self.conv(x), 1).mean((2, 3)))


def test_an_audit_names_the_call_that_loses_relevance():
    found = relevance(seeded(Lossy), images(2), Rules(), audit=True)
    assert float(found.residual.abs().min()) > 1e-3
    worst = max(found.lost, key=lambda call: float(found.lost[call].abs().max()))
    assert re.fullmatch("logcumsumexp, call [0-9]+, after conv", worst)
    torch.testing.assert_close(sum(found.lost.values()), found.residual, rtol=1e-3, atol=1e-6)


def test_an_audit_finds_nothing_where_nothing_is_lost():
    found = relevance(seeded(Residual, True), images(2), Rules(name="gamma"), audit=True)
    named = [call for call, lost in found.lost.items() if float(lost.abs().max()) > 1e-4]
    assert [call for call in named if "batch_norm" not in call and call != "stem"] == []


@pytest.mark.parametrize("rules", [Rules(), Rules(name="z_plus")])
def test_the_model_is_left_as_it_was(rules):
    net = seeded(Residual, True).train()
    before, hooks = snapshot(net), hooks_of(net)
    relevance(net, images(2), rules)
    assert snapshot(net) == before
    assert hooks_of(net) == hooks
    assert torch.overrides._get_current_function_mode_stack() == []


def test_no_mode_is_left_behind_by_a_model_that_raises():
    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken")

    with pytest.raises(ModelRaisedError, match="broken"):
        relevance(Raising(), images(2), Rules())
    assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.backends.cuda.flash_sdp_enabled()


def test_an_output_read_beside_its_normalisation_is_refused_by_name():
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            out = self.conv(x)
            return (self.norm(out) + out).mean((2, 3))

    with pytest.raises(ModelError, match="output of conv is read besides its batch normalisation"):
        relevance(seeded(Beside), images(2), Rules())
