"""The classifier on a GPU: what goes in and comes out lies where the images lie."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images

from whywrong.attacks.inverted.region_fix import margin_gradient
from whywrong.core.errors import ModelError
from whywrong.core.margins import error_margin
from whywrong.explain.masking import PlayersConfig
from whywrong.explain.patch_groups.game import PatchGame
from whywrong.explain.patch_groups.rankings import curves, order_of
from whywrong.explain.patch_groups.shapley import shapley_by_contexts, shapley_values
from whywrong.explain.spurious import class_change
from whywrong.models.batch_size import plan_batch_size
from whywrong.models.checks.health import probe
from whywrong.models.classifier import Classifier


@pytest.fixture(params=["cpu", "cuda"])
def place(request: pytest.FixtureRequest) -> str:
    return request.param


def on_gpu(kind: str = "gap") -> Classifier:
    return Classifier(build(kind).to("cuda"), batch_size=3)


def transformer() -> Classifier:
    """Of timm, whose patch tokens can be left out; random weights."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=4).eval()
    return Classifier(net.to("cuda"))


@pytest.mark.parametrize("columns", [1, 2])
def test_an_objective_sees_its_logits_beside_the_images(gpu, place, columns):
    x, y = images(5).to(place), torch.arange(5).remainder(4).to(place)
    classifier, plain = on_gpu(), Classifier(build("gap"), batch_size=3)
    seen = []

    def objective(logits, rows, y=y):
        seen.append(logits.device.type)
        return error_margin(logits, y[rows]) if columns == 1 else logits[:, :2] - logits.gather(1, y[rows, None])

    found = classifier.gradient(x, objective)
    expected = plain.gradient(x.cpu(), lambda logits, rows: objective(logits, rows, y.cpu()))
    assert seen[:2] == [place, place]
    assert {part.device.type for part in found} == {place}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-6)


def test_an_empty_request_answers_beside_the_images(gpu, place):
    x, y = images(1).to(place), torch.zeros(1, dtype=torch.int64).to(place)
    classifier = on_gpu()
    classifier.logits(x)
    found = classifier.gradient(x[:0], lambda logits, rows: error_margin(logits, y[:0][rows]))
    assert {part.device.type for part in found} == {place}
    assert classifier.logits(x[:0]).device.type == classifier.predict(x[:0]).device.type == place


def test_logits_and_faults_come_back_beside_the_images(gpu, place):
    x = images(5).to(place)
    x[3, 0, 0, 0] = torch.nan
    classifier = on_gpu()
    logits, faults = classifier.logits_or_faults(x)
    assert logits.device.type == place
    assert list(faults) == [3]
    assert classifier.predict(x[:3]).device.type == place


@pytest.mark.parametrize("kind", ["gap", "flat", "tokens"])
def test_the_health_probe_and_the_memory_probe_run(gpu, place, kind):
    x, y = images(6).to(place), torch.zeros(6, dtype=torch.int64).to(place)
    classifier = on_gpu(kind)
    assert probe(classifier, x, y).access == classifier.access
    assert probe(classifier, x).access == classifier.access
    assert plan_batch_size(classifier, x[:1]) >= 1


def test_a_margin_has_its_gradient_beside_the_images(gpu, place):
    x, y = images(4).to(place), torch.zeros(4, dtype=torch.int64).to(place)
    assert {part.device.type for part in margin_gradient(on_gpu(), x, y)} == {place}


def test_shapley_values_and_rankings_take_keys_and_images_of_any_device(gpu, place):
    x, y, keys = images(2).to(place), torch.tensor([0, 1]).to(place), torch.tensor([3, 4]).to(place)
    classifier = transformer()
    game = PatchGame(classifier, x, y, config=PlayersConfig(kind="pixels", grid=2))
    value = "log_odds_true"
    for estimate in (shapley_values, shapley_by_contexts):
        assert torch.equal(estimate(game, value, keys, 2), estimate(game, value, keys.cpu(), 2))
    for name in ("moxi", "shapley", "rollout", "grad_cam"):
        order = order_of(name, classifier, x, y, game, keys, value=value)
        assert curves(game, order, value=value).insertion.shape == (2, 5)


def test_a_common_change_is_found_beside_the_images(gpu, place):
    x = images(24).to(place)
    changed = (x + 0.1 * images(24, seed=3).to(place)).clamp(0, 1)
    objects = torch.zeros(24, 16, 16, dtype=torch.bool)
    objects[:12, :8] = True
    found = class_change(x, changed, 0, objects=objects.to(place))
    expected = class_change(x.cpu(), changed.cpu(), 0, objects=objects)
    assert found.mean.device.type == found.crops.device.type == place
    assert found.outside == expected.outside
    assert found.rows.tolist() == expected.rows.tolist()


@pytest.mark.parametrize("said", ["cuda", "cuda:0", torch.device("cuda", 0)])
def test_a_device_that_is_not_that_of_the_weights_is_refused(gpu, said):
    with pytest.raises(ModelError, match=r"the model is on cpu.*\.to\("):
        Classifier(build("gap"), device=said)


def test_a_device_named_without_its_number_is_the_first(gpu):
    classifier = Classifier(build("gap").to("cuda:0"), device="cuda")
    assert classifier.device == torch.device("cuda", 0)
    with pytest.raises(ModelError, match="the model is on cuda:0"):
        Classifier(build("gap").to("cuda"), device="cpu")
