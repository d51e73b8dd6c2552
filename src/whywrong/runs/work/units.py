"""The worker of an analysis: computes units and stores the results of their functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from whywrong.core.errors import BadItemError, DataError
from whywrong.core.registry import resolve
from whywrong.data.batches import Batch, FailedItem, to_tensor
from whywrong.data.files import to_text
from whywrong.data.items import LoadedItem, load_item
from whywrong.data.sources.base import Entry, Source, SourceSpec
from whywrong.explain.analysis import ImageSet, Kept
from whywrong.models.classifier import Classifier
from whywrong.models.memory import device_errors
from whywrong.runs.engines.base import Heartbeat, Report, Task, WorkerSpec
from whywrong.runs.store.packing import pack, unpack
from whywrong.runs.store.shards import read_maps, write_maps
from whywrong.runs.work.lookahead import LookAhead

KEPT_BYTES = 2**28  # of decoded images that a worker keeps for the next steps
PASSES = "passes"  # name of the array with the cost of a unit


@dataclass(frozen=True, slots=True)
class SourceSpecs:
    """Picklable specs of the sources of an analysis, by name."""

    sets: Mapping[str, SourceSpec]

    def open(self) -> Sources:
        """Open the sources."""
        return Sources({name: spec.open() for name, spec in self.sets.items()})


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of an analysis by name, passed to an engine as one source."""

    sets: Mapping[str, Source]

    @property
    def spec(self) -> SourceSpecs:
        """Return the picklable specs of the sources."""
        return SourceSpecs({name: source.spec for name, source in self.sets.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSpec(WorkerSpec):
    """Settings of an analysis for a worker.

    Attributes:
        config: Settings of the analysis.
        images: Sets of images by name.
        models: Further classifiers, or recipes from which a worker process rebuilds them.
        folder: The run folder.
    """

    worker: ClassVar[str] = "whywrong.runs.work.units:UnitWorker"
    config: Any
    images: Mapping[str, ImageSet]
    models: tuple[Any, ...] = ()
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTask(Task):
    """One unit of a step of an analysis.

    Attributes:
        function: ``function(worker, unit)``.
        unit: Its second argument.
        path: Path of its result.
        identity: Identity of the inputs of the result, stored with it.
        size: Weight in the progress.
        images: Its set of images, unless its function names another.
    """

    function: Callable[[Any, Any], Any]
    unit: Any
    path: Path
    identity: str
    size: int = 1
    images: str = "data"


class UnitStopped(BaseException):
    """Raised to leave the function of a unit when the run stops; not an error, so that no function catches it."""


class UnitWorker:
    """Implements :class:`whywrong.explain.analysis.AnalysisWorker` and :class:`whywrong.runs.engines.base.Worker`."""

    def __init__(
        self,
        spec: AnalysisSpec,
        classifier: Classifier,
        source: Sources,
        *,
        stopping: Callable[[], bool],
        at: Callable[[Sequence[str]], None],
    ) -> None:
        self.classifier = classifier
        self.config = spec.config
        self.images = spec.images
        self.cache: dict[str, Any] = {}
        self._spec, self._sources, self._stopping, self._at = spec, source.sets, stopping, at
        self._task: UnitTask | None = None
        self._kept: dict[tuple[str, str], LoadedItem] = {}
        self._kept_bytes = 0
        self._failed = self._others = 0
        self._watched = [classifier]
        self._told = self._passes()

    @cached_property
    def models(self) -> Sequence[Classifier]:
        """Further classifiers, built on first use."""
        return [model if isinstance(model, Classifier) else model.build() for model in self._spec.models]

    def prepare(self, task: UnitTask) -> None:
        """Do nothing, as only the function of a unit knows what it loads."""

    def perform(self, task: UnitTask) -> Report:
        """Compute a unit and store its result.

        Raises:
            DeviceFailure: The GPU fails; nothing of the unit is stored.
        """
        self._task, self._failed = task, 0
        before = self.classifier.forwards, self.classifier.backwards
        try:
            with device_errors():
                result = task.function(self, task.unit)
        except UnitStopped:
            return Report(task=task, complete=False)
        spent = self.classifier.forwards - before[0], self.classifier.backwards - before[1]
        write_maps(task.path, pack(result) | {PASSES: np.array(spent, np.int64)}, task.identity)
        return Report(task=task, done=task.size, failed=self._failed)

    def heartbeat(self) -> Heartbeat | None:
        """Return the progress since the last heartbeat, or None if no image has passed."""
        passes = self._passes()
        passed, self._told = passes - self._told, passes
        return Heartbeat(shard=self._task.shard, passed=passed) if self._task is not None and passed else None

    def _passes(self) -> int:
        return self._others + sum(one.forwards + one.backwards for one in self._watched)

    def watch(self, classifier: Classifier) -> None:
        """Count the passes of another classifier too, as a sign that the worker is alive."""
        if all(classifier is not one for one in self._watched):
            self._others -= classifier.forwards + classifier.backwards
            self._watched.append(classifier)

    def passed(self, images: int) -> None:
        """Report that images passed through a model that cannot be watched."""
        self._others += images

    def read(self, kept: Kept) -> Any:
        """Read a result that a step of one unit stored."""
        return unpack(resolve(kept.kind), read_maps(self._spec.folder / kept.path))

    def close(self) -> None:
        """Do nothing, as no thread outlives a unit."""

    def batches(self, entries: Sequence[Entry], images: str = "") -> Iterator[Batch]:
        """Yield images in batches, loaded ahead, with the failed items.

        A batch may hold failed items only.
        """
        assert self._task is not None
        image_set, reasons = self.images[images or self._task.images], self._task.reasons
        attributed = [FailedItem(entry, reasons[entry.item_id]) for entry in entries if entry.item_id in reasons]
        groups = self._grouped([entry for entry in entries if entry.item_id not in reasons])
        with self._ahead(image_set, None) as ahead:
            ahead.add(entry for group in groups for entry in group)
            for group in groups:
                self._leave_if_stopping()
                loaded = [ahead.take() for _ in group]
                batch = _batch(image_set, loaded, attributed)
                attributed = []
                self._failed += len(batch.failed)
                self._at([entry.item_id for entry in group])
                yield batch
        if attributed:
            self._failed += len(attributed)
            yield _batch(image_set, [], attributed)

    def load(
        self, entries: Sequence[Entry], images: str = "", *, photo_side: int | None = None
    ) -> Iterator[LoadedItem]:
        """Load items again and yield them.

        Raises:
            DataError: An item cannot be read.
        """
        assert self._task is not None
        with self._ahead(self.images[images or self._task.images], photo_side) as ahead:
            ahead.add(entries)
            for _ in entries:
                self._leave_if_stopping()
                loaded = ahead.take()
                if isinstance(loaded, FailedItem):
                    raise DataError(f"{to_text(loaded.entry.key)}: {loaded.reason}; it could be read a moment ago")
                yield loaded

    def _grouped(self, entries: Sequence[Entry]) -> list[list[Entry]]:
        """Group entries that go through the model together; each isolated one is alone."""
        assert self._task is not None
        groups: list[list[Entry]] = []
        open_group = False
        for entry in entries:
            alone = entry.item_id in self._task.isolated
            if alone or not open_group or len(groups[-1]) == self._spec.batch_size:
                groups.append([])
            groups[-1].append(entry)
            open_group = not alone
        return groups

    def _ahead(self, image_set: ImageSet, photo_side: int | None) -> LookAhead[Entry, LoadedItem | FailedItem]:
        source = self._sources[image_set.name]

        def load(entry: Entry) -> LoadedItem | FailedItem:
            name = (image_set.name, entry.item_id)
            if photo_side is None and name in self._kept:
                return self._kept[name]
            try:
                loaded = load_item(source, entry, image_set.spec, image_set.options, photo_side=photo_side)
                if photo_side is None:
                    self._keep(name, loaded)
                return loaded
            except BadItemError as error:
                return FailedItem(entry, error.reason)
            except Exception as error:  # noqa: BLE001 - no file may end a run, whatever a parser raises
                return FailedItem(entry, f"cannot be decoded ({type(error).__name__}: {error})")

        return LookAhead(load, threads=self._spec.load_threads, capacity=max(2 * self._spec.batch_size, 16))

    def _keep(self, name: tuple[str, str], item: LoadedItem) -> None:
        """Keep an image for the next steps, as an analysis may read the same images in each of them."""
        size = item.pixels.nbytes + item.image.width * item.image.height * len(item.image.getbands())
        if self._kept_bytes + size <= KEPT_BYTES:
            self._kept_bytes += size
            self._kept[name] = item

    def _leave_if_stopping(self) -> None:
        if self._stopping():
            raise UnitStopped


def _batch(image_set: ImageSet, loaded: Sequence[LoadedItem | FailedItem], attributed: Sequence[FailedItem]) -> Batch:
    items = tuple(one for one in loaded if isinstance(one, LoadedItem))
    labels = [-1 if item.entry.label is None else image_set.labels[item.entry.label] for item in items]
    return Batch(
        to_tensor([item.pixels for item in items], image_set.spec),
        torch.tensor(labels, dtype=torch.int64),
        items,
        (*attributed, *(one for one in loaded if isinstance(one, FailedItem))),
    )
