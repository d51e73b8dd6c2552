"""Grad-CAM as a ranking, against pytorch-grad-cam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.contract.nets import build
from tests.contract.nets import images as small_images
from tests.explain.patch_groups.nets import images, tiny_vit
from torch import nn

from whywrong.core.errors import InputError
from whywrong.explain.patch_groups.grad_cam import grad_cam, pooled
from whywrong.models.classifier import Classifier


@pytest.mark.parametrize("name", ["gap", "flat", "vit"])
def test_equals_the_raw_map_of_pytorch_grad_cam(name):
    oracle_package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = tiny_vit() if name == "vit" else build(name)
    x = images(3) if name == "vit" else small_images(3)
    layer = {"gap": "bn2", "flat": "conv2", "vit": "blocks.2.norm1"}[name]
    if name == "gap":
        net.relu = nn.ReLU(inplace=False)  # its hook cannot stand in-place operations
    target = torch.tensor([1, 0, 3])

    def places(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

    layers = [net.get_submodule(layer)]
    goals = [ClassifierOutputTarget(int(c)) for c in target]
    with oracle_package.GradCAM(net, layers, reshape_transform=places if name == "vit" else None) as oracle:
        oracle(input_tensor=x, targets=goals)
        seen = oracle.activations_and_grads
        raw = oracle.get_cam_image(x, layers[0], goals, seen.activations[0].numpy(), seen.gradients[0].numpy(), False)
    found = grad_cam(Classifier(net), x, target, layer=layer)
    np.testing.assert_allclose(found.numpy(), np.maximum(raw, 0), rtol=1e-3, atol=1e-5)
    assert float(found.max()) > 0


def test_of_a_transformer_the_input_of_the_last_attention_is_read():
    vit, x = tiny_vit(), images(2)
    target = torch.tensor([0, 2])
    found = grad_cam(Classifier(vit), x, target)
    torch.testing.assert_close(found, grad_cam(Classifier(vit), x, target, layer="blocks.2.norm1"))


def test_passes_are_counted_and_batches_do_not_matter():
    net, x, target = build("gap"), small_images(5), torch.tensor([0, 1, 2, 3, 0])
    one, two = Classifier(net, batch_size=2), Classifier(net)
    torch.testing.assert_close(grad_cam(one, x, target), grad_cam(two, x, target), rtol=1e-4, atol=1e-5)
    assert (one.forwards, one.backwards) == (two.forwards, two.backwards) == (5, 5)


def test_a_grid_finer_in_one_direction_alone_is_interpolated():
    """Means of positions would repeat the two rows; in between, the map changes evenly."""
    maps = torch.tensor([0.0, 4.0])[:, None].expand(2, 5)[None]
    assert pooled(maps, (4, 5))[0, :, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert pooled(maps.transpose(1, 2), (5, 4))[0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_maps_are_pooled_to_the_players():
    maps = torch.arange(32.0, dtype=torch.float64).view(2, 4, 4)
    coarse = pooled(maps, (2, 2))
    assert coarse[0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    fine = pooled(maps, (8, 8))
    assert fine.shape == (2, 8, 8)
    torch.testing.assert_close(fine.mean((1, 2)), maps.mean((1, 2)))
    assert torch.equal(pooled(maps, (4, 4)), maps)


def test_bad_targets_are_refused():
    net, x = build("gap"), small_images(2)
    with pytest.raises(InputError, match=r"outside 0\.\.3"):
        grad_cam(Classifier(net), x, torch.tensor([0, 4]))
    with pytest.raises(InputError, match="2 images"):
        grad_cam(Classifier(net), x, torch.tensor([0]))


def test_no_images_give_no_maps():
    found = grad_cam(Classifier(build("gap")), small_images(1)[:0], torch.zeros(0, dtype=torch.int64), grid=(4, 4))
    assert found.shape == (0, 4, 4)
