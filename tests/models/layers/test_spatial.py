"""Finding the last spatial layer: in many families, and where it is hard or must be refused."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, ModelError
from whywrong.models.classifier import Classifier
from whywrong.models.layers.spatial import capture, find_spatial_layer, spatial_layer
from whywrong.models.layers.tracing import record


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


# Families of timm, with random weights. Grid and prefix tokens follow from their papers: the stride of the last stage
# of more than one place, the patch size, the class, distillation and register tokens. Some end early: the order of
# LeViT's merged tokens cannot be told while its weights are random; EfficientViM, CoaT and MobileNetV5 read several
# stages at once.

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

SLOW = [
    ("byobnet", "test_byobnet", {"img_size": 96}, 96, "stages", (3, 3), 0),
    ("vision_transformer_relpos", "test_vit_relpos", {"img_size": 96}, 96, "__getitem__[9]", (6, 6), 0),
    ("starnet", "starnet_s100", {}, 96, "norm", (3, 3), 0),
    ("dla", "dla46x_c", {}, 96, "level5", (3, 3), 0),
    ("mobilevit", "mobilevit_xxs", {"img_size": 96}, 96, "final_conv", (3, 3), 0),
    ("edgenext", "edgenext_xx_small", {}, 96, "stages", (3, 3), 0),
    ("vovnet", "ese_vovnet19b_slim_dw", {}, 96, "stages", (3, 3), 0),
    ("repghost", "repghostnet_050", {}, 96, "blocks", (3, 3), 0),
    ("efficientvit_msra", "efficientvit_m0", {"img_size": 96}, 96, "stages", (2, 2), 0),
    ("ghostnet", "ghostnet_050", {}, 96, "blocks", (3, 3), 0),
    ("regnet", "regnetx_002", {}, 96, "s4", (3, 3), 0),
    ("cspnext", "cspnext_tiny", {}, 96, "stages", (3, 3), 0),
    ("iformer", "iformer_t", {}, 96, "stages", (3, 3), 0),
    ("xcit", "xcit_nano_12_p8_224", {"img_size": 96}, 96, "cls_attn_blocks.1.norm1", (12, 12), 1),
    ("efficientvit_mit", "efficientvit_b0", {}, 96, "head.in_conv", (3, 3), 0),
    ("swiftformer", "swiftformer_xs", {"img_size": 96}, 96, "norm", (3, 3), 0),
    ("efficientformer_v2", "efficientformerv2_s0", {"img_size": 96}, 96, "norm", (3, 3), 0),
    ("pvt_v2", "pvt_v2_b0", {}, 96, "stages", (3, 3), 0),
    ("fasternet", "fasternet_t0", {}, 96, "stages", (3, 3), 0),
    ("lcnetv2", "lcnetv2_small", {}, 96, "stages", (3, 3), 0),
    ("inception_next", "inception_next_atto", {}, 96, "stages", (3, 3), 0),
    ("cspnet", "cs3darknet_focus_s", {}, 96, "stages", (3, 3), 0),
    ("rexnet", "rexnet_100", {}, 96, "features", (3, 3), 0),
    ("hardcorenas", "hardcorenas_b", {}, 96, "blocks", (3, 3), 0),
    ("fastvit", "fastvit_t8", {}, 96, "final_conv", (3, 3), 0),
    ("repvit", "repvit_m1", {"img_size": 96}, 96, "stages", (3, 3), 0),
    ("coat", "coat_tiny", {"img_size": 96}, 96, "serial_blocks2.1", (12, 12), 1),
    ("eva", "eva02_tiny_patch14_224", {"img_size": 96}, 96, "norm", (6, 6), 1),
    ("convit", "convit_tiny", {"img_size": 96}, 96, "blocks.11.norm1", (6, 6), 1),
    ("mlp_mixer", "gmlp_ti16_224", {"img_size": 96}, 96, "norm", (6, 6), 0),
    ("hgnet", "hgnetv2_b0", {}, 96, "stages", (3, 3), 0),
    ("shvit", "shvit_s1", {}, 96, "stages", (2, 2), 0),
    ("cpubone", "cpubone_nano", {}, 96, "head.in_conv", (3, 3), 0),
    ("efficientvim", "efficientvim_m1", {}, 96, "add[6]", (6, 6), 0),
    ("densenet", "densenet121", {}, 96, "features", (3, 3), 0),
    ("dpn", "dpn48b", {}, 96, "features", (3, 3), 0),
    ("levit", "levit_128", {"img_size": 96}, 96, "stages.0", (6, 6), 0),
    ("visformer", "visformer_tiny", {"img_size": 96}, 96, "norm", (3, 3), 0),
    ("byoanet", "halonet_h1", {}, 256, "stages", (8, 8), 0),
    ("resnest", "resnest14d", {}, 96, "layer4", (3, 3), 0),
    ("resnetv2", "resnetv2_18", {}, 96, "norm", (3, 3), 0),
    ("senet", "legacy_seresnet18", {}, 96, "layer4", (3, 3), 0),
    ("metaformer", "poolformerv2_s12", {}, 96, "stages", (3, 3), 0),
    ("sknet", "skresnet18", {}, 96, "layer4", (3, 3), 0),
    ("gcvit", "gcvit_xxtiny", {"img_size": 96}, 96, "stages", (3, 3), 0),
    ("tiny_vit", "tiny_vit_5m_224", {}, 96, "stages", (3, 3), 0),
    ("efficientformer", "efficientformer_l1", {}, 224, "norm", (7, 7), 0),
    ("hrnet", "hrnet_w18_small", {}, 96, "final_layer", (3, 3), 0),
    ("lowformer", "lowformer_b0", {}, 96, "in_conv", (3, 3), 0),
    ("nest", "nest_tiny", {"img_size": 96}, 96, "permute[35]", (6, 6), 0),
    ("convmixer", "convmixer_768_32", {}, 96, "blocks", (13, 13), 0),
    ("vitamin", "vitamin_small_224", {"img_size": 96}, 96, "__getitem__[0]", (6, 6), 0),
    ("tnt", "tnt_s_legacy_patch16_224", {"img_size": 96}, 96, "blocks.11.norm_out", (6, 6), 1),
    ("rdnet", "rdnet_tiny", {}, 96, "dense_stages", (3, 3), 0),
    ("twins", "twins_svt_small", {"img_size": 96}, 96, "norm", (3, 3), 0),
    ("mvitv2", "mvitv2_tiny", {"img_size": 96}, 96, "__getitem__[40]", (3, 3), 0),
    ("res2net", "res2next50", {}, 96, "layer4", (3, 3), 0),
    ("volo", "volo_d1_224", {"img_size": 96}, 96, "post_network.0", (6, 6), 1),
    ("sequencer", "sequencer2d_s", {"img_size": 96}, 96, "norm", (6, 6), 0),
    ("hiera", "hiera_tiny_224", {"img_size": 96}, 96, "blocks.11", (3, 3), 0),
    ("swin_transformer_v2_cr", "swinv2_cr_tiny_224", {"img_size": 96}, 96, "stages.3.blocks.1", (3, 3), 0),
    ("davit", "davit_tiny", {}, 96, "stages", (3, 3), 0),
    ("focalnet", "focalnet_tiny_srf", {}, 96, "norm", (3, 3), 0),
    ("selecsls", "selecsls42", {}, 96, "head", (2, 2), 0),
    ("tresnet", "tresnet_m", {}, 96, "body", (3, 3), 0),
    ("nextvit", "nextvit_small", {}, 96, "norm", (3, 3), 0),
    ("swin_transformer_v2", "swinv2_tiny_window8_256", {"img_size": 96}, 96, "norm", (3, 3), 0),
    ("xception", "legacy_xception", {}, 96, "act4", (3, 3), 0),
    ("inception_v3", "inception_v3", {}, 96, "Mixed_6e", (4, 4), 0),
    ("hieradet_sam2", "hieradet_small", {}, 96, "blocks.15", (3, 3), 0),
    ("xception_aligned", "xception41p", {}, 96, "act", (3, 3), 0),
    ("csatv2", "csatv2", {}, 96, "stages.2.7", (3, 3), 0),
    ("inception_v4", "inception_v4", {}, 96, "features.17", (4, 4), 0),
    ("vision_transformer_sam", "samvit_base_patch16_224", {"img_size": 96}, 96, "neck", (6, 6), 0),
    ("inception_resnet_v2", "inception_resnet_v2", {}, 96, "repeat_1", (4, 4), 0),
    ("mobilenetv5", "mobilenetv5_base", {}, 96, "msfa.ffn", (6, 6), 0),
    ("vgg", "vgg11", {}, 96, "features", (3, 3), 0),
    ("pnasnet", "pnasnet5large", {}, 96, "act", (3, 3), 0),
    ("nasnet", "nasnetalarge", {}, 96, "act", (3, 3), 0),
    ("naflexvit", "naflexvit_base_patch16_gap", {"img_size": 96}, 96, "__getitem__[1]", (6, 6), 0),
]


def check_family(name: str, options: dict, size: int, layer_name: str, grid: tuple[int, int], prefix: int) -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model(name, num_classes=10, **options)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1 and not p.any():
                p.normal_(0, 0.02)  # a head of zeros would let no gradient through
    net.requires_grad_(False).eval()
    layer = find_spatial_layer(net, (3, size, size))
    assert (layer.name, layer.grid, layer.prefix_tokens) == (layer_name, grid, prefix)
    with capture(net, layer, leaf=True) as seen:
        logits = net(torch.rand(2, 3, size, size))
    grad = torch.autograd.grad((logits * torch.randn(10)).sum(), seen.activation)[0]
    places = layer.layout.patches(grad)
    assert places.shape[2:] == grid
    assert (places != 0).any(1).any(0).all(), "every place must reach the logits"


@pytest.mark.parametrize(
    ("family", "name", "options", "size", "layer_name", "grid", "prefix"), QUICK, ids=[row[1] for row in QUICK]
)
def test_families_are_resolved(family, name, options, size, layer_name, grid, prefix):
    check_family(name, options, size, layer_name, grid, prefix)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name", "options", "size", "layer_name", "grid", "prefix"), SLOW, ids=[row[1] for row in SLOW]
)
def test_all_other_families_are_resolved(family, name, options, size, layer_name, grid, prefix):
    check_family(name, options, size, layer_name, grid, prefix)


def test_the_walk_covers_at_least_40_families():
    assert len({row[0] for row in QUICK}) >= 12
    assert len({row[0] for row in QUICK + SLOW}) >= 40


@pytest.mark.slow
def test_a_family_of_two_separate_branches_is_refused_by_name():
    timm = pytest.importorskip("timm")
    with pytest.raises(ModelError, match=r"no spatial layer found in CrossVit \(crossvit_tiny_240\)"):
        find_spatial_layer(timm.create_model("crossvit_tiny_240").eval(), (3, 240, 240))
