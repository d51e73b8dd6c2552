"""All labelled images of a source with their predictions, from which errors are planted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import DataError
from whywrong.core.margins import best_other, error_margin
from whywrong.core.randomness import item_keys, keyed_bits
from whywrong.data.planted import Scene
from whywrong.data.sources.planted import PlantedSource
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import PlantingBatch
from whywrong.runs.labelled import LabelledSource, Settled

HARD_SHARE = 0.25  # share of the correct images, those of smallest margin, from which half of the errors are planted
_SALT = "half"


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """Images of a source with their predictions.

    Attributes:
        x: (N, C, H, W), uint8, at the input of the model.
        y: (N,), int64, class of the label.
        logits: (N, K), float32.
        item_ids: Item of each image.
        sources: Identity of the photograph, from its pixels or bytes, the same for every model.
        half: (N,), int64, 0 or 1; a photograph is in the same half for every model.
        classes: (L,), int64, classes for which the data has labels.
        objects: (N, H, W), bool, the object; all False if unknown. None if the data has no masks.
        scene: Scene of each picture, if it was drawn by whywrong.
    """

    x: Tensor
    y: Tensor
    logits: Tensor
    item_ids: tuple[str, ...]
    sources: tuple[str, ...]
    half: Tensor
    classes: Tensor
    objects: Tensor | None
    scene: Scene | None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def predicted(self) -> Tensor:
        """Predicted class, (N,) int64."""
        return self.logits.argmax(1)

    @property
    def runner_up(self) -> Tensor:
        """Highest-scoring class other than the predicted one, (N,) int64."""
        return best_other(self.logits, self.predicted)

    def right(self) -> Tensor:
        """Return the rows (n,) of the images that are predicted as labelled."""
        return (self.predicted == self.y).nonzero().flatten()

    def wrong(self) -> Tensor:
        """Return the rows (n,) of the other images."""
        return (self.predicted != self.y).nonzero().flatten()

    def hard(self) -> Tensor:
        """Return (N,) bool, correct images among the quarter of smallest margin."""
        right = self.right()
        margin = -error_margin(self.logits[right], self.y[right])
        found = torch.zeros(len(self), dtype=torch.bool)
        found[right[margin.argsort(stable=True)[: round(HARD_SHARE * len(right))]]] = True
        return found

    def batch(self, classifier: Classifier, rows: Tensor, seed: int, what: str) -> PlantingBatch:
        """Return some images as a batch to plant in.

        Args:
            classifier: The model.
            rows: (n,) int64.
            seed: Seed of every random choice.
            what: Name of the perturbation, so that two of them choose independently.
        """
        return PlantingBatch(
            classifier=classifier,
            x=self.x[rows].float() / 255,
            y=self.y[rows],
            logits=self.logits[rows],
            keys=self.keys(rows, seed, what),
            classes=self.classes,
            objects=None if self.objects is None else self.objects[rows],
            scene=None if self.scene is None else self.scene[rows],
        )

    def keys(self, rows: Tensor, seed: int, what: str) -> Tensor:
        """Return the key (n,) int64 of every random choice that ``what`` makes on some images."""
        return item_keys(seed, [self.sources[row] for row in rows.tolist()], f"verdict {what}")

    def shuffled(self, rows: Tensor, seed: int, what: str) -> Tensor:
        """Return rows in an order that depends on their photographs, the seed and ``what`` only."""
        return rows[keyed_bits(self.keys(rows, seed, f"order {what}"), ()).argsort(stable=True)]

    def at(self, rows: Tensor) -> Subjects:
        """Return the images of some rows."""
        kept = rows.tolist()
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            logits=self.logits[rows],
            item_ids=tuple(self.item_ids[row] for row in kept),
            sources=tuple(self.sources[row] for row in kept),
            half=self.half[rows],
            objects=None if self.objects is None else self.objects[rows],
            scene=None if self.scene is None else self.scene[rows],
        )


def load_subjects(classifier: Classifier, data: LabelledSource, settled: Settled, *, limit: int = 2_000) -> Subjects:
    """Read labelled images and predict them.

    Args:
        classifier: The model.
        data: Labelled images.
        settled: Result of ``data.settle(classifier)``.
        limit: Most images to read, spread over the source.

    Raises:
        DataError: No labelled image could be read, or none is predicted as labelled.
    """
    pixels, labels, logits, items, sources, masks, rows = [], [], [], [], [], [], []
    for x, y, loaded in data.read(classifier, settled, limit=limit):
        pixels.append((x * 255).round().byte())
        labels.append(y)
        logits.append(classifier.logits(x))
        items += [item.entry.item_id for item in loaded]
        sources += [item.image_id[:20] for item in loaded]
        masks += [item.mask for item in loaded]
        rows += [item.entry.key for item in loaded]
    whole = torch.cat(pixels)
    subjects = Subjects(
        x=whole,
        y=torch.cat(labels),
        logits=torch.cat(logits),
        item_ids=tuple(items),
        sources=tuple(sources),
        half=torch.tensor([half_of(source) for source in sources], dtype=torch.int64),
        classes=torch.tensor(sorted(set(settled.labels.values()))),
        objects=_stacked(masks, whole),
        scene=_scene(data, rows),
    )
    keep = subjects.logits.isfinite().all(1).nonzero().flatten()
    subjects = subjects.at(keep)
    if not len(subjects.right()):
        raise DataError(
            f"the classifier predicts none of {len(subjects)} images as labelled; a planted error needs an image that "
            "is right without it. `whywrong check` shows whether model and labels fit together"
        )
    return subjects


def half_of(source: str) -> int:
    """Return the half of the images, 0 or 1, to which a photograph belongs."""
    return hashlib.blake2b(f"{_SALT} {source}".encode(), digest_size=1).digest()[0] & 1


def _stacked(masks: list[np.ndarray | None], x: Tensor) -> Tensor | None:
    if all(mask is None for mask in masks):
        return None
    nothing = np.zeros(x.shape[2:], dtype=bool)
    return torch.from_numpy(np.stack([nothing if mask is None else mask for mask in masks]))


def _scene(data: LabelledSource, keys: list[str]) -> Scene | None:
    if not isinstance(data.source, PlantedSource):
        return None
    return data.source.pictures.scene[torch.tensor([int(key.rpartition("/")[2]) for key in keys])]
