"""The labelled images of a source, prepared for a classifier as in a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from whywrong.core.classes import ClassList
from whywrong.core.errors import DataError
from whywrong.core.input_spec import InputSpec
from whywrong.data.batches import load_images
from whywrong.data.decoding import DecodeOptions
from whywrong.data.items import LoadedItem
from whywrong.data.sources.base import Source
from whywrong.doors.pairs import input_spec
from whywrong.models.classifier import Classifier
from whywrong.runs.setup import Sample, settle_classes


@dataclass(frozen=True, slots=True)
class Settled:
    """Input, classes and labels agreed between a classifier and a source.

    Attributes:
        spec: Input of the classifier.
        classes: In the order of the logits.
        labels: Label of the data to class.
        sample: A few images, spread over the source.
        doubts: Warnings about the order of the classes.
    """

    spec: InputSpec
    classes: ClassList
    labels: dict[str, int]
    sample: Sample
    doubts: list[str]


@dataclass(slots=True)
class LabelledSource:
    """Labelled images, and the items that could not be read.

    Attributes:
        source: Source of the images.
        options: How files are decoded.
        failed: Key and reason of each item that could not be read, from the last loop.
    """

    source: Source
    options: DecodeOptions | None = None
    failed: list[tuple[str, str]] = field(default_factory=list)

    def settle(self, classifier: Classifier) -> Settled:
        """Determine input, classes and labels.

        Raises:
            InputError: A label maps to no class, or something is missing.
            DataError: None of a few images can be read.
        """
        options = self.options or DecodeOptions()
        spec = input_spec(classifier, self.source)
        sample = Sample(self.source, spec, options)
        classes, doubts = settle_classes(classifier, self.source, sample)
        return Settled(spec, classes, self.source.match_labels(classes), sample, doubts)

    def read(
        self, classifier: Classifier, settled: Settled, *, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor, list[LoadedItem]]]:
        """Yield images (B, C, H, W) in [0, 1], classes (B,) int64, and items.

        At most ``limit`` items, spread over the source. Items without a label are skipped.

        Raises:
            DataError: No labelled image could be read.
        """
        self.failed.clear()
        images = load_images(
            self.source,
            spec=settled.spec,
            classes=settled.classes,
            batch_size=classifier.batch_size,
            options=self.options,
            limit=limit,
        )
        seen = False
        for batch in images:
            self.failed += [(failed.entry.key, failed.reason) for failed in batch.failed]
            rows = (batch.y >= 0).nonzero().flatten()
            if len(rows):
                seen = True
                yield batch.x[rows], batch.y[rows], [batch.items[row] for row in rows.tolist()]
        if not seen:
            why = f"; the first: {self.failed[0][0]}: {self.failed[0][1]}" if self.failed else ""
            raise DataError(f"{self.source.title}: no labelled image could be read{why}")

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """Yield images, classes and item ids of all labelled images, as claims take them.

        Images and classes are on the device of the classifier.
        """
        for x, y, items in self.read(classifier, self.settle(classifier)):
            yield x.to(classifier.device), y.to(classifier.device), [item.entry.item_id for item in items]
