"""A linear classifier of smooth patterns, on which every kind of error can be planted in a moment."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import keyed_normal, keyed_uniform, row_keys
from whywrong.data.objects.opening import open_any
from whywrong.models.classifier import Classifier
from whywrong.planting.verdicts.subjects import load_subjects
from whywrong.runs.labelled import LabelledSource

SIDE, CLASSES = 32, 4


def patterns():
    rough = keyed_normal(row_keys(5, CLASSES), (3, 6, 6))
    smooth = nn.functional.interpolate(rough, (SIDE, SIDE), mode="bicubic")
    smooth = smooth - smooth.mean((1, 2, 3), keepdim=True)
    return smooth / smooth.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * SIDE


def linear_net():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(patterns().flatten(1) / 12)
    preprocess = InputSpec(height=SIDE, width=SIDE)
    return Classifier(net, classes=ClassList(("north", "east", "south", "west")), preprocess=preprocess)


def pictures(count: int):
    """Pictures of one pattern with a weaker second one and noise; about one in ten is misread."""
    keys = row_keys(6, count)
    y = torch.arange(count) % CLASSES
    other = (y + 1 + (keyed_uniform(keys, (), 1) * (CLASSES - 1)).long()) % CLASSES
    share = 1.15 * keyed_uniform(keys, (), 2).view(-1, 1, 1, 1)
    x = 0.5 + 0.10 * (patterns()[y] + share * patterns()[other]) + 0.02 * keyed_normal(keys, (3, SIDE, SIDE), 3)
    return (x.clamp(0, 1) * 255).round().byte(), y


@pytest.fixture(scope="module")
def net():
    return linear_net()


@pytest.fixture(scope="module")
def data():
    images, labels = pictures(600)
    return LabelledSource(open_any((images.permute(0, 2, 3, 1).numpy(), labels.numpy())))


@pytest.fixture(scope="module")
def subjects(net, data):
    return load_subjects(net, data, data.settle(net))
