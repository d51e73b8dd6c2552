"""Every statement that a method or its part of the report makes, and how to hear whether it was made.

A statement says more than what was measured: that a change means something, that a place matters. What a method only
measures (distances, maps, sizes of groups) is no statement; a method without any is listed with what it gives instead.
The components that ``whywrong spurious`` calls harmful are no statement about an image: they have tests of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from whywrong.api import load_classifier, open_data
from whywrong.core.discoveries import confirm
from whywrong.core.randomness import row_keys
from whywrong.core.registry import methods, resolve
from whywrong.data.batches import load_images
from whywrong.explain.spurious import (
    Features,
    NeuralPCAConfig,
    class_components,
    find_levels,
    harmful,
    image_features,
)
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer
from whywrong.reproduce.null_cases import NullCase
from whywrong.runs.queries.comparisons import define_runner_up
from whywrong.runs.work.predict import scored

FEWEST = 8  # images of a class that components are taken from, in half of the pictures
JUDGES = ("planted:vit", "planted:cnn-robust")


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said, and of which images of a case of a shipped net it was said: (N,) bool."""

    words: str
    said: Callable[[NullCase, str], Tensor]


@functools.cache
def pictures(net: str) -> tuple[Classifier, Tensor, Tensor]:
    """A shipped net with the drawn test pictures and their classes."""
    classifier = load_classifier(net, batch_size=64)
    source = open_data("planted:test")
    parts = list(load_images(source, spec=classifier.preprocess, classes=classifier.classes, batch_size=64))
    return classifier, torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])


def result_of(method: str, case: NullCase, **settings: Any) -> Any:
    """What a registered method finds in a case."""
    entry = methods()[method]
    config = replace(resolve(entry.config)(), **settings)
    return resolve(entry.function)(case.classifier, case.x, case.y, config=config)


def semantic(case: NullCase, net: str) -> Tensor:
    """Counterfactuals into the label that judges believe, so that they are drawn as explanations."""
    judges = tuple(judge for judge in JUDGES if judge != net)
    found = result_of("counterfactuals", case, judges=judges).entries
    said = torch.zeros(len(case.x), dtype=torch.bool)
    for row, role, trust, guide in zip(found.row.tolist(), found.role, found.trust, found.guide, strict=True):
        said[row] |= role == "true" and trust == "semantic" and guide != "none"
    return said


@functools.cache
def role_play(net: str, most: int) -> np.ndarray:
    """What covering brings out in images that the net reads right, asked for their runner-up."""
    classifier, x, y = pictures(net)
    order = classifier.logits(x).argsort(1, descending=True)
    rows = (order[:, 0] == y).nonzero().flatten()[:most]
    return result_of("covering", NullCase("role play", classifier, x[rows], order[rows, 1])).v.numpy()


def place_confirmed(case: NullCase, net: str) -> Tensor:
    """Places that stand out from the role-played images of the net, and turn the prediction into the label."""
    found = result_of("covering", case)
    controls = role_play(net, max(40, len(case.x)))
    return torch.from_numpy(confirm(found.v.numpy(), found.turned.numpy(), controls).kept)


def _predictions(classifier: Classifier, x: Tensor, y: Tensor) -> pa.Table:
    """The columns of view ``predictions`` that others are compared by, as a run stores them."""
    columns = scored(classifier.logits(x), y.tolist(), row_keys(0, len(x)))
    n = len(x)
    none = {name: pa.nulls(n, pa.string()) for name in ("key", "label_name", "predicted_name", "same_as")}
    about = {"item_id": [f"{row:05}" for row in range(n)], "status": ["ok"] * n, "label": y.tolist()}
    return pa.table({**about, **columns, **none})


def clear_runner_up(case: NullCase, net: str) -> Tensor:
    """The label of the case far ahead of the next class, by the view of a run on the pictures of its own model."""
    _, x, y = pictures(net)
    with duckdb.connect() as connection:
        connection.register("predictions", _predictions(case.classifier, x, y))
        connection.register("errors", _predictions(case.classifier, case.x, case.y))
        connection.execute("create table classes (index bigint, name varchar)")
        define_runner_up(connection)
        rows = connection.sql("select clear from runner_up order by item_id").fetchall()
    return torch.tensor([bool(clear) for (clear,) in rows])


def features_of(case: NullCase) -> Features:
    """What the search for spurious components keeps of the images of a case."""
    rows = torch.arange(len(case.x)).split(240)
    return Features.cat([image_features(case.classifier, case.x[some], case.y[some])[0] for some in rows])


def harmful_components(classifier: Classifier, reference: Features, held_out: Features) -> Tensor:
    """(L,) bool, the components of all classes, found in ``reference``: which ``whywrong spurious`` calls harmful."""
    last = find_last_layer(classifier, (3, 64, 64))
    found, config = [], NeuralPCAConfig(min_images=FEWEST)
    for index in range(classifier.num_classes):
        own, others = reference[reference.label == index], reference[reference.label != index]
        if len(own) >= FEWEST:
            weight, bias = last.weight[index], float(last.bias[index])
            parts = class_components(own.phi, own.logits[:, index], weight, bias, index, config=config)
            found.append((parts, find_levels(parts, own.phi, others.phi)))
    searched = sum(len(parts) for parts, _ in found)
    judged = [harmful(parts, levels, held_out, searched=searched) for parts, levels in found]
    return torch.tensor([harm.verdict == "harmful" for harms in judged for harm in harms])


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "covering": (Statement("hiding this place brings out the label and no other class", place_confirmed),),
    "counterfactuals": (Statement("other models see the change as well", semantic),),
    "runner_up": (Statement("the true class is the clear runner-up", clear_runner_up),),  # a view, without a method
}

NO_STATEMENT: dict[str, str] = {
    "black_box": "distances and queries of changes that were asked",
    "cam": "what a score is made of: shares of a logit, which add up to it",
    "interventions": "shares of edits, which the verdict compares with those of correct images",
    "inverted": "distances, and maps of where the model is sensitive",
    "patch_groups": "what the model predicts with patches hidden",
    "profiles": "sizes of interactions, with intervals and their noise",
    "smallest_fix": "distances in a chosen norm, and the change itself",
    "suppression": "shares of a change in two scores, beside the same change with random signs",
    "relevance": "shares of two scores by pixel, and how far their strongest places agree",
    "signs": "raw numbers of pixels, scores and answers; what is unusual is for the verdict to say",
}
