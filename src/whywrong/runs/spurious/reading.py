"""Images of a source as features, with the entries behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.items import LoadedItem, load_item
from whywrong.data.sources.base import Entry
from whywrong.explain.spurious.features import Features, image_features
from whywrong.models.classifier import Classifier
from whywrong.runs.labelled import LabelledSource, Settled


@dataclass(slots=True)
class Pool:
    """Features of the labelled images of one source.

    Attributes:
        images: Where they come from.
        settled: How they are read.
        features: Of the N images that could be used.
        entries: Of each.
        image_ids: Of each.
        failed: Key and reason of every other item.
    """

    images: LabelledSource
    settled: Settled
    features: Features
    entries: list[Entry]
    image_ids: list[str]
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def take(self, rows: Tensor) -> Pool:
        """Some of the images."""
        chosen = rows.tolist()
        return Pool(
            self.images,
            self.settled,
            self.features[rows],
            [self.entries[row] for row in chosen],
            [self.image_ids[row] for row in chosen],
            self.failed,
        )

    def load(self, rows: Iterable[int]) -> Iterator[tuple[int, LoadedItem]]:
        """Items again, in the order of the source, which may be much faster to read than another.

        Raises:
            DataError: One that could be read before cannot be read any more.
        """
        for row in sorted(set(rows)):
            try:
                item = load_item(
                    self.images.source, self.entries[row], self.settled.spec, self.images.options, photo_side=320
                )
            except BadItemError as error:
                raise DataError(f"{self.entries[row].key}: {error.reason}; it could be read a moment ago") from None
            yield row, item


def read_pool(
    classifier: Classifier, images: LabelledSource, settled: Settled, tell: Callable[[int, int, int], None]
) -> Pool:
    """Send every labelled image through the classifier once and keep its features.

    Args:
        classifier: The model.
        images: Labelled images.
        settled: What they and the classifier agree on.
        tell: Called after each batch with images done, images in all and images failed.

    Raises:
        DataError: No labelled image could be read or used.
    """
    parts: list[Features] = []
    entries: list[Entry] = []
    image_ids: list[str] = []
    failed: list[tuple[str, str]] = []
    total = len(images.source)
    for x, y, items in images.read(classifier, settled):
        features, reasons = image_features(classifier, x, y)
        parts.append(features)
        kept = [item for row, item in enumerate(items) if row not in reasons]
        entries += [item.entry for item in kept]
        image_ids += [item.image_id for item in kept]
        failed += [(items[row].entry.key, reason) for row, reason in sorted(reasons.items())]
        tell(len(entries) + len(failed) + len(images.failed), total, len(failed) + len(images.failed))
    if not entries:
        first = failed[0] if failed else ("", "no image")
        raise DataError(f"{images.source.title}: no image could be used; the first: {first[0]}: {first[1]}")
    return Pool(images, settled, Features.cat(parts), entries, image_ids, [*images.failed, *failed])


def split_by_name(pool: Pool, share: float) -> tuple[Tensor, Tensor]:
    """Rows (int64) of two parts of a pool, the second with about ``share`` of the images; an image stays in its part
    whatever else is in the source, and equal images stay together."""
    second = torch.tensor([int(image_id[:8], 16) / 2**32 < share for image_id in pool.image_ids])
    return (~second).nonzero().flatten(), second.nonzero().flatten()
