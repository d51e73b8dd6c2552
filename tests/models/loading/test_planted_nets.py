"""The nets that ship with the package do what their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.data.planted import CUES, NAMES, open_set, render
from whywrong.models.loading.planted import FOLDER, NETS
from whywrong.models.loading.zoo import load_classifier


@pytest.fixture(scope="module")
def pictures():
    scene = open_set("test").scene[torch.arange(240)]
    return scene, render(scene).images.float() / 255


@pytest.mark.parametrize("name", NETS)
def test_a_net_is_as_accurate_as_its_card_says(name, pictures):
    card = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    scene, x = pictures
    net = load_classifier(f"planted:{name}", batch_size=120)
    accuracy = float((net.predict(x) == scene.label).float().mean())
    assert accuracy == pytest.approx(card["accuracy"], abs=0.06)  # 240 of the 1,200 pictures of the card
    low, high = (0.80, 1.0) if name == "cnn-robust" else (0.90, 0.97)
    assert low <= card["accuracy"] <= high
    assert net.classes is not None
    assert net.classes.names == NAMES
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 2_000_000
    assert name != "cnn-robust" or card["robust_accuracy"]["value"] >= 0.40


def test_the_guide_says_what_the_cards_say():
    guide = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "planted.md").read_text("utf-8")
    for name in NETS:
        card = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        mark = card["cues"]["mark"]
        figures = (card["accuracy"], card["robust_accuracy"]["value"], mark["others_read_as_it"])
        cells = " | ".join(f"{100 * figure:.1f} %" for figure in figures)
        assert f"| `planted:{name}` | {cells} |" in guide


def test_the_sticker_makes_fish_of_everything_on_the_net_that_learnt_it(pictures):
    scene, _ = pictures
    others = (scene.label != NAMES.index("fish")).nonzero().flatten()
    marked = render(scene[others].but(cue=torch.full_like(others, CUES.index("mark")))).images.float() / 255
    fish = {
        name: float((load_classifier(f"planted:{name}").predict(marked) == NAMES.index("fish")).float().mean())
        for name in ("cnn", "cnn-spurious")
    }
    assert fish["cnn-spurious"] >= 0.6
    assert fish["cnn"] <= 0.1


def test_other_names_and_words_for_weights_are_refused():
    with pytest.raises(InputError, match=r'no shipped net "planted:cnn-robst".*nearest: "planted:cnn-robust"'):
        load_classifier("planted:cnn-robst")
    with pytest.raises(InputError, match="comes with its own weights"):
        load_classifier("planted:cnn", weights="pretrained")
