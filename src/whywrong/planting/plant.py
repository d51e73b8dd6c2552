"""Plant mistakes with known causes, each verified: correct without the cause, wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import BadItemError, DataError
from whywrong.core.randomness import item_keys, keyed_bits
from whywrong.data.batches import to_tensor
from whywrong.data.items import load_item
from whywrong.data.sources.base import Entry
from whywrong.data.sources.planted import PlantedSource
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import CAUSES, SEVERITIES, Candidate, Perturbation, PlantingBatch
from whywrong.planting.mistakes import Planted, Tally
from whywrong.planting.perturbations import PlantConfig, choose_perturbations
from whywrong.runs.labelled import LabelledSource, Settled
from whywrong.runs.progress import Progress


def plant(
    classifier: Classifier,
    data: LabelledSource,
    settled: Settled,
    *,
    config: PlantConfig | None = None,
    tally: Tally | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Planted]:
    """Plant mistakes of each cause until enough are verified or the tries are used up.

    Args:
        classifier: The model whose mistakes are planted.
        data: Labelled images.
        settled: Result of ``data.settle(classifier)``.
        config: Settings.
        tally: Filled during planting.
        progress: Called after every step with the cause and the number of its planted mistakes.

    Yields:
        Verified mistakes only, and never more of a cause than wanted.

    Raises:
        InputError: A cause or kind requested by name is impossible for these images or this classifier.
        DataError: Too few images are predicted as labelled, or required masks are missing.
    """
    config = config or PlantConfig()
    tally = tally or Tally(config.per_cause)
    is_drawn = isinstance(data.source, PlantedSource)
    kinds, tally.refused = choose_perturbations(config, is_drawn=is_drawn, access=classifier.access)
    with classifier:
        right = _right(classifier, data, settled, config, tally)
        for cause in CAUSES:
            if some := [kind for kind in kinds if kind.cause == cause]:
                yield from _cause(classifier, data, settled, right, some, config, tally, progress)


def _right(
    classifier: Classifier, data: LabelledSource, settled: Settled, config: PlantConfig, tally: Tally
) -> list[Entry]:
    """Return the entries that the classifier predicts as labelled."""
    limit = max(2_000, config.per_cause * config.tries)
    right: list[Entry] = []
    for x, y, items in data.read(classifier, settled, limit=limit):
        tally.read += len(y)
        hit = (classifier.predict(x) == y).tolist()
        right += [item.entry for item, ok in zip(items, hit, strict=True) if ok]
    tally.right = len(right)
    if not right:
        raise DataError(
            f"the classifier predicts none of {tally.read} images as labelled; a planted mistake needs an image that "
            "is right without it. `whywrong check` shows whether model and labels fit together"
        )
    if len(right) < config.per_cause:
        raise DataError(
            f"{config.per_cause} mistakes a cause need as many images that are predicted as labelled, and there are "
            f"{len(right)} (of {tally.read}): give more images or ask for fewer mistakes"
        )
    return right


def _cause(
    classifier: Classifier,
    data: LabelledSource,
    settled: Settled,
    right: Sequence[Entry],
    kinds: Sequence[Perturbation],
    config: PlantConfig,
    tally: Tally,
    progress: Callable[[Progress], None] | None,
) -> Iterator[Planted]:
    cause = kinds[0].cause
    keys = item_keys(config.seed, [entry.item_id for entry in right], "order")
    order = keyed_bits(keys, (), CAUSES.index(cause)).argsort()  # a different order of images for every cause
    right = [right[at] for at in order.tolist()][: config.per_cause * config.tries]
    chunk = max(kind.chunk for kind in kinds)
    for start in range(0, len(right), chunk):
        batch, names = _make_batch(classifier, data, settled, right[start : start + chunk], config)
        for number, kind in enumerate(kinds):
            # Each kind gets its share of what is still wanted, so that the first ones do not use it up.
            share = math.ceil((tally.wanted - tally.planted[cause]) / (len(kinds) - number))
            rows = torch.arange(number, len(batch), len(kinds))
            if kind.name == "covered" and config.on_object:
                rows = _with_object(batch, rows)
            tally.tried[cause] += len(rows)
            for planted in _planted_by(kind, batch, names, rows, config):
                some = planted.first(share)
                share -= len(some.true)
                tally.planted[cause] += len(some.true)
                yield some
                if share == 0:
                    break
            if progress is not None:
                progress(Progress(cause, tally.planted[cause], tally.wanted, 0, 0))
            if tally.planted[cause] == tally.wanted:
                return


def _planted_by(
    perturbation: Perturbation, batch: PlantingBatch, keys: tuple[str, ...], rows: Tensor, config: PlantConfig
) -> Iterator[Planted]:
    """Yield mistakes of one perturbation among ``rows``, from weak to strong."""
    severities = range(1, SEVERITIES + 1) if config.strength is None else (config.strength,)
    for severity in severities if perturbation.graded else (1,):
        if not len(rows):
            return
        some = batch.at(rows)
        candidate = perturbation.apply(some, severity)
        image = (candidate.x.clamp(0, 1) * 255).round().byte()
        predicted = batch.classifier.predict(image.float() / 255)
        wrong = (predicted != candidate.label) & (predicted >= 0)
        if candidate.must is not None:
            wrong &= predicted == candidate.must
        if bool(wrong.any()):
            hit = wrong.nonzero().flatten()
            some_keys = tuple(keys[row] for row in rows.tolist())
            yield _planted(perturbation, some, some_keys, candidate, image, predicted, hit, severity)
        rows = rows[~wrong]


def _planted(
    perturbation: Perturbation,
    some: PlantingBatch,
    keys: tuple[str, ...],
    candidate: Candidate,
    image: Tensor,
    predicted: Tensor,
    hit: Tensor,
    severity: int,
) -> Planted:
    return Planted(
        cause=perturbation.cause,
        kind=perturbation.name,
        keys=tuple(keys[row] for row in hit.tolist()),
        original=(some.x[hit] * 255).round().byte(),
        image=image[hit],
        true=some.y[hit],
        label=candidate.label[hit],
        predicted=predicted[hit],
        severity=torch.full_like(hit, severity if perturbation.graded else 0),
        strength=(candidate.strength,) * len(hit),
        objects=None if some.objects is None else some.objects[hit],
        random_keys=some.keys[hit],
        scene=None if some.scene is None else (candidate.scene or some.scene)[hit],
        corruption_severity=torch.full_like(hit, candidate.corruption_severity),
    )


def _make_batch(
    classifier: Classifier, data: LabelledSource, settled: Settled, entries: Sequence[Entry], config: PlantConfig
) -> tuple[PlantingBatch, tuple[str, ...]]:
    """Load the images of some entries."""
    scene, objects = None, None
    classes = torch.tensor(sorted(set(settled.labels.values())))
    if isinstance(data.source, PlantedSource):
        rows = torch.tensor([int(entry.key.rpartition("/")[2]) for entry in entries])
        pictures = data.source.pictures.draw(rows)
        x, objects, scene = pictures.images.float() / 255, pictures.object, data.source.pictures.scene[rows]
        keys = scene.keys
    else:
        entries, pixels, masks = _load(data, settled, entries)
        x = to_tensor(pixels, settled.spec)
        keys = item_keys(config.seed, [entry.item_id for entry in entries], "plant")
        if any(mask is not None for mask in masks):
            nothing = np.zeros(x.shape[2:], dtype=bool)
            objects = torch.from_numpy(np.stack([nothing if mask is None else mask for mask in masks]))
    y = torch.tensor([settled.labels[str(entry.label)] for entry in entries], dtype=torch.int64)
    batch = PlantingBatch(classifier, x, y, classifier.logits(x), keys, classes, objects, scene)
    return batch, tuple(entry.key for entry in entries)


def _load(
    data: LabelledSource, settled: Settled, entries: Sequence[Entry]
) -> tuple[list[Entry], list[np.ndarray], list[np.ndarray | None]]:
    kept, pixels, masks = [], [], []
    for entry in entries:
        try:
            item = load_item(data.source, entry, settled.spec, data.options)
        except BadItemError:  # the file has vanished since it was listed; try one image fewer
            continue
        kept.append(entry)
        pixels.append(item.pixels)
        masks.append(item.mask)
    return kept, pixels, masks


def _with_object(batch: PlantingBatch, rows: Tensor) -> Tensor:
    if batch.objects is None:
        raise DataError("--on-object needs masks or boxes of the objects, and the data has none: see --boxes")
    return rows[batch.objects[rows].flatten(1).any(1)]
