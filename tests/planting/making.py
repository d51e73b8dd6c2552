"""Mistakes planted in memory."""

from __future__ import annotations

from typing import Any

from whywrong.api import open_data
from whywrong.data.sources import Source
from whywrong.models.classifier import Classifier
from whywrong.planting.mistakes import Tally
from whywrong.planting.perturbations import PlantConfig
from whywrong.planting.plant import plant
from whywrong.runs.labelled import LabelledSource


def batches(classifier: Classifier, data: Any, **settings: Any) -> tuple[list[Any], Tally]:
    """All batches of mistakes planted in a source, or in what ``open_data`` opens, and the tally."""
    labelled = LabelledSource(data if isinstance(data, Source) else open_data(data))
    tally = Tally(settings.get("per_cause", 100))
    config = PlantConfig(**settings)
    return list(plant(classifier, labelled, labelled.settle(classifier), config=config, tally=tally)), tally
