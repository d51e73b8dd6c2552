"""Planted mistakes: right without the cause, wrong with it, and nothing else counts."""

from __future__ import annotations

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planting.making import batches
from torch import nn

from whywrong.api import open_data, plant
from whywrong.core.classes import ClassList
from whywrong.core.errors import DataError, InputError, RunFolderError
from whywrong.core.input_spec import InputSpec
from whywrong.models.classifier import Classifier
from whywrong.runs.check import check


def test_every_cause_is_planted_as_often_as_wanted_and_verified(net, planted):
    found, tally = planted
    assert set(tally.planted) == {"label", "corruption", "adversarial", "occluded", "confusion", "shift", "spurious"}
    assert set(tally.planted.values()) == {6}
    assert tally.refused == {}
    counted = Counter()
    for some in found:
        counted[some.cause] += len(some.true)
        before, after = (net.predict(x.float() / 255) for x in (some.original, some.image))
        assert torch.equal(before, some.true)
        assert torch.equal(after, some.predicted)
        assert (after != some.label).all()
        assert (some.label == some.true).all() == (some.cause != "label" or some.kind == "two")
        assert all(some.words(row).startswith(f"{some.cause} (") for row in range(len(some.true)))
    assert counted == tally.planted


def test_the_smallest_strength_is_taken(net, drawn):
    [weak, *_], _ = batches(net, drawn, kinds=("gaussian_noise",), per_cause=3)
    level = int(weak.severity[0])
    assert weak.strength[0] == f"severity {level}"
    strong, _ = batches(net, drawn, kinds=("gaussian_noise",), per_cause=3, strength=5)
    assert {int(level) for some in strong for level in some.severity} == {5}


def test_the_same_seed_plants_the_same_mistakes(net, drawn):
    first, second, other = (batches(net, drawn, kinds=("covered",), per_cause=4, seed=seed)[0] for seed in (1, 1, 2))
    assert [some.keys for some in first] == [some.keys for some in second]
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    assert [some.keys for some in first] != [some.keys for some in other]


def test_a_cause_that_cannot_be_planted_is_counted_and_not_filled_up(many):
    always = Classifier(Always(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32))
    found, tally = batches(always, many, kinds=("covered",), per_cause=3, tries=2)
    assert found == []
    assert tally.planted["occluded"] == 0
    assert tally.tried["occluded"] == 6


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"causes": ("corrupton",)}, InputError, 'no cause "corrupton".*nearest: "corruption"'),
        ({"kinds": ("frog",)}, InputError, 'no kind "frog".*nearest: "fog"'),
        ({"strength": 6}, InputError, "strength must be in 1..5, got 6"),
        ({"per_cause": 0}, InputError, "per_cause must be at least 1"),
        ({"causes": ("shift",)}, InputError, "shift needs pictures that whywrong draws"),
        ({"kinds": ("morph",)}, InputError, "confusion morph needs pictures that whywrong draws"),
        ({"per_cause": 50}, DataError, "50 mistakes a cause need as many images.*there are 24"),
        ({"kinds": ("covered",), "per_cause": 3, "on_object": True}, DataError, "--on-object needs masks or boxes"),
    ],
)
def test_bad_wishes_are_refused_by_name(many, settings, error, words):
    net = Classifier(Brightness(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32))
    with pytest.raises(error, match=words):
        batches(net, many, **settings)


def test_a_classifier_that_is_never_right_is_refused(many):
    wrong = Classifier(
        Brightness(sign=-1), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32)
    )
    with pytest.raises(DataError, match=r"predicts none of 24 images as labelled.*whywrong check"):
        batches(wrong, many, causes=("label",), per_cause=3)


def test_without_gradients_attacks_are_left_out_and_said_so(many):
    net = Brightness()
    scores = Classifier(
        lambda x: net(x) + 0,
        classes=ClassList(("dark", "light")),
        preprocess=InputSpec(height=32, width=32),
    )
    _, tally = batches(scores, many, per_cause=2)
    assert "needs access to GRADIENTS" in tally.refused["adversarial"]
    assert tally.planted["label"] == 2


def test_the_folder_is_read_back_as_verified(tmp_path, photographs):
    """With a resize and a crop in front of the model, the verified pixels must survive being written and read."""
    net = Classifier(
        Brightness(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32, resize=37)
    )
    out = tmp_path / "out"
    tally = plant(net, photographs, out, causes=("label", "corruption", "occluded"), per_cause=4)
    assert check(net, open_data(out / "originals")).wrong == 0
    total = sum(tally.planted.values())
    mistakes = open_data(out / "mistakes")
    assert check(net, mistakes).wrong == len(mistakes) == total
    assert {entry.cause.split(" ")[0] for entry in mistakes.entries()} == set(tally.planted)
    with open(out / "planted.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == total
    for row in rows:
        before, after, changed = (np.asarray(Image.open(out / row[name])) for name in ("original", "path", "changed"))
        inside = np.asarray(before != after).any(-1)
        assert ((changed > 0) <= inside).all()
        assert row["kind"] in ("random", "near") or inside.any()


def test_images_of_one_class_get_no_wrong_label(tmp_path, photographs):
    net = Classifier(Brightness(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32))
    shutil.rmtree(photographs / "dark")
    tally = plant(net, photographs, tmp_path / "out", causes=("label",), per_cause=4)
    assert tally.tried["label"] > 0
    assert tally.planted["label"] == 0


def test_a_stop_before_the_first_mistake_leaves_the_way_free(tmp_path, photographs):
    net = Classifier(Brightness(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32))
    out = tmp_path / "out"
    with pytest.raises(DataError, match="50 mistakes a cause"):
        plant(net, photographs, out, per_cause=50)
    assert plant(net, photographs, out, causes=("label",), per_cause=2).planted["label"] == 2


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(tmp_path, photographs):
    net = Classifier(Brightness(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32))
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        plant(net, photographs, out, per_cause=2)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("notes.txt", "mine")]


@pytest.mark.parametrize("out", [".", "photographs", "photographs/planted", "photographs/dark"])
def test_nothing_is_planted_into_or_around_the_photographs(tmp_path, photographs, out):
    net = Classifier(Brightness(), classes=ClassList(("dark", "light")), preprocess=InputSpec(height=32, width=32))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunFolderError, match="name a"):
        plant(net, photographs, tmp_path / out, per_cause=2)
    assert sorted(tmp_path.rglob("*")) == before


class Brightness(nn.Module):
    """Class 1 where the picture is brighter than middle grey."""

    def __init__(self, sign: int = 1) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0 * sign))

    def forward(self, x):
        score = self.scale * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-score, score], 1)


class Always(nn.Module):
    """Reads every picture as its left upper pixel says, which no cover reaches."""

    def forward(self, x):
        score = 100 * (x[:, :, 0, 0].mean(1) - 0.5)
        return torch.stack([-score, score], 1)


@pytest.fixture
def photographs(tmp_path):
    """Twenty-four dark and light pictures of 40 x 48 pixels in class folders."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    for label, level in (("dark", 118), ("light", 138)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(rng.normal(level, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The same as arrays of 32 x 32; the left upper pixel says the class too."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = np.clip(rng.normal(118 + 20 * labels[:, None, None, None], 30, (24, 32, 32, 3)), 0, 255).astype(np.uint8)
    images[:, 0, 0] = 255 * labels[:, None]
    file = tmp_path_factory.mktemp("arrays") / "many.npz"
    np.savez(file, images=images, labels=np.array(["dark", "light"])[labels])
    return file
