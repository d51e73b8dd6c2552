"""Guidance against hand-written geometry, autograd and linear models."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Linear, SmallNet
from torch import Tensor, nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import AccessError, InputError, NotDifferentiableError
from whywrong.core.randomness import row_keys
from whywrong.explain.counterfactuals.guidance import (
    ConeGuidance,
    DenoisedGuidance,
    EnsembleGuidance,
    SmoothGuidance,
    into_cone,
)
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.models.classifier import Classifier


def images(n: int = 6, seed: int = 0) -> Tensor:
    return torch.rand((n, 3, 8, 8), generator=torch.Generator().manual_seed(seed))


def degrees(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return torch.rad2deg(torch.acos((a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1)))


def plane_formula(g: Tensor, r: Tensor, angle: float) -> Tensor:
    """One image at a time, float64: rotate the unit vector of g toward r inside their plane."""
    rows = []
    for a, b in zip(g.double().flatten(1), r.double().flatten(1), strict=True):
        u, v = a / a.norm(), b / b.norm()
        between = math.acos(max(-1.0, min(1.0, float(u @ v))))
        if between <= math.radians(angle):
            rows.append(a)
            continue
        turn = math.radians(angle)
        # spherical interpolation: sin(between - turn) u + sin(turn) v, over sin(between)
        rows.append(a.norm() * (math.sin(between - turn) * u + math.sin(turn) * v) / math.sin(between))
    return torch.stack(rows).view(g.shape)


@given(seed=st.integers(0, 10_000), angle=st.floats(1, 90), mix=st.floats(-0.9, 3))
@settings(max_examples=60, deadline=None)
def test_the_cone_rotates_in_the_plane_of_the_two_gradients(seed, angle, mix):
    draw = torch.Generator().manual_seed(seed)
    g = torch.randn((4, 3, 5, 5), generator=draw)
    r = mix * g + torch.randn((4, 3, 5, 5), generator=draw)
    torch.testing.assert_close(into_cone(g, r, angle).double(), plane_formula(g, r, angle), atol=2e-5, rtol=1e-4)


def test_a_gradient_outside_the_cone_ends_on_its_surface_on_the_side_of_the_robust_one():
    draw = torch.Generator().manual_seed(3)
    g, r = torch.randn((8, 3, 16, 16), generator=draw), torch.randn((8, 3, 16, 16), generator=draw)
    turned = into_cone(g, r, 30.0)
    torch.testing.assert_close(degrees(g, turned), torch.full((8,), 30.0, dtype=torch.float64), atol=1e-3, rtol=0)
    torch.testing.assert_close(degrees(turned, r), degrees(g, r) - 30.0, atol=1e-3, rtol=0)
    torch.testing.assert_close(turned.flatten(1).norm(dim=1), g.flatten(1).norm(dim=1))


def test_a_robust_gradient_inside_the_cone_leaves_the_explained_one_as_it_is():
    g = torch.randn((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(g.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(into_cone(g, g + 0.3 * noise, 30.0), g)  # about 17 degrees


def test_where_the_gradients_span_no_plane_the_explained_one_stays():
    g = torch.randn((3, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    r = torch.stack([torch.zeros_like(g[0]), -2 * g[1], g[2]])
    assert torch.equal(into_cone(g, r, 45.0), g)
    assert torch.equal(into_cone(torch.zeros_like(g), g, 45.0), torch.zeros_like(g))


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e20])
def test_the_scale_of_a_gradient_does_not_move_the_direction(scale):
    draw = torch.Generator().manual_seed(0)
    g, r = torch.randn((2, 3, 8, 8), generator=draw), torch.randn((2, 3, 8, 8), generator=draw)
    turned = into_cone(g * scale, r * scale, 60.0)
    torch.testing.assert_close(turned / scale, into_cone(g, r, 60.0), atol=1e-4, rtol=1e-4)


def test_a_broken_gradient_stays_broken_so_that_the_search_can_freeze_it():
    g = torch.randn((2, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    r = g.flip(3).clone()
    g[0, 0, 0, 0] = torch.nan
    turned = into_cone(g, r, 30.0)
    assert not turned[0].isfinite().all()
    assert turned[1].isfinite().all()


def test_cone_guidance_reports_the_explained_classifier_and_counts_both():
    own, aux, x = Classifier(SmallNet(0)), Classifier(SmallNet(1)), images()
    target = torch.arange(6) % 5
    guidance = ConeGuidance(own, aux, 30.0, temperature=0.7)
    value, direction, logits = guidance.gradient(x, target)
    plain = SmallNet(0)
    pixels = x.clone().requires_grad_()
    expected = (plain(pixels) / 0.7).log_softmax(1)[torch.arange(6), target]
    (grad,) = torch.autograd.grad(expected.sum(), pixels)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(logits, plain(x).detach())
    torch.testing.assert_close(degrees(grad, direction), torch.full((6,), 30.0, dtype=torch.float64), atol=1e-2, rtol=0)
    assert (own.forwards, own.backwards) == tuple(6 * n for n in guidance.gradient_cost)
    assert (aux.forwards, aux.backwards) == tuple(6 * n for n in guidance.aux_cost)
    torch.testing.assert_close(guidance.value(x, target)[0], value)
    assert (own.forwards, aux.forwards) == (12, 6)


def test_the_gradient_of_the_ensemble_is_that_of_autograd():
    own, aux = Classifier(SmallNet(0)), Classifier(SmallNet(1))
    x, target = images(), torch.arange(6) % 5
    guidance = EnsembleGuidance(own, aux)
    value, grad, logits = guidance.gradient(x, target)
    pixels = x.clone().double().requires_grad_()
    nets = SmallNet(0).double(), SmallNet(1).double()
    probs = [net(pixels).softmax(1)[torch.arange(6), target] for net in nets]
    expected = (0.5 * probs[0] + 0.5 * probs[1]).log()
    (slope,) = torch.autograd.grad(expected.sum(), pixels)
    torch.testing.assert_close(value.double(), expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grad.double(), slope, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits.double(), nets[0](x.double()).detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(guidance.value(x, target)[0], value)
    assert (own.forwards, own.backwards, aux.forwards, aux.backwards) == (12, 6, 12, 6)


def test_the_ensemble_has_a_slope_where_both_probabilities_underflow():
    w = torch.zeros(2, 48)
    w[1, 0] = 1.0
    own, aux = Classifier(Linear(w, torch.tensor([500.0, 0.0]))), Classifier(Linear(2 * w, torch.tensor([400.0, 0.0])))
    value, grad, _ = EnsembleGuidance(own, aux).gradient(torch.full((1, 3, 4, 4), 0.5), torch.tensor([1]))
    assert float(value) == pytest.approx(-399.0 + math.log(0.5), rel=1e-6)
    assert float(grad.flatten(1)[0, 0]) == pytest.approx(2.0, rel=1e-5)  # the likelier of the two decides


def test_smoothing_of_a_linear_log_probability_is_the_value_without_noise():
    """Far from the target log p is linear; pairs of noise cancel, whatever was drawn, also beyond [0, 1]."""
    w = torch.randn((2, 48), generator=torch.Generator().manual_seed(0))
    own = Classifier(Linear(w, torch.tensor([60.0, 0.0])))
    x = torch.rand((3, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    target = torch.ones(3, dtype=torch.int64)
    guidance = SmoothGuidance(own, sigma=0.3, samples=4)
    value, grad, logits = guidance.gradient(x, target, row_keys(5, 3))
    torch.testing.assert_close(value, (x.flatten(1) @ (w[1] - w[0])) - 60.0, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(grad.flatten(1), (w[1] - w[0]).expand(3, -1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, x.flatten(1) @ w.T + torch.tensor([60.0, 0.0]))
    assert (own.forwards, own.backwards) == tuple(3 * n for n in guidance.gradient_cost) == (15, 12)


def test_smoothing_averages_over_fresh_noise():
    """On a curved objective its mean nears E f(z + sigma n), here by the closed form of |z + sigma n|^2."""

    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            far = x.flatten(1).square().sum(1)
            return torch.stack([0 * far + 1_000.0, -far], 1)

    own, x = Classifier(Bowl()), torch.full((2, 3, 8, 8), 0.5)
    guidance = SmoothGuidance(own, sigma=0.2, samples=64)
    target = torch.ones(2, dtype=torch.int64)
    first, second = (guidance.gradient(x, target)[0] for _ in range(2))
    expected = -(192 * 0.25 + 192 * 0.04) - 1_000
    torch.testing.assert_close(first, torch.full((2,), expected), atol=0.8, rtol=0)  # sd of the mean about 0.14
    assert not torch.equal(first, second)
    assert first[0] != first[1]
    again = SmoothGuidance(own, sigma=0.2, samples=64).gradient(x, target)[0]
    assert torch.equal(again, first)


def test_the_noise_of_an_image_does_not_depend_on_its_neighbours():
    own, x, target, keys = Classifier(SmallNet(0)), images(), torch.arange(6) % 5, row_keys(3, 6)
    whole = SmoothGuidance(own, samples=4).gradient(x, target, keys)
    part = SmoothGuidance(own, samples=4).gradient(x[2:4], target[2:4], keys[2:4])
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a[2:4], b)


class Halve(nn.Module):
    """A denoiser whose slope is known: every pixel halved, dropout in training."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.9)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x * self.scale)


def test_the_gradient_goes_through_the_denoiser():
    net, x, target, denoiser = SmallNet(0), images(), torch.arange(6) % 5, Halve().train()
    own = Classifier(net, batch_size=4)
    guidance = DenoisedGuidance(own, denoiser)
    value, grad, logits = guidance.gradient(x, target)
    pixels = x.clone().requires_grad_()
    expected = net(0.5 * pixels).log_softmax(1)[torch.arange(6), target]
    (slope,) = torch.autograd.grad(expected.sum(), pixels)
    torch.testing.assert_close(value, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grad, slope, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(logits, net(x).detach())
    torch.testing.assert_close(guidance.value(x, target)[0], value)
    assert (own.forwards, own.backwards) == (6 * 2 + 6 * 2, 6)
    assert denoiser.training
    assert denoiser.drop.training
    assert denoiser.scale.grad is None
    assert denoiser.scale.requires_grad


def test_a_denoiser_that_cannot_serve_is_refused():
    own, x, target = Classifier(SmallNet(0)), images(2), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(NotDifferentiableError, match="no gradient goes through the denoiser"):
        DenoisedGuidance(own, lambda z: z.detach().round()).gradient(x, target)
    with pytest.raises(InputError, match="must keep the shape"):
        DenoisedGuidance(own, lambda z: z[:, :1]).gradient(x, target)


def test_the_explained_classifier_is_no_auxiliary_of_its_own():
    net = SmallNet(0)
    own = Classifier(net)
    for aux in (own, Classifier(net), Classifier(SmallNet(0))):  # the object, its module, its weights
        with pytest.raises(InputError, match="explained classifier itself"):
            ConeGuidance(own, aux)
        with pytest.raises(InputError, match="explained classifier itself"):
            EnsembleGuidance(own, aux)


def test_an_auxiliary_of_other_classes_or_without_gradients_is_refused():
    own = Classifier(SmallNet(0), classes=ClassList(tuple("abcde")))
    with pytest.raises(InputError, match=r'class 1 of aux is "x", that of the explained classifier "b"'):
        ConeGuidance(own, Classifier(SmallNet(1), classes=ClassList(tuple("axcde"))))
    with pytest.raises(InputError, match="aux has 2 classes, the explained classifier 5"):
        ConeGuidance(own, Classifier(Linear(torch.zeros(2, 192), torch.zeros(2)), classes=ClassList(("a", "b"))))
    with pytest.raises(AccessError, match="guiding a counterfactual needs access to GRADIENTS"):
        ConeGuidance(own, Classifier(lambda x: x.mean((2, 3)), classes=ClassList(tuple("abcde"))))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda a, b: ConeGuidance(a, b, 0.0), r"angle must be in \(0, 90\] degrees"),
        (lambda a, b: ConeGuidance(a, b, float("nan")), r"angle must be in \(0, 90\] degrees"),
        (lambda a, b: SmoothGuidance(a, sigma=25.0), r"sigma must be in \(0, 1\]"),
        (lambda a, b: SmoothGuidance(a, samples=3), "samples must be even"),
    ],
)
def test_a_wrong_setting_is_refused(build, words):
    with pytest.raises(InputError, match=words):
        build(Classifier(SmallNet(0)), Classifier(SmallNet(1)))


@pytest.mark.parametrize("way", ["cone", "ensemble", "smoothing", "denoiser"])
def test_a_guided_search_counts_the_explained_classifier_and_reports_its_logits(way):
    own, aux, x = Classifier(SmallNet(0)), Classifier(SmallNet(1)), images(5)
    target = torch.arange(5)
    guidance = {
        "cone": lambda: ConeGuidance(own, aux, 45.0),
        "ensemble": lambda: EnsembleGuidance(own, aux),
        "smoothing": lambda: SmoothGuidance(own, samples=2),
        "denoiser": lambda: DenoisedGuidance(own, lambda z: 0.9 * z),
    }[way]()
    with own, aux:
        found = maximize(guidance, x, target, p=1.5, eps=2.0, steps=4, keys=row_keys(0, 5))
    assert own.forwards == int(found.forwards.sum())
    assert own.backwards == int(found.backwards.sum())
    torch.testing.assert_close(found.logits, own.logits(found.z), atol=1e-5, rtol=1e-5)
    start = torch.log_softmax(own.logits(x), 1)[torch.arange(5), target]
    end = torch.log_softmax(found.logits, 1)[torch.arange(5), target]
    assert float((end - start).mean()) > 0


def test_a_cone_around_a_linear_gradient_moves_both_models_to_the_target():
    """Margins are linear: the plain step brings the other model nothing, one at 60 degrees half its own length."""
    w = torch.zeros(2, 48)
    w[1, 0], v = 1.0, torch.zeros(2, 48)
    v[1, 1] = 1.0
    own, aux = Classifier(Linear(w, torch.zeros(2))), Classifier(Linear(v, torch.zeros(2)))
    x, target = torch.full((1, 3, 4, 4), 0.5), torch.tensor([1])
    with own, aux:
        z = maximize(ConeGuidance(own, aux, 60.0), x, target, p=2.0, eps=0.2, steps=1).z
    change = (z - x).flatten()
    torch.testing.assert_close(change[:2], 0.2 * torch.tensor([0.5, math.sqrt(3) / 2]), atol=1e-5, rtol=0)
    assert float(change[2:].abs().max()) == 0
