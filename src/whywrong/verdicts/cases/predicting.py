"""Predictions of reference images that are not in the run."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Answers of the model for images with a label.

    Attributes:
        item_ids, image_ids, keys: Items, digests of their content, and their names.
        label, predicted, runner_up: (N,) int64; the runner-up is -1 without scores.
    """

    item_ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    keys: tuple[str, ...]
    label: np.ndarray
    predicted: np.ndarray
    runner_up: np.ndarray


def predict_images(context: AnalysisContext, images: str, names: tuple[str, ...]) -> Predictions:
    """Predict all labelled images of a set; images that cannot be read or classified are left out."""
    parts = list(context.over_images("reference predictions", answers, images=images, settings=()))
    text = [tuple(item for part in parts for item in getattr(part, name)) for name in ("item_ids", "image_ids", "keys")]
    label, predicted, runner_up = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("label", "predicted", "runner_up")
    )
    seen: dict[str, str] = {}
    twins = [seen.setdefault(image, item) for item, image in zip(text[0], text[1], strict=True)]
    same_as = [None if twin == item else twin for twin, item in zip(twins, text[0], strict=True)]
    unknown = np.full(len(label), np.nan)
    return Predictions(
        *(np.array(column, object) for column in (*text, same_as)),
        label,
        predicted,
        unknown,
        unknown,
        np.zeros(len(label), np.int64),
        runner_up,
        names,
    )


def answers(worker: AnalysisWorker, entries: tuple[Entry, ...]) -> Answers:
    """Classify a stretch of images."""
    parts = [_of_batch(worker.classifier, batch) for batch in worker.batches(entries)]
    text = [tuple(one for part in parts for one in part[at]) for at in range(3)]
    empty = np.zeros(0, np.int64)
    numbers = [np.concatenate([empty, *(part[at] for part in parts)]) for at in range(3, 6)]
    return Answers(*text, *numbers)


def _of_batch(classifier: Classifier, batch: Batch) -> tuple:
    rows = (batch.y >= 0).nonzero().flatten()
    predicted, runner_up = _answer(classifier, batch.x[rows])
    kept = (predicted >= 0).nonzero().flatten()
    items = [batch.items[row] for row in rows[kept].tolist()]
    return (
        [item.entry.item_id for item in items],
        [item.image_id for item in items],
        [item.entry.key for item in items],
        batch.y[rows][kept].numpy(),
        predicted[kept].numpy(),
        runner_up[kept].numpy(),
    )


def _answer(classifier: Classifier, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted class and runner-up (B,); -1 where the model raises or is not finite."""
    unknown = torch.full((len(x),), -1)
    if not len(x):
        return unknown, unknown
    try:
        with classifier:
            if classifier.access < Access.SCORES:
                return classifier.predict(x.to(classifier.device)).cpu(), unknown
            logits = classifier.logits(x.to(classifier.device)).cpu()
    except ModelRaisedError:
        if len(x) == 1:
            return unknown, unknown
        halves = [_answer(classifier, part) for part in x.split(-(-len(x) // 2))]
        return torch.cat([one[0] for one in halves]), torch.cat([one[1] for one in halves])
    known = logits.isfinite().all(1)
    if logits.shape[1] < 2:
        return logits.argmax(1).where(known, -1), unknown
    first, second = logits.nan_to_num(-torch.inf).topk(2, dim=1).indices.unbind(1)
    return first.where(known, -1), second.where(known, -1)
