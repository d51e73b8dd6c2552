"""Class activation maps against closed forms, and against pytorch-grad-cam and captum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.contract.nets import build, images
from torch import Tensor, nn

from whywrong.core.config import make_config
from whywrong.core.errors import InputError, ModelError
from whywrong.explain.cam import CamConfig, cam
from whywrong.models.classifier import Classifier


def wrong_labels(net: nn.Module, x: Tensor) -> Tensor:
    """The runner-up of every image."""
    with torch.no_grad():
        return net(x).argsort(1, descending=True)[:, 1]


class Headed(nn.Module):
    """A convolution, then whatever head is given."""

    def __init__(self, head: nn.Module, channels: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, 4, 1)  # 16 -> 4
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)))


class Pooled(nn.Module):
    def __init__(self, norm: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.norm, self.linear = norm, linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x.mean((2, 3))))


class MeanOfTokens(nn.Module):
    """A class token counts in the mean; batch normalisation of running statistics after it; no module holds the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 6))
        self.mix = nn.Linear(6, 6)
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 4)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 1.5)

    def tokens(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)
        return tokens + torch.tanh(self.mix(tokens))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.tokens(x).mean(1)))


@pytest.fixture
def x() -> Tensor:
    return images(5, seed=3)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_mean_and_linear_head_give_the_map_of_the_formula(x):
    net = build("gap")
    y = wrong_labels(net, x)
    with torch.no_grad():
        a = torch.relu(net.bn2(net.conv2(torch.relu(net.bn1(net.conv1(x))))))  # (B, C, 4, 4)
        logits = net(x)
    w, t = net.head.weight.detach(), logits.argmax(1)
    result = cam(Classifier(net), x, y)
    assert (result.kind, result.exact, result.layer) == ("cam", True, "relu")
    for i in range(len(x)):
        for name, weights in (("wrong", w[t[i]]), ("true", w[y[i]]), ("difference", w[t[i]] - w[y[i]])):
            expected = sum(weights[k] * a[i, k] for k in range(12)) / 16
            torch.testing.assert_close(getattr(result, name)[i], expected, rtol=1e-4, atol=1e-5)
    b = net.head.bias.detach()
    torch.testing.assert_close(result.wrong.sum((1, 2)) + b[t], logits.gather(1, t[:, None])[:, 0])
    torch.testing.assert_close(result.remainder, b[t] - b[y])
    torch.testing.assert_close(
        result.evidence + result.remainder, (logits.gather(1, t[:, None]) - logits.gather(1, y[:, None]))[:, 0]
    )
    assert float(result.residual.max()) < 1e-5
    assert result.forwards.tolist() == [1] * 5
    assert result.backwards.tolist() == [0] * 5


def test_layer_normalisation_keeps_the_statistics_of_the_image(x):
    norm, linear = nn.LayerNorm(6), nn.Linear(6, 4)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    net = Headed(Pooled(norm, linear)).eval()
    y = wrong_labels(net, x)
    result = cam(Classifier(net), x, y)
    assert (result.kind, result.exact, result.layer) == ("cam", True, "relu[0]")
    with torch.no_grad():
        a, logits = torch.relu(net.conv(x)).double().numpy(), net(x)
    w, gamma, beta = (p.detach().double().numpy() for p in (linear.weight, norm.weight, norm.bias))
    for i in range(len(x)):
        c = int(logits[i].argmax())
        m = a[i].mean((1, 2))
        sigma = math.sqrt(((m - m.mean()) ** 2).mean() + norm.eps)
        expected = np.zeros((4, 4))
        for u in range(4):
            for v in range(4):
                place = a[i, :, u, v]
                expected[u, v] = (w[c] * (place - place.mean()) * gamma / sigma).sum() / 16
        np.testing.assert_allclose(result.wrong[i], expected, rtol=1e-3, atol=1e-5)
        total = expected.sum() + w[c] @ beta + float(linear.bias.detach()[c])
        assert total == pytest.approx(float(logits[i, c]), abs=1e-4)
    assert float(result.residual.max()) < 1e-5


def test_one_linear_layer_on_all_places_is_complete_up_to_its_bias(x):
    linear = nn.Linear(96, 4)
    net = Headed(nn.Sequential(nn.Flatten(), linear)).eval()
    y = wrong_labels(net, x)
    result = cam(Classifier(net), x, y)
    assert (result.kind, result.exact) == ("hirescam", True)
    with torch.no_grad():
        a, logits = torch.relu(net.conv(x)), net(x)
    t = logits.argmax(1)
    expected = (linear.weight.detach().view(4, 6, 4, 4)[t] * a).sum(1)
    torch.testing.assert_close(result.wrong, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.true.sum((1, 2)) + linear.bias.detach()[y], logits.gather(1, y[:, None])[:, 0])
    assert result.backwards.tolist() == [2] * 5


def test_prefix_tokens_are_told_apart_and_never_smeared_over_the_patches(x):
    net = MeanOfTokens().eval()
    y = wrong_labels(net, x)
    result = cam(Classifier(net), x, y)
    assert (result.kind, result.exact, result.difference.shape[1:]) == ("cam", True, (4, 4))
    with torch.no_grad():
        tokens, t = net.tokens(x), net(x).argmax(1)
        slope = net.head.weight * net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()  # (K, C)
        per_token = torch.einsum("bc,bnc->bn", slope[t] - slope[y], tokens) / 17
    torch.testing.assert_close(result.difference.flatten(1), per_token[:, 1:], rtol=1e-3, atol=1e-5)


def test_a_dense_layer_with_relu_is_approximate_and_says_so(x):
    net = build("flat")
    result = cam(Classifier(net), x, wrong_labels(net, x))
    assert (result.kind, result.exact) == ("hirescam", False)
    assert set(result.status) == {"ok"}
    # gradient times activation at the last pooled map, by hand
    with torch.enable_grad():
        a = nn.functional.max_pool2d(torch.relu(net.conv1(x)), 2)
        a = nn.functional.max_pool2d(torch.relu(net.conv2(a)), 2).detach().requires_grad_()
        logits = net.dense2(torch.relu(net.dense1(a.flatten(1))))
        grad = torch.autograd.grad(logits.max(1).values.sum(), a)[0]
    torch.testing.assert_close(result.wrong, (grad * a).sum(1).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (1, 3), (3, 2)])
def test_evidence_in_one_place_is_shown_at_that_place(place):
    conv = nn.Conv2d(3, 6, 4, 4, bias=False)  # a place sees its own 4 x 4 pixels only, and black gives nothing
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    x = torch.zeros(1, 3, 16, 16)
    row, col = place
    x[0, :, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4] = torch.rand(3, 4, 4)
    result = cam(Classifier(net), x, wrong_labels(net, x))
    assert result.exact
    assert (result.difference[0] != 0).nonzero().tolist() == [[row, col]]


def test_both_kinds_agree_on_a_linear_head(x):
    net = build("gap")
    y = wrong_labels(net, x)
    one, two = cam(Classifier(net), x, y), cam(Classifier(net), x, y, config=CamConfig(kind="hirescam"))
    assert (one.kind, two.kind, two.exact) == ("cam", "hirescam", True)
    torch.testing.assert_close(one.difference, two.difference, rtol=1e-4, atol=1e-5)


def test_the_wrong_class_is_the_predicted_one_and_the_runner_up_of_a_right_image(x):
    net = build("gap")
    with torch.no_grad():
        order = net(x).argsort(1, descending=True)
    y = order[:, 2].clone()
    y[0] = order[0, 0]
    expected = order[:, 0].clone()
    expected[0] = order[0, 1]
    assert torch.equal(cam(Classifier(net), x, y).target, expected)


# Oracles.


def test_equals_the_raw_map_of_pytorch_grad_cam(x):
    grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    for name, layer in (("gap", "bn2"), ("flat", "conv2")):
        net = build(name)
        y = wrong_labels(net, x)
        target_layer = net.get_submodule(layer)
        if name == "gap":
            net.relu = nn.ReLU(inplace=False)  # its hook cannot stand in-place operations
        ours = cam(Classifier(net), x, y, config=CamConfig(kind="hirescam", layer=layer))
        targets = [ClassifierOutputTarget(int(label)) for label in y]
        with grad_cam.HiResCAM(model=net, target_layers=[target_layer]) as oracle:
            oracle(input_tensor=x, targets=targets)
            seen = oracle.activations_and_grads
            raw = oracle.get_cam_image(
                x, target_layer, targets, seen.activations[0].numpy(), seen.gradients[0].numpy(), False
            )
        np.testing.assert_allclose(ours.true.numpy(), raw, rtol=1e-4, atol=1e-5)


def test_grad_cam_of_a_mean_and_linear_head_is_the_same_map(x):
    grad_cam = pytest.importorskip("captum.attr")
    net = build("gap")
    net.relu = nn.Identity()  # so that the layer found is a module that captum can hook
    y = wrong_labels(net, x)
    ours = cam(Classifier(net), x, y)
    theirs = grad_cam.LayerGradCam(net, net.bn2).attribute(x, target=y)[:, 0]  # no ReLU by default
    torch.testing.assert_close(ours.true, theirs.detach(), rtol=1e-4, atol=1e-5)


# What is refused.


def test_a_map_that_misses_its_logits_is_refused(x):
    linear = nn.Linear(96, 4)
    net = Headed(nn.Sequential(nn.Flatten(), linear)).eval()
    classifier = Classifier(net)
    y = wrong_labels(net, x)
    assert set(cam(classifier, x, y).status) == {"ok"}
    with torch.no_grad():  # behind our back: the constant of the head no longer holds
        linear.bias[:] += torch.tensor([1.0, -1.0, 2.0, -2.0])
    result = cam(classifier, x, y)
    assert set(result.status) == {"refused"}
    assert all("incomplete" in reason for reason in result.reason)
    assert result.difference.isnan().all()
    assert result.evidence.isnan().all()
    assert float(result.residual.min()) > 1e-3


def test_a_blank_map_is_refused(x):
    net = build("gap")
    with torch.no_grad():
        net.bn2.weight.zero_()
        net.bn2.bias.fill_(-1.0)  # every unit is off, for every image
    for kind in ("auto", "hirescam"):
        result = cam(Classifier(net), x, torch.zeros(5, dtype=torch.int64), config=CamConfig(kind=kind))
        assert set(result.status) == {"refused"}
        assert all(reason.startswith("blank map") for reason in result.reason)
        assert result.difference.isnan().all()


def test_one_image_on_which_the_model_fails_does_not_cost_the_others(x):
    net = build("gap")
    y = wrong_labels(net, x)

    class Poisoned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Tensor) -> Tensor:
            if bool((images == x[2]).flatten(1).all(1).any()):
                raise ValueError("poison")
            logits = self.net(images)
            logits[(images == x[4]).flatten(1).all(1)] = torch.nan
            return logits

    result = cam(Classifier(Poisoned()), x, y)
    alone = cam(Classifier(net), x, y)
    assert result.status == ["ok", "ok", "refused", "ok", "refused"]
    assert "poison" in result.reason[2]
    assert "NaN" in result.reason[4]
    assert result.forwards.tolist() == [1, 1, 0, 1, 1]
    torch.testing.assert_close(result.difference[[0, 1, 3]], alone.difference[[0, 1, 3]])


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "gradcam"},
        {"tolerance": 0.0},
        {"tolerance": -1.0},
        {"tolerance": 2.0},
        {"tolerance": math.nan},
        {"tolerance": "much"},
        {"layer": ""},
        {"layers": "conv"},
    ],
)
def test_bad_settings_are_refused(options):
    with pytest.raises(InputError):
        make_config(CamConfig, options, "cam")


def test_a_layer_can_be_named_and_a_wrong_name_is_refused(x):
    net = build("gap")
    y = wrong_labels(net, x)
    result = cam(Classifier(net), x, y, config=CamConfig(layer="conv1"))
    assert (result.layer, tuple(result.difference.shape)) == ("conv1", (5, 8, 8))
    with pytest.raises(ModelError, match='no layer "conv9"'):
        cam(Classifier(net), x, y, config=CamConfig(layer="conv9"))
    with pytest.raises(ModelError, match="head"):
        cam(Classifier(net), x, y, config=CamConfig(layer="head"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_number_types_keep_their_own_accuracy(x, dtype):
    net = build("gap").to(dtype)
    y = torch.zeros(5, dtype=torch.int64)
    result = cam(Classifier(net), x, y)
    assert result.exact
    assert set(result.status) == {"ok"}


# Real models.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet20", "cam"),
        ("robust_vit", "cam"),
        ("robust_resnet", "hirescam"),
        pytest.param("resnet56", "cam", marks=pytest.mark.slow),
        pytest.param("small_vit", "hirescam", marks=pytest.mark.slow),
    ],
)
def test_maps_of_real_errors_add_up(shared_data, shared_models, name, kind):
    archive = np.load(shared_data / "cifar10_test_a" / "test_lossless.npz")
    pixels = torch.from_numpy(archive["images"]).movedim(3, 1).float()[:150] / 255
    labels = torch.from_numpy(archive["labels"]).long()[:150]
    classifier = Classifier(shared_models(name))
    logits = classifier.logits(pixels)
    wrong = (logits.argmax(1) != labels).nonzero().flatten()
    result = cam(classifier, pixels[wrong], labels[wrong])
    assert (result.kind, result.exact) == (kind, kind == "cam")
    assert set(result.status) == {"ok"}
    assert torch.equal(result.target, logits[wrong].argmax(1))
    assert torch.isfinite(result.difference).all()
    if result.exact:
        due = logits[wrong].amax(1) - logits[wrong].gather(1, labels[wrong][:, None])[:, 0]
        torch.testing.assert_close(result.evidence + result.remainder, due, rtol=1e-3, atol=1e-3)
        assert float(result.residual.max()) <= 1e-3
