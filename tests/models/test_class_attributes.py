"""Class names on a model: under which attributes they are found, and what belongs to the model instead."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import ModelError
from whywrong.models.class_attributes import classes_of
from whywrong.models.classifier import Classifier

NAMES = ("zebra", "ant", "dog")
DOWN = {"0": "zebra", "1": "ant", "2": "dog"}
UP = {"ant": 1, "dog": 2, "zebra": 0}


class Net(nn.Module):
    """Logits (B, 3): class 1 for bright images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = x.mean((1, 2, 3))
        return torch.stack([1 - level, level, level * 0], 1)


def net(**attributes) -> nn.Module:
    model = Net()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    "attributes",
    [
        {"classes": NAMES},
        {"classes": np.array(NAMES)},
        {"classes": DOWN},
        {"classes": UP},
        {"classes": "zebra\nant\ndog\n"},
        {"class_names": list(NAMES)},
        {"class_to_idx": UP},
        {"idx_to_class": {0: "zebra", 1: "ant", 2: "dog"}},
        {"categories": list(NAMES)},
        {"config": SimpleNamespace(id2label={2: "dog", 0: "zebra", 1: "ant"}, label2id=UP)},
        {"config": {"label2id": UP}},
        {"pretrained_cfg": {"label_names": list(NAMES)}},
        {"default_cfg": SimpleNamespace(label_names=NAMES)},
        {"meta": {"categories": list(NAMES)}},
        {"classes": [], "class_to_idx": UP},
        {"classes": 3, "class_to_idx": UP},
        {"config": SimpleNamespace(id2label={0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}), "classes": NAMES},
    ],
    ids=str,
)
def test_names_are_found_in_the_order_of_the_outputs(attributes):
    assert classes_of(net(**attributes)) == ClassList(NAMES)
    assert Classifier(net(**attributes)).classes == ClassList(NAMES)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"classes": nn.Linear(2, 2)},
        {"classes": nn.Parameter(torch.zeros(3))},
        {"classes": 3},
        {"classes": None},
        {"class_names": []},
        {"classes": len},
        {"config": SimpleNamespace(hidden=3)},
        {"config": {"id2label": {0: "LABEL_0", 1: "LABEL_1"}}},
        {"num_classes": 5, "pretrained_cfg": {"label_names": list(NAMES)}},
    ],
    ids=str,
)
def test_what_belongs_to_the_model_is_no_list_of_names(attributes):
    assert classes_of(net(**attributes)) is None


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"classes": {0: "a", 2: "b"}}, "classes of the model: .*1 is missing.*--classes"),
        ({"class_to_idx": {"a": 0, "b": 0}}, "class_to_idx of the model: index 0 comes twice.*--classes"),
        ({"config": {"id2label": {1: "a", 2: "b"}}}, "config.id2label of the model"),
        ({"classes": {"cat", "dog"}}, "a set has no order"),
        ({"classes": "cat"}, "the text 'cat'"),
        (
            {"classes": ["ant", "dog"], "class_to_idx": {"dog": 0, "ant": 1}},
            "classes and class_to_idx.*different orders",
        ),
    ],
)
def test_names_that_cannot_be_read_stop_and_are_never_dropped(attributes, text):
    with pytest.raises(ModelError, match=text):
        Classifier(net(**attributes))


def test_names_inside_a_wrapper_are_found():
    assert Classifier(nn.DataParallel(net(classes=NAMES))).classes == ClassList(NAMES)


def test_names_that_are_passed_win_over_broken_ones_on_the_model():
    assert Classifier(net(classes={0: "a", 5: "b"}), classes=UP).classes == ClassList(NAMES)


@pytest.mark.parametrize("names", [("a", "b"), tuple("abcd")])
def test_another_number_of_names_than_outputs_stops(names):
    with pytest.raises(ModelError, match=r"names .* 3 scores.*--classes"):
        Classifier(net(classes=names)).logits(torch.zeros(1, 3, 2, 2))
