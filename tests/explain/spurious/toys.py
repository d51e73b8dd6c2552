"""A net whose features are known, and images with an object and a cue."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.api.spurious import SpuriousReport, spurious_report
from whywrong.core.classes import ClassList
from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.registry import find_analysis
from whywrong.data.sources import open_source
from whywrong.data.sources.base import Source
from whywrong.explain.analysis import AnalysisContext
from whywrong.explain.spurious import Features
from whywrong.explain.spurious.analysis import SpuriousResult
from whywrong.explain.spurious.class_changes import Changes, change_classes
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.search import Search, search_spurious
from whywrong.models.classifier import Classifier
from whywrong.runs import identity
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.store.results import read_record, read_rows

SIDE = 8
NAMES = ("cat", "dog", "bird")


class Channels(nn.Module):
    """Features are the means of red, green and blue; red and green are what cats and dogs are made of, blue is a cue
    that speaks for cat."""

    def __init__(self, rotation: Tensor | None = None) -> None:
        super().__init__()
        rotation = torch.eye(3) if rotation is None else rotation
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Linear(3, 3)
        weight = torch.tensor([[20.0, 0.0, 30.0], [0.0, 20.0, 0.0], [0.0, 0.0, 0.0]])
        with torch.no_grad():
            self.conv.weight.copy_(rotation[:, :, None, None])
            self.head.weight.copy_(weight @ rotation.T)
            self.head.bias.copy_(torch.tensor([0.1, 0.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def toy_classifier(rotation: Tensor | None = None, batch_size: int = 64, recipe: ToyRecipe | None = None) -> Classifier:
    spec = InputSpec(channels=3, height=SIDE, width=SIDE, resize=None, interpolation="bilinear", mean=None, std=None)
    return Classifier(
        Channels(rotation), classes=ClassList(NAMES), preprocess=spec, batch_size=batch_size, recipe=recipe
    )


@dataclass(frozen=True)
class ToyRecipe:
    """Rebuilds the toy in a worker process."""

    model: str = "toy"

    def build(self) -> Classifier:
        return toy_classifier(recipe=self)


def toy_images(n: int, cue_share: tuple[float, float, float] = (0.5, 0.0, 0.0), seed: int = 0) -> tuple[Tensor, ...]:
    """Images (3n, 3, 8, 8), classes, and which carry the cue: a blue square in the upper left corner."""
    label = torch.arange(3 * n) % 3
    keys = row_keys(seed, 3 * n)
    x = 0.2 * keyed_uniform(keys, (3, SIDE, SIDE))
    x[:, 2] = 0.05 * x[:, 2]
    strength = 0.25 + 0.1 * keyed_uniform(keys, (), 1)
    for index in (0, 1):
        x[label == index, index] += strength[label == index, None, None]
    cue = keyed_uniform(keys, (), 2) < torch.tensor(cue_share)[label]
    x[cue, 2, :4, :4] = 1.0
    return x.clamp(0, 1), label, cue


def by_hand(phi: Tensor, classifier: Classifier, label: Tensor) -> Features:
    head = classifier.module.head  # type: ignore[union-attr]
    return Features(phi, phi @ head.weight.detach().T + head.bias.detach(), label)  # type: ignore[operator, union-attr]


def searched(
    classifier: Classifier, source: Source, reference: Source | None = None, *, config: SpuriousConfig | None = None
) -> Search:
    """The search alone, in a folder that is gone afterwards."""
    return run_step("search_only", classifier, source, reference, config or SpuriousConfig()).search


def changed(classifier: Classifier, source: Source, reference: Source | None, config: SpuriousConfig) -> Changes:
    """The search and the route over classes, without pictures."""
    found = run_step("changes_only", classifier, source, reference, config).changes
    assert found is not None
    return found


def run_step(
    function: str, classifier: Classifier, source: Source, reference: Source | None, config: SpuriousConfig
) -> SpuriousResult:
    """Run a part of the analysis."""
    analysis = replace(find_analysis("spurious"), function=f"{__name__}:{function}")
    images = {"data": source} if reference is None else {"data": source, "reference": reference}
    with tempfile.TemporaryDirectory() as folder:
        result = run_analysis(analysis, classifier, images, Path(folder) / "out", config=config)
    assert isinstance(result, SpuriousResult)
    return result


def search_only(context: AnalysisContext, *, config: SpuriousConfig) -> SpuriousResult:
    """The analysis without pictures and changes."""
    return SpuriousResult(search_spurious(context, config), {"source": None, "identity": "toy"}, context.passes)


def changes_only(context: AnalysisContext, *, config: SpuriousConfig) -> SpuriousResult:
    """The analysis without pictures."""
    found = search_only(context, config=config)
    return replace(found, changes=change_classes(context, found.search))


SHARD = 50  # images of a unit
SETTINGS = {"changes": True, "changed_steps": 2, "changed_images": 20, "changed_classes": 2}


def toy_report(
    files: tuple[Path, Path],
    folder: Path,
    workers: int = 1,
    told: list[Any] | None = None,
    **settings: Any,
) -> SpuriousReport:
    """The whole analysis with changes into two classes; ``files`` are reference and data."""
    return spurious_report(
        ToyRecipe().build(),
        open_source(files[1]),
        open_source(files[0]),
        folder,
        settings=SETTINGS | settings,
        options=AnalysisOptions(workers=workers),
        progress=None if told is None else told.append,
    )


def toy_search_killed(files: tuple[Path, Path], folder: Path, kill_at: int) -> None:
    """The same in a process that ends at its ``kill_at``-th commit."""
    identity.SHARD_SIZE = SHARD
    rename, seen = os.replace, 0

    def rename_and_die(source: Any, target: Any) -> None:
        nonlocal seen
        seen += 1
        rename(source, target)
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = rename_and_die
    toy_report(files, folder)


def read_search(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The record, the components and the examples."""
    analysis = find_analysis("spurious")
    record = read_record(folder, analysis, "whywrong spurious")
    return record, read_rows(folder, analysis, "components"), read_rows(folder, analysis, "examples")
