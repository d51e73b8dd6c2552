"""The claims of patches on models whose robustness is known."""

from __future__ import annotations

import pytest
import torch
from tests.explain.robustness.toys import SIDE, Brightness, Constant, model

from whywrong.core.errors import InputError, ModelError
from whywrong.core.registry import claims, resolve
from whywrong.reproduce.patches.measuring import PatchClaimConfig
from whywrong.reproduce.protocol import TensorImages

FAST = {"positions": 2, "patch_steps": 12, "patch": 16, "draws": 1, "limit": 24}


def images(count: int = 24) -> TensorImages:
    y = torch.arange(count) % 2
    return TensorImages((0.42 + 0.16 * y.float()).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE).contiguous(), y)


def dark(count: int = 24) -> TensorImages:
    data = images(count)
    return TensorImages(data.x[data.y == 0], data.y[data.y == 0])


def run(name: str, models, data=None, **settings):
    claim = claims()[name]
    assert claim.models == len(models)
    config = PatchClaimConfig(**FAST | settings)
    return resolve(claim.function)(models, images() if data is None else data, config, cache={})


def test_a_model_that_ignores_the_image_is_never_fooled_by_a_patch():
    weak, steady = model(Brightness(), "weak"), model(Constant(), "steady")
    found = run("patches.P2", [steady, weak], dark(48))
    assert (found.verdict, found.numbers["first"], found.numbers["second"]) == ("holds", 0, 1)
    assert run("patches.P2", [weak, steady], dark(48)).verdict == "does not hold"


@pytest.mark.parametrize("name", ["patches.P1", "patches.P2", "patches.A1"])
def test_two_models_that_answer_alike_decide_nothing(name):
    found = run(name, [model(Brightness(), "a"), model(Brightness(gain=20), "b")])
    assert found.effect == 0
    assert found.verdict != "holds"


def test_without_a_correct_image_nothing_is_decided():
    wrong = TensorImages(images().x, 1 - images().y)
    found = run("patches.P1", [model(Brightness(), "a"), model(Constant(), "b")], wrong)
    assert found.verdict == "undecided"


@pytest.fixture(scope="module")
def vit():
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 2}
    return model(VisionTransformer(**sizes).eval())


def labelled(classifier) -> TensorImages:
    x = torch.rand(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    return TensorImages(x, classifier.predict(x))


def test_attention_of_random_weights_is_not_drawn_to_noise_patches(vit):
    found = run("patches.P3", [vit], labelled(vit))
    assert found.n == 24
    assert found.verdict != "holds"


def test_smoothing_random_weights_is_measured_with_the_loss(vit):
    found = run("patches.P4", [vit], labelled(vit))
    assert found.verdict in ("undecided", "does not hold")
    assert found.numbers["accuracy_change"] <= 0


def test_models_without_attention_have_none_to_draw_or_smooth():
    assert run("patches.P3", [model(Brightness())]).verdict == "undecided"
    with pytest.raises(ModelError, match="no attention"):
        run("patches.P4", [model(Brightness())])


def test_settings_that_make_no_sense_are_refused():
    for field, value in (("limit", 0), ("loss", 1.0), ("temperature", 1.0), ("positions", 0)):
        with pytest.raises(InputError, match=field):
            PatchClaimConfig(**{field: value})
