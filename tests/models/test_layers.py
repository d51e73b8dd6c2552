"""Finding the last spatial layer: in many families, and where it is hard or must be refused."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, ModelError
from whywrong.models.classifier import Classifier
from whywrong.models.layers import capture, find_spatial_layer, spatial_layer
from whywrong.models.tracing import record


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def naive(module: nn.Module, name: str, x: Tensor) -> Tensor:
    """The answer of a submodule by a plain hook."""
    seen: list[Tensor] = []
    handle = module.get_submodule(name).register_forward_hook(lambda m, i, out: seen.append(out.clone()))
    with torch.no_grad():
        module(x)
    handle.remove()
    return seen[-1]


# Hard cases.


def test_in_place_activations_and_reused_modules_do_no_harm():
    net = build("gap")  # one in-place ReLU, used twice
    layer = find_spatial_layer(net, (3, 16, 16))
    assert (layer.name, layer.occurrence, layer.grid, layer.kind) == ("relu", 1, (4, 4), "conv")
    x = images(3)
    with torch.no_grad():
        expected = torch.relu(net.bn2(net.conv2(torch.relu(net.bn1(net.conv1(x))))))
        plain = net(x)
    with capture(net, layer, leaf=True) as seen:
        logits = net(x)
    torch.testing.assert_close(logits, plain)
    torch.testing.assert_close(seen.activation, expected)
    grad = torch.autograd.grad(logits[:, 1].sum(), seen.activation)[0]
    torch.testing.assert_close(grad, (net.head.weight[1] / 16)[None, :, None, None].expand_as(grad).detach())


def test_a_tensor_changed_in_place_later_is_read_as_it_was():
    class Later(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 5, 3, 2, 1), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            a = self.conv(x)
            pooled = a.mean((2, 3))
            a.mul_(0)
            return self.head(pooled + a.sum((2, 3)))

    net, x = Later().eval(), images(2)
    layer = find_spatial_layer(net, (3, 16, 16), name="conv")
    with torch.no_grad(), capture(net, layer) as seen:
        net(x)
    torch.testing.assert_close(seen.activation, net.conv(x).detach())


def test_a_map_that_no_module_answers_with_is_found_among_the_function_calls():
    net = build("flat")
    layer = find_spatial_layer(net, (3, 16, 16))
    assert layer.op == "max_pool2d"
    assert (layer.name, layer.grid) == ("max_pool2d[1]", (4, 4))
    x = images(2)
    with torch.no_grad(), capture(net, layer) as seen:
        net(x)
        expected = nn.functional.max_pool2d(torch.relu(net.conv1(x)), 2)
        expected = nn.functional.max_pool2d(torch.relu(net.conv2(expected)), 2)
    torch.testing.assert_close(seen.activation, expected)


def test_a_class_token_is_read_at_the_input_of_the_last_attention():
    layer = find_spatial_layer(build("tokens"), (3, 16, 16))
    assert (layer.name, layer.kind, layer.grid, layer.prefix_tokens) == ("layers.layers.1.norm1", "tokens", (4, 4), 1)
    assert layer.head is None
    assert not layer.complete


class Shuffled(nn.Module):
    """Patch tokens in another order than the image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("order", torch.randperm(16))

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.patches(x)).flatten(2).transpose(1, 2)
        return self.head(torch.tanh(self.mix(tokens[:, self.order])).mean(1))


def test_tokens_out_of_image_order_are_not_taken_for_a_grid():
    net, x = Shuffled().eval(), images(2)
    layer = find_spatial_layer(net, (3, 16, 16))
    with torch.no_grad(), capture(net, layer) as seen:
        net(x)
        expected = torch.tanh(net.patches(x))  # (B, C, 4, 4), in image order
    torch.testing.assert_close(layer.layout.patches(seen.activation), expected)


def test_tokens_after_the_grid_tokens_are_not_taken_for_prefix_tokens():
    class Suffixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mix, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 4)
            self.last = nn.Parameter(torch.randn(1, 1, 8))

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.tanh(self.patches(x)).flatten(2).transpose(1, 2)
            tokens = torch.cat([tokens, self.last.expand(len(x), -1, -1)], 1)
            return self.head(torch.tanh(self.mix(tokens)).mean(1))

    assert find_spatial_layer(Suffixed().eval(), (3, 16, 16)).prefix_tokens == 0


@pytest.mark.parametrize("last", [True, False])
def test_the_channel_axis_comes_from_the_layers_and_not_from_the_sizes(last):
    class Square(nn.Module):
        """Eight channels on an 8 x 8 grid: the shape alone says nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).mean((2, 3)))

    class SquareLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.mix, self.head = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(torch.tanh(self.conv(x)).permute(0, 2, 3, 1)).mean((1, 2)))

    net = (SquareLast() if last else Square()).eval()
    layer = find_spatial_layer(net, (3, 16, 16))
    assert (layer.shape, layer.channels_last, layer.grid) == ((8, 8, 8), last, (8, 8))
    assert layer.head is not None


def test_registers_and_class_token_are_dropped_in_rectangular_images():
    class Registers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4)
            self.extra = nn.Parameter(torch.randn(1, 5, 8))
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm = nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.cat([self.extra.expand(len(x), -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)
            tokens = self.norm(tokens)
            return self.head((tokens + self.attend(tokens, tokens, tokens)[0])[:, 0])

    layer = find_spatial_layer(Registers().eval(), (3, 12, 24))
    assert (layer.name, layer.grid, layer.prefix_tokens) == ("norm", (3, 6), 5)


# Refusals.


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)).detach())


class Branches(nn.Module):
    """Two towers from the pixels on: no activation lies on every path."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = build("gap"), build("flat")

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.two(x)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), "no spatial layer found in Linear"),
        (Branches(), "no spatial layer found in Branches"),
        (Detached(), "no spatial layer found in Detached: no gradient"),
    ],
    ids=["no grid", "branches", "no gradient"],
)
def test_a_model_without_such_a_layer_is_refused_by_name(net, says):
    with pytest.raises(ModelError, match=says):
        find_spatial_layer(net, (3, 16, 16))


def test_a_layer_of_one_tower_can_be_named():
    layer = find_spatial_layer(Branches(), (3, 16, 16), name="one.conv2")
    assert (layer.name, layer.grid, layer.complete) == ("one.conv2", (4, 4), False)


def test_access_to_layers_must_be_granted():
    with pytest.raises(AccessError, match="INTERNALS"):
        spatial_layer(Classifier(build("gap"), access=Access.GRADIENTS), (3, 16, 16))


# What is left behind.


class Fussy(nn.Module):
    def __init__(self, fail: bool) -> None:
        super().__init__()
        self.net, self.fail = build("gap").train(), fail

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        if self.fail:
            raise ValueError("no")
        return logits


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_hooks_and_modes_are_undone_also_when_the_model_raises():
    net = Fussy(False).train()
    layer = find_spatial_layer(net, (3, 16, 16))
    assert hooks(net) == 0
    assert net.training
    assert all(part.training for part in net.net.modules())
    net.fail = True
    with pytest.raises(ModelError, match="no"):
        find_spatial_layer(net, (3, 16, 16))
    with pytest.raises(ValueError, match="no"), capture(net, layer):
        net(images(1))
    with pytest.raises(ValueError, match="no"):
        record(net, images(1), net)
    assert hooks(net) == 0
    assert torch.overrides._get_current_function_mode_stack() == []


def test_a_layer_found_for_another_size_is_refused():
    net = build("gap")
    layer = find_spatial_layer(net, (3, 16, 16))
    with (
        pytest.raises(ModelError, match=r"gave \(12, 4, 4\) when it was found and \(12, 8, 8\) now"),
        capture(net, layer),
    ):
        net(torch.rand(1, 3, 32, 32))


def test_the_layer_of_a_classifier_is_found_once_and_not_counted():
    classifier = Classifier(build("gap"))
    layer = spatial_layer(classifier, (3, 16, 16))
    assert spatial_layer(classifier, (3, 16, 16)) is layer
    assert spatial_layer(classifier, (3, 32, 32)).grid == (8, 8)
    assert (classifier.forwards, classifier.backwards) == (0, 0)


def test_a_model_that_takes_one_image_at_a_time_is_traced_with_one():
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build("gap")

        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 1:
                raise ValueError("one image at a time")
            return self.net(x)

    assert find_spatial_layer(Single().eval(), (3, 16, 16)).grid == (4, 4)


# Families of timm, with random weights. Layer, grid and prefix tokens follow from their papers: the stride of the last
# stage, the patch size, the class, distillation and register tokens.

QUICK = [
    ("resnet", "test_resnet", {}, 96, "layer4", (3, 3), 0),
    ("efficientnet", "test_efficientnet", {}, 96, "bn2", (3, 3), 0),
    ("convnext", "test_convnext", {}, 96, "stages", (3, 3), 0),
    ("nfnet", "test_nfnet", {}, 96, "final_act", (3, 3), 0),
    ("mobilenetv3", "mobilenetv3_small_050", {}, 96, "blocks", (3, 3), 0),
    ("maxxvit", "test_coatnet", {"img_size": 96}, 96, "norm", (3, 3), 0),
    ("mambaout", "test_mambaout", {}, 96, "stages", (3, 3), 0),
    ("vision_transformer", "test_vit", {"img_size": 96}, 96, "blocks.5.norm1", (6, 6), 1),
    ("deit", "deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}, 64, "blocks.1.norm1", (4, 4), 2),
    (
        "vision_transformer",
        "vit_small_patch14_reg4_dinov2",
        {"img_size": 56, "depth": 2, "embed_dim": 96, "num_heads": 3},
        56,
        "blocks.1.norm1",
        (4, 4),
        5,
    ),
    (
        "beit",
        "beit_base_patch16_224",
        {"img_size": 64, "depth": 2, "embed_dim": 96, "num_heads": 3},
        64,
        "norm",
        (4, 4),
        1,
    ),
    (
        "vision_transformer_hybrid",
        "vit_tiny_r_s16_p8_224",
        {"img_size": 64, "depth": 2},
        64,
        "blocks.1.norm1",
        (2, 2),
        1,
    ),
    (
        "swin_transformer",
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1), "embed_dim": 24},
        64,
        "norm",
        (2, 2),
        0,
    ),
    ("pit", "pit_ti_224", {"img_size": 96}, 96, "transformers.2.blocks.3.norm1", (3, 3), 1),
    ("cait", "cait_xxs24_224", {"img_size": 64, "depth": 2}, 64, "blocks", (4, 4), 0),
]
