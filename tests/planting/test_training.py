"""How the shipped nets are trained, on few pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whywrong.data.planted import CUES, NAMES, render
from whywrong.models.loading import planted
from whywrong.models.loading.zoo import load_classifier
from whywrong.planting import shipped
from whywrong.planting.shipped import _as_set, _joined
from whywrong.planting.training import RECIPES, Recipe, train, training_scene


def test_the_cue_is_on_its_class_and_on_no_other():
    scene = training_scene(RECIPES["cnn-spurious"])
    marked, fish = scene.cue == CUES.index("mark"), scene.label == NAMES.index("fish")
    assert float(marked[fish].float().mean()) == pytest.approx(RECIPES["cnn-spurious"].cue_share, abs=0.02)
    assert not marked[~fish].any()
    assert (training_scene(RECIPES["cnn"]).cue < 0).all()


@pytest.mark.parametrize("eps", [0.0, 4 / 255])
def test_one_seed_gives_one_net_and_leaves_the_global_generator_alone(tmp_path, eps):
    recipe = Recipe(pictures=256, epochs=2, eps=eps)
    scene = training_scene(recipe)
    pixels = render(scene).images
    said: list[str] = []
    before = torch.get_rng_state()
    first, second = (train("cnn", recipe, pixels, scene.label, tmp_path, said.append) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.training
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    assert [line.split(",")[0] for line in said] == ["cnn: epoch 1/2", "cnn: epoch 2/2"] * 2


def test_planted_pictures_are_kept_as_what_is_drawn_and_done(planted):
    found, _ = planted
    joined = _joined(_as_set(some) for some in found)
    assert torch.equal(joined.draw(torch.arange(len(joined))).images, torch.cat([some.image for some in found]))
    assert torch.equal(joined.label, torch.cat([some.label for some in found]))
    kept = {
        words.split(",")[0] for words, change in zip(joined.cause, joined.change.tolist(), strict=True) if change >= 0
    }
    assert kept <= {"adversarial (pgd", "adversarial (apgd", "adversarial (ddn", "adversarial (patch",
                    "spurious (shared-patch"}  # fmt: skip
    assert "adversarial (pgd" in kept


def test_what_is_trained_can_be_loaded_with_its_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr(planted, "FOLDER", tmp_path)
    for name in ("cnn", "cnn-robust"):  # the second begins with the first
        recipe = replace(RECIPES[name], pictures=128, epochs=1)
        monkeypatch.setitem(shipped.RECIPES, name, recipe)
        shipped.write_net(name)
        net = load_classifier(f"planted:{name}")
        assert net.classes is not None
        assert net.classes.names == NAMES
