"""Train and measure the arms of a repair in stored units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.errors import AccessError, ModelError, NonFiniteError
from whywrong.core.randomness import item_keys
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisWorker
from whywrong.explain.cam import cam
from whywrong.models.classifier import Classifier
from whywrong.verdicts.repair.batches import Images, batches
from whywrong.verdicts.repair.config import FIXES, REGIONS
from whywrong.verdicts.repair.training import best_share, predictions, train

_WINDOW = 0.375  # side of the misleading window, as a share of the image


@dataclass(frozen=True, slots=True)
class ImageList:
    """Images of a part.

    Attributes:
        entries: N entries.
        label: (N,) int64, class to learn or to compare with.
        boxes: (N, 4) float32, left, top, right, bottom of the misleading region; NaN if unknown.
        images: Name of their set.
    """

    entries: tuple[Entry, ...]
    label: np.ndarray
    boxes: np.ndarray
    images: str


@dataclass(frozen=True, slots=True)
class ArmUnit:
    """One arm.

    Attributes:
        arm: Its name.
        errors, correct: Images to train on; kept in memory.
        choose: Images that choose how far the weights move; kept in memory.
        held: Images that measure.
        apart: Digests of the content of these two, which is not trained on, whatever set it is in.
    """

    arm: str
    errors: ImageList
    correct: ImageList
    choose: ImageList
    held: ImageList
    apart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArmPart:
    """What an arm did.

    Attributes:
        arm: Its name.
        share: How far the weights moved, 0 to 1.
        items: Held-out items that could be read.
        label, before, after: (N,) int64 classes of them.
        trained_errors: Number of errors that could be trained on.
        names, weights: Names and values of the weights that changed.
        forwards, backwards: Passes of the model and of its copy.
        reason: Why the arm was not trained; empty if it was.
    """

    arm: str
    share: float
    items: tuple[str, ...]
    label: np.ndarray
    before: np.ndarray
    after: np.ndarray
    trained_errors: int
    names: tuple[str, ...]
    weights: tuple[np.ndarray, ...]
    forwards: int
    backwards: int
    reason: str


def train_arm(worker: AnalysisWorker, unit: ArmUnit) -> ArmPart:
    """Train one arm and predict the held-out images with it."""
    classifier, config = worker.classifier, worker.config
    start = classifier.forwards, classifier.backwards
    try:
        errors, items = _load(worker, unit.errors)
        correct, _ = _load(worker, unit.correct, frozenset(unit.apart))
        if not len(errors) or not len(correct):
            return _nothing(unit.arm, "no image to train on can be read")
        errors = _prepared(worker, errors, items, unit.arm)
        trained, old = train(classifier, batches(errors, correct, unit.arm, config), config)
    except (AccessError, ModelError, NonFiniteError) as error:
        return _nothing(unit.arm, str(error))
    worker.watch(trained)
    choose, _ = _load(worker, unit.choose)
    was_right = int((predictions(classifier, choose.x) == choose.y).sum())
    share = best_share(trained, old, choose.x, choose.y, was_right)
    assert trained.module is not None
    now = trained.module.state_dict()
    changed = {name: value for name, value in now.items() if not torch.equal(value, old[name])}
    items, before, after = _both(worker, unit.held, trained)
    of_item = {entry.item_id: label for entry, label in zip(unit.held.entries, unit.held.label.tolist(), strict=True)}
    return ArmPart(
        arm=unit.arm,
        share=share,
        items=items,
        label=np.array([of_item[item] for item in items], np.int64),
        before=before,
        after=after,
        trained_errors=len(errors),
        names=tuple(changed),
        weights=tuple(value.cpu().numpy() for value in changed.values()),
        forwards=classifier.forwards - start[0] + trained.forwards,
        backwards=classifier.backwards - start[1] + trained.backwards,
        reason="",
    )


def _nothing(arm: str, reason: str) -> ArmPart:
    none = np.zeros(0, np.int64)
    return ArmPart(arm, 0.0, (), none, none, none, 0, (), (), 0, 0, reason)


def _both(
    worker: AnalysisWorker, images: ImageList, trained: Classifier
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Predict images with the model and with its copy, batch by batch."""
    items: list[str] = []
    answers: tuple[list[Tensor], list[Tensor]] = [], []
    for batch in worker.batches(images.entries, images.images):
        items += [item.entry.item_id for item in batch.items]
        for found, model in zip(answers, (worker.classifier, trained), strict=True):
            found.append(model.predict(batch.x.to(model.device)).cpu())
    before, after = (torch.cat(found).numpy() if found else np.zeros(0, np.int64) for found in answers)
    return tuple(items), before, after


def _prepared(worker: AnalysisWorker, errors: Images, items: Sequence[str], arm: str) -> Images:
    """Replace errors by their fixes, or find the regions that mislead, where the arm needs it.

    Raises:
        AccessError, ModelError: The model allows neither.
    """
    if arm == FIXES:
        return _fixed(worker, errors, item_keys(worker.config.seed, items, "repair"))
    if arm == REGIONS:
        unknown = errors.boxes.isnan().any(1)
        if bool(unknown.any()):
            boxes = errors.boxes.clone()
            boxes[unknown] = _windows(worker, errors.x[unknown], errors.y[unknown])
            return Images(errors.x, errors.y, boxes)
    return errors


def _fixed(worker: AnalysisWorker, errors: Images, keys: Tensor) -> Images:
    """Return the smallest fixes in whole grey levels; an error without one stays as it is."""
    classifier, size = worker.classifier, worker.classifier.batch_size
    settings = InvertedConfig(polish=0, polish_other=0)
    parts = []
    for rows in torch.arange(len(errors)).split(size):
        x, y = errors.x[rows].to(classifier.device).float() / 255, errors.y[rows].to(classifier.device)
        nothing = torch.zeros(len(rows), dtype=torch.bool, device=classifier.device)
        result = invert(classifier, x, y, keys=keys[rows].to(classifier.device), detail=nothing, config=settings)
        parts.append(torch.where(result.u8_fixed.view(-1, 1, 1, 1), result.fix_u8, (x * 255).round().byte()).cpu())
    return Images(torch.cat(parts), errors.y, errors.boxes)


def _windows(worker: AnalysisWorker, x: Tensor, y: Tensor) -> Tensor:
    """Return the window with most evidence for the prediction against the label, (N, 4) float32."""
    classifier = worker.classifier
    parts = []
    for rows in torch.arange(len(y)).split(classifier.batch_size):
        images, labels = x[rows].to(classifier.device).float() / 255, y[rows].to(classifier.device)
        maps = cam(classifier, images, labels)
        evidence = (maps.wrong - maps.true).nan_to_num().to(images)
        parts.append(strongest_window(evidence, _WINDOW).cpu())
    return torch.cat(parts)


def strongest_window(evidence: Tensor, side: float) -> Tensor:
    """Find the window that holds most evidence.

    Args:
        evidence: (B, h, w).
        side: Its side, as a share of the map; at least one cell.

    Returns:
        (B, 4) float32, left, top, right, bottom as shares.
    """
    height, width = evidence.shape[1:]
    tall, wide = max(1, round(side * height)), max(1, round(side * width))
    sums = torch.nn.functional.avg_pool2d(evidence[:, None], (tall, wide), stride=1)[:, 0]
    best = sums.flatten(1).argmax(1)
    top, left = best // sums.shape[2], best % sums.shape[2]
    return torch.stack([left / width, top / height, (left + wide) / width, (top + tall) / height], 1).float()


def _load(
    worker: AnalysisWorker, images: ImageList, apart: frozenset[str] = frozenset()
) -> tuple[Images, tuple[str, ...]]:
    """Load the images of a part that can be read, but for some contents; the next arm of the worker takes them over."""
    place = {entry.item_id: row for row, entry in enumerate(images.entries)}
    known = worker.cache.setdefault("repair images", {})
    missing = [entry for entry in images.entries if (images.images, entry.item_id) not in known]
    for batch in worker.batches(missing, images.images) if missing else ():
        pixels = (batch.x * 255).round().byte().cpu()
        for row, item in enumerate(batch.items):
            if item.image_id not in apart:
                known[images.images, item.entry.item_id] = pixels[row]
    items = tuple(entry.item_id for entry in images.entries if (images.images, entry.item_id) in known)
    rows = np.array([place[item] for item in items], np.int64)
    spec = worker.images[images.images].spec
    x = [known[images.images, item] for item in items]
    pixels = torch.stack(x) if x else torch.zeros(0, spec.channels, spec.height, spec.width, dtype=torch.uint8)
    return Images(pixels, torch.from_numpy(images.label[rows]), torch.from_numpy(images.boxes[rows])), items
