"""Class names in the forms in which models and files carry them: read in the right order, or refused."""

from __future__ import annotations

import collections

import numpy as np
import pandas as pd
import pytest

from whywrong.core.class_names import is_placeholder, read_class_lines, read_class_names
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError

NAMES = ("zebra", "ant", "dog")  # not sorted: an order taken from elsewhere shows


@pytest.mark.parametrize(
    "value",
    [
        list(NAMES),
        NAMES,
        np.array(NAMES),
        np.array([name.encode() for name in NAMES]),
        pd.Index(NAMES),
        pd.Series(NAMES),
        dict.fromkeys(NAMES).keys(),
        {0: "zebra", 1: "ant", 2: "dog"},
        {2: "dog", 0: "zebra", 1: "ant"},
        {"0": "zebra", "1": "ant", "2": "dog"},
        {np.int64(1): "ant", np.int64(0): "zebra", np.int64(2): "dog"},
        {"ant": 1, "dog": 2, "zebra": 0},
        {"ant": np.int32(1), "dog": np.int32(2), "zebra": np.int32(0)},
        collections.OrderedDict(dog=2, zebra=0, ant=1),
        [(1, "ant"), (0, "zebra"), (2, "dog")],
        {"ant": 1, "zebra": 0, "dog": 2}.items(),
        {"id2label": {"0": "zebra", "1": "ant", "2": "dog"}, "architectures": ["ViT"]},
        {"label2id": {"zebra": 0, "ant": 1, "dog": 2}},
        [{"index": 2, "name": "dog"}, {"index": 0, "name": "zebra"}, {"index": 1, "name": "ant"}],
        "zebra\nant\ndog",
        "zebra\r\nant\r\ndog\r\n",
        "\ufeffzebra\nant\ndog\n\n",
        "0 zebra\n1 ant\n2 dog",
        "2: dog\n0: zebra\n1: ant",
        b"zebra\nant\ndog",
        ClassList(NAMES),
    ],
    ids=str,
)
def test_every_form_gives_the_names_in_the_order_of_the_outputs(value):
    assert read_class_names(value) == ClassList(NAMES)


def test_wnids_and_synonyms_are_kept():
    keras = {"1": ["n02", "x"], "0": ["n01440764", "tench"]}
    assert read_class_names(keras).names == ("tench", "n02, x")
    both = {"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}
    assert read_class_names(both) == ClassList(("tench", "goldfish"), ("n01440764", "n01443537"))
    assert read_class_names([("tench", "Tinca tinca"), ("goldfish",)]).names == ("tench, Tinca tinca", "goldfish")
    lines = "n01440764 tench, Tinca tinca\nn01443537 goldfish"
    assert read_class_lines(lines, "f") == ClassList(("tench, Tinca tinca", "goldfish"), ("n01440764", "n01443537"))


def test_numbers_as_names_are_told_from_indices():
    assert read_class_names({"7": 0, "3": 1}).names == ("7", "3")
    assert read_class_names({0: "7", 1: "3"}).names == ("7", "3")
    assert read_class_names("1 cent\n2 cent\n5 cent").names == ("1 cent", "2 cent", "5 cent")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({0: "a", 2: "b"}, "1 is missing"),
        ({1: "a", 2: "b"}, "0 is missing"),
        ({"a": 0, "b": 0}, "index 0 comes twice"),
        ({0: "a", "0": "b"}, "index 0 comes twice"),
        ({"a": 1, "b": 2}, "0 is missing"),
        ({-1: "a", 0: "b"}, "1 is missing"),
        ({0: "a", 1: None}, "index 1: expected the name"),
        ({0: "a", 1: 3}, "index -> name or name -> index"),
        ({0: "a", 1: ""}, "index 1: expected the name"),
        ({"a": True, "b": False}, "index -> name"),
        ({"a": 0.0, "b": 1.0}, "index -> name"),
        ({"a": "x", "b": "y"}, "index -> name"),
        ({}, "no class names"),
        ([], "no class names"),
        ("cat", "the text 'cat'"),
        ("cat,dog", "the text 'cat,dog'"),
        ("a\n\nb", "line 2: expected the name of class 1"),
        ("1 a\n2 b", "0 is missing"),
        ("0 a\n2 b", "1 is missing"),
        ({"cat"}, "a set has no order"),
        (["cat", 3], "entry 1 is 3"),
        ([0, 1, 2], "entry 0 is 0"),
        (["cat", ""], "entry 1: expected the name"),
        (np.array([0.0, 1.0]), "entry 0"),
        (7, "got int"),
        ([[0, 1], [1, 2]], "entry 0"),
        ([b"\xff\xfe", b"b"], "not UTF-8"),
        ([{"index": 1, "name": "a"}], "0..0"),
    ],
    ids=repr,
)
def test_malformed_lists_are_refused_with_the_reason(value, text):
    with pytest.raises(InputError, match=text):
        read_class_names(value)


def test_made_up_names_are_known_as_such():
    assert is_placeholder(ClassList(("LABEL_0", "LABEL_1")))
    assert not is_placeholder(ClassList(("LABEL_0", "cat")))
