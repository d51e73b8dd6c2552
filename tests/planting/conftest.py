"""A shipped net, pictures that whywrong draws, and mistakes planted in them."""

from __future__ import annotations

import pytest
import torch
from tests.planting.making import batches

from whywrong.data.planted.sets import open_set, plain_set
from whywrong.data.sources import Source
from whywrong.data.sources.base import SourceSpec
from whywrong.data.sources.planted import PlantedSource
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier


@pytest.fixture(scope="session")
def net() -> Classifier:
    return load_classifier("planted:cnn", batch_size=64)


@pytest.fixture(scope="session")
def drawn() -> Source:
    """The first pictures of ``planted:test``; to draw and to read all of them takes six seconds each time."""
    scene = open_set("test").scene[torch.arange(240)]
    return PlantedSource(SourceSpec(kind="planted", path="test"), plain_set(scene))


@pytest.fixture(scope="session")
def planted(net, drawn):
    """Six mistakes of every cause, and how many were tried."""
    return batches(net, drawn, per_cause=6)
