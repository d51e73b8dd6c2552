"""Options that name classes and columns, from the command line to the answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

BARE = """
from types import SimpleNamespace

from model import net


def bare():
    model = net()
    del model.classes
    return model


def hugging_face():
    model = bare()
    model.config = SimpleNamespace(id2label={0: "red", 1: "green", 2: "blue"}, label2id={})
    return model
"""
NAMES = ("red", "green", "blue")


@pytest.fixture
def bare(small) -> str:
    """The tiny model without names: the sorted folders, blue, green, red, are in another order than its outputs."""
    path = Path(small.model.rpartition(":")[0]).with_name("bare.py")
    path.write_text(BARE, encoding="utf-8")
    return f"{path}:bare"


def wrong(out: str) -> int:
    found = re.search(r"(\d+) of 30 images wrong", out)
    assert found is not None, out
    return int(found[1])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "\n".join(NAMES)),
        ("list.json", json.dumps(NAMES)),
        ("id2label.json", json.dumps(dict(enumerate(NAMES)))),
        ("class_to_idx.json", json.dumps({"blue": 2, "green": 1, "red": 0})),
        ("config.json", json.dumps({"id2label": dict(enumerate(NAMES))})),
        ("classes.csv", "index,name\n1,green\n2,blue\n0,red\n"),
    ],
)
def test_a_file_of_classes_gives_the_accuracy_of_the_named_model(whywrong, small, bare, tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    ended = whywrong("check", bare, small.images, "--classes", tmp_path / name)
    assert wrong(ended.out) == small.wrong


def test_names_of_a_hugging_face_model_are_its_classes(whywrong, small, bare):
    ended = whywrong("check", bare.replace(":bare", ":hugging_face"), small.images)
    assert wrong(ended.out) == small.wrong


def test_a_model_without_names_asks_and_sorted_labels_are_an_option(whywrong, small, bare):
    asked = whywrong("check", bare, small.images)
    assert asked.code == 2
    assert "--classes FILE" in asked.err
    assert "--classes sorted" in asked.err
    assert wrong(whywrong("check", bare, small.images, "--classes", "sorted").out) > small.wrong


def test_columns_of_a_manifest_are_named_by_option(whywrong, small, tmp_path):
    files = sorted(path.relative_to(small.images) for path in small.images.rglob("[0-9g]*.png"))
    rows = "".join(f"{file},{file.parts[0]},x\n" for file in files)
    (tmp_path / "table.csv").write_text("file_name,colour,note\n" + rows, encoding="utf-8")
    common = ("check", small.model, small.images, "--manifest", tmp_path / "table.csv", "--image-column", "file_name")
    asked = whywrong(*common)
    assert asked.code == 2
    assert "--label-column" in asked.err
    assert wrong(whywrong(*common, "--label-column", "colour").out) == small.wrong
