"""Rules of the CAM family against closed forms and pytorch-grad-cam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.contract.nets import build, images

from whywrong.core.errors import InputError
from whywrong.explain.cam import CamConfig, cam
from whywrong.explain.class_maps import class_maps, eigen_cam
from whywrong.models.classifier import Classifier

CLASSES = torch.tensor([[0, 1], [2, 0], [1, 3]])


@pytest.fixture
def x() -> torch.Tensor:
    return images(3, seed=3)


def test_maps_of_a_pooled_net_add_up_and_are_each_others_multiples(x):
    net = build("gap")
    classifier = Classifier(net)
    with torch.no_grad():
        a = torch.relu(net.bn2(net.conv2(torch.relu(net.bn1(net.conv1(x))))))
        logits = net(x)
    found = class_maps(classifier, x, CLASSES)
    assert (found.kind, found.exact) == ("cam", True)
    due = logits.gather(1, CLASSES)
    torch.testing.assert_close(found.maps.sum((2, 3)) + found.rest, due, atol=1e-4, rtol=0)
    plain = torch.einsum("bnk,bkhw->bnhw", net.head.weight.detach()[CLASSES], a)  # CAM of Zhou et al.
    torch.testing.assert_close(found.maps, plain / 16, atol=1e-5, rtol=1e-4)
    hires = class_maps(classifier, x, CLASSES, kind="hirescam")
    torch.testing.assert_close(hires.maps * 16, plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        class_maps(classifier, x, CLASSES, kind="grad_cam").maps, plain.relu() / 16, atol=1e-5, rtol=1e-4
    )
    assert class_maps(classifier, x, CLASSES, kind="grad_cam").rest.isnan().all()


def test_difference_of_two_images_is_where_the_scores_changed(x):
    """The feature-space map of a change is exact in a pooled net."""
    classifier = Classifier(build("gap"))
    moved = (x + 0.2 * images(3, seed=9)).clamp(0, 1)
    before, after = class_maps(classifier, x, CLASSES), class_maps(classifier, moved, CLASSES)
    change = (after.logits - before.logits).gather(1, CLASSES)
    torch.testing.assert_close((after.maps - before.maps).sum((2, 3)), change, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("hirescam", "HiResCAM"), ("grad_cam", "GradCAM"), ("grad_cam_pp", "GradCAMPlusPlus"), ("layer_cam", "LayerCAM")],
)
def test_every_rule_equals_the_raw_map_of_pytorch_grad_cam(x, kind, name):
    oracle_package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = build("flat")
    goals = [ClassifierOutputTarget(int(c)) for c in CLASSES[:, 0]]
    with getattr(oracle_package, name)(model=net, target_layers=[net.conv2]) as oracle:
        oracle(input_tensor=x, targets=goals)
        seen = oracle.activations_and_grads
        raw = oracle.get_cam_image(x, net.conv2, goals, seen.activations[0].numpy(), seen.gradients[0].numpy(), False)
    ours = class_maps(Classifier(net), x, CLASSES, kind=kind, layer="conv2").maps[:, 0].numpy()
    raw = raw if kind == "hirescam" else np.maximum(raw, 0)
    np.testing.assert_allclose(ours, raw, rtol=1e-3, atol=1e-5)
    assert np.abs(ours).max() > 0


def test_eigen_cam_does_not_depend_on_the_sign_of_the_component():
    torch.manual_seed(0)
    place = torch.zeros(4, 4)
    place[1, 2] = 5.0
    direction = torch.randn(6)
    activation = (direction[:, None, None] * place)[None]
    heat = eigen_cam(torch.cat([activation, -activation]))
    assert heat.flatten(1).argmax(1).tolist() == [6, 6]
    assert (heat.amax(1).amax(1) > 0).all()


def test_other_rules_make_a_map_of_the_difference_and_claim_no_sum(x):
    net = build("flat")
    with torch.no_grad():
        y = net(x).argsort(1, descending=True)[:, 1]
    result = cam(Classifier(net), x, y, config=CamConfig(kind="layer_cam"))
    assert result.kind == "layer_cam"
    assert not result.exact
    assert result.residual.isnan().all()
    assert (result.difference >= 0).all()
    with pytest.raises(InputError, match=r"cam\.kind must be one of auto"):
        CamConfig(kind="score_cam")  # type: ignore[arg-type]


def test_classes_outside_the_model_are_refused(x):
    classifier = Classifier(build("gap"))
    classifier.logits(x)
    with pytest.raises(InputError, match="class 9 of row 1"):
        class_maps(classifier, x, torch.tensor([[0], [9], [1]]))
    with pytest.raises(InputError, match=r"classes must be int64 \(B, n\)"):
        class_maps(classifier, x, torch.tensor([0, 1, 2]))
