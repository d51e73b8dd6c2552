"""Units' shares of a change add up to it, and patching agrees with them where the rest of the net is linear."""

from __future__ import annotations

import pytest
import torch

import whywrong as ww
from whywrong.core.errors import ModelError
from whywrong.explain.dissection.effects import patch_units, silence, unit_effects
from whywrong.explain.dissection.painting import PAINTED, paint
from whywrong.models.layers.spatial import spatial_layer


@pytest.fixture(scope="module")
def net() -> ww.Classifier:
    return ww.load_classifier("planted:cnn")


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(4, 3, 64, 64, generator=g), torch.rand(4, 3, 64, 64, generator=g)


A, B = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 6, 7])


@pytest.mark.parametrize(("name", "most"), [("blocks", 1e-4), ("blocks.1", 0.3)])
def test_effects_of_units_add_up_to_the_change(net, pair, name, most):
    layer = spatial_layer(net, (3, 64, 64), name)
    with net:
        found = unit_effects(net, layer, pair, A, B)
    moved = (net.logits(pair[1]) - net.logits(pair[0])).double()
    assert torch.allclose(found.change[:, 1], moved[torch.arange(4), B], atol=1e-4)
    assert (found.g.sum(1) - moved[torch.arange(4), B]).abs().max() < most
    assert (found.s.sum(1) + moved[torch.arange(4), A]).abs().max() < most
    assert found.residual.max() < most
    assert moved.abs().min() > 0  # the sums are not trivially zero


def test_patching_a_unit_before_a_linear_head_takes_back_its_effect(net, pair):
    layer = spatial_layer(net, (3, 64, 64))
    with net:
        found = unit_effects(net, layer, pair, A, B)
        top = (found.s + found.g).topk(3, dim=1)
        patched = patch_units(net, layer, pair, top.indices)
    plain = net.logits(pair[1])
    rows = torch.arange(4)
    fall = (plain[rows, B] - plain[rows, A])[:, None] - (patched[rows, :, B] - patched[rows, :, A])
    assert torch.allclose(fall.double(), top.values, atol=1e-4)


def test_silencing_no_unit_changes_nothing_and_all_units_leave_the_constant(net, pair):
    layer = spatial_layer(net, (3, 64, 64))
    with net:
        none = silence(net, layer, pair[0], torch.zeros(0, dtype=torch.int64))
        every = silence(net, layer, pair[0], torch.arange(layer.shape[0]))
    assert torch.allclose(none, net.logits(pair[0]), atol=1e-5)
    assert torch.allclose(every, layer.constant.expand_as(every), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_painted_concept_changes_the_image_inside_its_mask(channels):
    count = len(PAINTED)
    x = torch.rand(count, channels, 48, 48, generator=torch.Generator().manual_seed(1))
    keys = torch.arange(count)
    painted, mask, counted = paint(x, torch.arange(count), keys)
    assert painted.shape == x.shape
    assert painted.min() >= 0
    assert painted.max() <= 1
    share = mask.flatten(1).float().mean(1)
    assert (share > 0.01).all()
    assert (share < 0.45).all()
    assert not (mask & ~counted).any()
    faults = torch.tensor([name.startswith("fault") for name in PAINTED])
    outside = counted & ~mask
    assert torch.equal(painted.movedim(1, -1)[faults][outside[faults]], x.movedim(1, -1)[faults][outside[faults]])
    again = paint(x.flip(0), torch.arange(count).flip(0), keys.flip(0))[0].flip(0)
    assert torch.allclose(again, painted, atol=1e-6)  # the place in the batch changes nothing


def test_a_wrong_layer_names_the_nearest(net):
    with pytest.raises(ModelError, match=r'nearest: "blocks\.3"'):
        spatial_layer(net, (3, 64, 64), "blocks.33")
