"""Whose classes count, and in which order: of the model, of classes.json, or as the owner says."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from torch import nn

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.sources import open_source
from whywrong.models.classifier import Classifier
from whywrong.runs.check import check

SPEC = InputSpec(channels=3, height=8, width=8)


class Levels(nn.Module):
    """Class ``order[i]`` for images of grey level 20 i: always right where class order[i] has that level."""

    def __init__(self, classes: int, order: list[int] | None = None) -> None:
        super().__init__()
        self.levels = torch.arange(classes, dtype=torch.float32)[torch.tensor(order or range(classes)).argsort()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -((x.mean((1, 2, 3))[:, None] * 255 / 20 - self.levels) ** 2)


@pytest.fixture
def pictures(tmp_path):
    """Write folders of flat grey pictures; folder i has level 20 i."""

    def write(*names: str):
        for i, name in enumerate(names):
            (tmp_path / "data" / name).mkdir(parents=True)
            for j in range(2):
                Image.new("RGB", (8, 8), (20 * i,) * 3).save(tmp_path / "data" / name / f"{j}.png")
        return open_source(tmp_path / "data")

    return write


def wrong(source, classifier) -> int:
    return check(classifier, source).wrong


@pytest.mark.parametrize(
    "classes",
    [{0: "zebra", 1: "ant"}, {"0": "zebra", "1": "ant"}, {"ant": 1, "zebra": 0}, ("zebra", "ant"), "zebra\nant"],
    ids=str,
)
def test_names_of_the_model_decide_and_not_the_order_of_the_folders(pictures, classes):
    source = pictures("zebra", "ant")
    net = Levels(2)
    net.classes = classes
    assert wrong(source, Classifier(net, preprocess=SPEC)) == 0


@pytest.mark.parametrize("names", [("cat", "dog"), ("c0", "c1"), ("n01440764", "n01443537"), ("0", "dog"), ("cat",)])
def test_a_model_without_names_asks_for_them(pictures, names):
    with pytest.raises(InputError, match=r"does not name its 2 classes.*--classes FILE.*folders 0 to 1") as error:
        check(Classifier(Levels(2), preprocess=SPEC), pictures(*names))
    assert ("--classes sorted" in str(error.value)) == (len(names) == 2)


@pytest.mark.parametrize("names", [("0", "1"), ("00", "01"), ("00000", "00001"), ("1",), ("00", "1")])
def test_folders_named_by_index_need_no_names(pictures, names):
    order = [int(name) for name in names]
    net = Levels(2, order if len(order) == 2 else [1, 0])
    assert wrong(pictures(*names), Classifier(net, preprocess=SPEC)) == 0


def test_sorted_labels_are_the_classes_only_where_the_owner_says_so(pictures):
    report = check(Classifier(Levels(3), classes="sorted", preprocess=SPEC), pictures("ant", "bee", "cat"))
    assert report.wrong == 0
    assert any("as asked: ant, bee, cat" in text for text in report.warnings)


def test_sorted_labels_must_be_as_many_as_outputs(pictures):
    with pytest.raises(InputError, match=r"2 labels .* 3 outputs.*--classes FILE"):
        check(Classifier(Levels(3), classes="sorted", preprocess=SPEC), pictures("ant", "bee"))


@pytest.mark.parametrize(
    "records", [["zebra", "ant"], {"0": "zebra", "1": "ant"}, {"zebra": 0, "ant": 1}, [{"index": 1, "name": "ant"}]]
)
def test_classes_json_beside_the_data_names_the_outputs(pictures, records, tmp_path):
    source = pictures("zebra" if len(records) == 2 else "0", "ant")
    (tmp_path / "data" / "classes.json").write_text(json.dumps(records))
    assert wrong(source, Classifier(Levels(2), preprocess=SPEC)) == 0


def test_labels_in_another_spelling_are_matched_and_noted(pictures):
    source = pictures("Red_Fox", "GREY WOLF")
    report = check(Classifier(Levels(2), classes=["red fox", "grey-wolf"], preprocess=SPEC), source)
    assert report.wrong == 0
    assert any("2 of 2 labels" in text and '"Red_Fox" as "red fox"' in text for text in report.warnings)


def test_a_labels_only_model_without_names_asks_for_them(pictures):
    classifier = Classifier(lambda x: [0] * len(x), output="labels", preprocess=SPEC)
    with pytest.raises(InputError, match="--classes FILE"):
        check(classifier, pictures("ant", "bee"))
