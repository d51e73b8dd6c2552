"""Predictions for reference images that are not in the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from whywrong.core.access import Access
from whywrong.core.errors import ModelRaisedError
from whywrong.data.batches import Batch
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.models.classifier import Classifier
from whywrong.verdicts.cases.predictions import Predictions


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions of the model for labelled images.

    Attributes:
        item_ids, image_ids, keys: Ids, content digests and names of the items.
        label, predicted, runner_up: (N,) int64; the runner-up is -1 without scores.
        margin: (N,) float64, logit of the prediction minus that of the runner-up; NaN without scores.
    """

    item_ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    label: np.ndarray
    predicted: np.ndarray
    runner_up: np.ndarray
    margin: np.ndarray


def predict_images(context: AnalysisContext, images: str, names: tuple[str, ...]) -> Predictions:
    """Predict all labelled images of a set that can be read and classified."""
    parts = list(context.over_images("reference predictions", answers, images=images, settings=()))
    text = {name: np.array([one for part in parts for one in getattr(part, name)], object) for name in _TEXT}
    numbers = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _NUMBERS}
    unknown = np.full(len(numbers["label"]), np.nan)
    first: dict[str, str] = {}
    twins = [first.setdefault(image, item) for item, image in zip(text["item_ids"], text["image_ids"], strict=True)]
    return Predictions(
        item_ids=text["item_ids"],
        image_ids=text["image_ids"],
        keys=text["keys"],
        same_as=np.array([None if a == b else a for a, b in zip(twins, text["item_ids"], strict=True)], object),
        label=numbers["label"],
        predicted=numbers["predicted"],
        confidence=unknown,
        true_confidence=unknown,
        rank=np.zeros(len(unknown), np.int64),
        margin=numbers["margin"],
        runner_up=numbers["runner_up"],
        names=names,
    )


def answers(worker: AnalysisWorker, entries: tuple[Entry, ...]) -> Answers:
    """Classify the images of some entries."""
    parts = [_of_batch(worker.classifier, batch) for batch in worker.batches(entries)]
    found: dict[str, Any] = {name: tuple(one for part in parts for one in getattr(part, name)) for name in _TEXT}
    for name, kind in _NUMBERS.items():
        found[name] = np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
    return Answers(**found)


_TEXT = ("item_ids", "image_ids", "keys")
_NUMBERS = {"label": np.int64, "predicted": np.int64, "runner_up": np.int64, "margin": np.float64}


def _of_batch(classifier: Classifier, batch: Batch) -> Answers:
    rows = (batch.y >= 0).nonzero().flatten()
    predicted, runner_up, margin = _answer(classifier, batch.x[rows])
    kept = (predicted >= 0).nonzero().flatten()
    items = [batch.items[row] for row in rows[kept].tolist()]
    return Answers(
        tuple(item.entry.item_id for item in items),
        tuple(item.image_id for item in items),
        tuple(item.entry.key for item in items),
        *(column.numpy() for column in (batch.y[rows][kept], predicted[kept], runner_up[kept], margin[kept])),
    )


_Answer = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _answer(classifier: Classifier, x: torch.Tensor) -> _Answer:
    """Return prediction and runner-up (B,), -1 where the model raises or is not finite, and the margin (B,)."""
    unknown, nothing = torch.full((len(x),), -1), torch.full((len(x),), torch.nan, dtype=torch.float64)
    if not len(x):
        return unknown, unknown, nothing
    try:
        with classifier:
            if classifier.access < Access.SCORES:
                return classifier.predict(x.to(classifier.device)).cpu(), unknown, nothing
            logits = classifier.logits(x.to(classifier.device)).cpu()
    except ModelRaisedError:
        if len(x) == 1:
            return unknown, unknown, nothing
        first, second = (_answer(classifier, part) for part in x.split(-(-len(x) // 2)))
        return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]), torch.cat([first[2], second[2]])
    known = logits.isfinite().all(1)
    if logits.shape[1] < 2:
        return logits.argmax(1).where(known, -1), unknown, nothing
    best = logits.nan_to_num(-torch.inf).double().topk(2, dim=1)
    margin = (best.values[:, 0] - best.values[:, 1]).where(known, torch.nan)
    return best.indices[:, 0].where(known, -1), best.indices[:, 1].where(known, -1), margin
