"""What an analysis of a data set is given, and what it returns.

An analysis is a function of a context and a frozen config. What takes long it hands to the context in units: a stretch
of images, a class, an attack. The context computes each unit once, here or in worker processes, and stores its result:
after an interruption only what is missing is computed. Between the units the function merges what they returned.

    def brightness(context, *, config):
        parts = context.over_images("means", mean_of_images)
        return Brightness(torch.cat([part.mean for part in parts]))

    def mean_of_images(worker, entries) -> Means:
        return Means(torch.cat([batch.x.mean((1, 2, 3)) for batch in worker.batches(entries)]))

A unit, and what its function returns, are frozen dataclasses, tuples and plain values that may hold tensors and arrays;
the annotation of what is returned says how it is read back. The function of a unit is a module's own, so that another
process finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from whywrong.core.classes import ClassList
from whywrong.core.input_spec import InputSpec
from whywrong.data.batches import Batch
from whywrong.data.decoding import DecodeOptions
from whywrong.data.items import LoadedItem
from whywrong.data.sources.base import Entry, SourceSpec
from whywrong.models.classifier import Classifier

if TYPE_CHECKING:
    import pyarrow as pa

U = TypeVar("U")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Labelled images, and how the classifier and they agree.

    Attributes:
        name: ``data``, or what else the caller names them.
        title: What messages call them.
        source: How to find them again.
        spec: Input of the classifier.
        classes: Classes of the classifier.
        labels: Label of the images to class.
        options: How files are decoded.
        count: Number of images.
    """

    name: str
    title: str
    source: SourceSpec
    spec: InputSpec
    classes: ClassList
    labels: Mapping[str, int]
    options: DecodeOptions
    count: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored result that units refer to, instead of carrying it.

    Attributes:
        path: Where it is stored, in the run folder.
        kind: ``module:attribute`` of its type.
        identity: What it is a result of.
    """

    path: str
    kind: str
    identity: str


class AnalysisWorker(Protocol):
    """What the function of a unit is given.

    Attributes:
        classifier: The classifier.
        models: Further classifiers.
        config: Settings of the analysis.
        images: Sets of images by name.
        cache: Lasts over the units of one worker; nothing in it may change a result.
    """

    classifier: Classifier
    config: Any
    cache: dict[str, Any]

    @property
    def models(self) -> Sequence[Classifier]: ...

    @property
    def images(self) -> Mapping[str, ImageSet]: ...

    def batches(self, entries: Sequence[Entry], images: str = "") -> Iterator[Batch]:
        """Yield images in batches, loaded ahead; those that cannot be read are named in ``failed``.

        A batch without images may come last. Work on each batch before the next is taken: an image that ends the
        process is looked for in the batch that was taken last.

        Args:
            entries: What is to be loaded.
            images: Name of their set; empty for that of the step.
        """
        ...

    def load(
        self, entries: Sequence[Entry], images: str = "", *, photo_side: int | None = None
    ) -> Iterator[LoadedItem]:
        """Yield items again.

        Raises:
            DataError: One of them cannot be read.
        """
        ...

    def read(self, kept: Kept) -> Any:
        """Read a result that :meth:`AnalysisContext.once` stored."""
        ...

    def watch(self, classifier: Classifier) -> None:
        """Count the passes of another classifier, too, as a sign that the worker is alive."""
        ...

    def passed(self, images: int) -> None:
        """Say that images passed through a model that cannot be watched."""
        ...


class AnalysisContext(Protocol):
    """What an analysis is given.

    Attributes:
        classifier: The classifier.
        models: Further classifiers, as an analysis that compares several needs them.
        images: Sets of images by name; ``data`` is there unless the analysis only reads the rows of a run.
        inputs: What else the caller gave, by name.
    """

    classifier: Classifier

    @property
    def models(self) -> Sequence[Classifier]: ...

    @property
    def images(self) -> Mapping[str, ImageSet]: ...

    @property
    def inputs(self) -> Mapping[str, Any]: ...

    def over_images(
        self,
        step: str,
        function: Callable[[Any, tuple[Entry, ...]], R],
        *,
        images: str = "data",
        settings: Sequence[str] | None = None,
    ) -> Iterator[R]:
        """Compute a step over all images of a set, in stretches of fixed size.

        Args:
            step: Name of the step, unique in the analysis.
            function: ``function(worker, entries)``; its result is annotated.
            images: Name of the set.
            settings: Fields of the config that the result depends on; None for all.

        Returns:
            The results, in the order of the images.
        """
        ...

    def over(
        self,
        step: str,
        function: Callable[[Any, U], R],
        units: Sequence[U],
        *,
        settings: Sequence[str] | None = None,
    ) -> Iterator[R]:
        """Compute a step over units of any kind; as :meth:`over_images`.

        A unit carries what its result depends on: a part is computed again when its unit is another one.
        """
        ...

    def once(
        self, step: str, function: Callable[[Any, U], Any], unit: U, *, settings: Sequence[str] | None = None
    ) -> Kept:
        """Compute a step of one unit whose result further units read, such as thresholds or weights."""
        ...

    def read(self, kept: Kept) -> Any:
        """Read a result that :meth:`once` stored."""
        ...

    @property
    def passes(self) -> tuple[int, int]:
        """Images sent forward and backward through the classifier by all units so far, those of earlier calls too."""
        ...

    def query(self, sql: str) -> pa.Table:
        """Read rows of the run in the folder.

        Raises:
            InputError: The folder holds no run.
        """
        ...

    def progress(self, step: str, done: int, total: int) -> None:
        """Say how far a step is that is computed outside of units."""
        ...


class AnalysisResult:
    """Base of the results of analyses; runner and report know results only through this."""

    __slots__ = ()

    def columns(self) -> Mapping[str, Any]:
        """Columns of its table, of equal length: sequences, arrays or tensors."""
        raise NotImplementedError

    @staticmethod
    def schema() -> pa.Schema | None:
        """Types of the table; None reads them off the values."""
        return None

    @property
    def checks(self) -> Mapping[str, Any]:
        """Residuals, intervals and controls in plain values: what the numbers were tested with."""
        return {}

    @property
    def record(self) -> Mapping[str, Any]:
        """What is stored beside the tables in plain values; the checks are added to it."""
        return {}

    @property
    def basis(self) -> str:
        """Identifies what the numbers of the tables refer to; empty if nothing refers to them."""
        return ""

    @property
    def files(self) -> Mapping[str, bytes]:
        """Content of files that people may edit, as the registry names them."""
        return {}

    def tables(self) -> Mapping[str, pa.Table]:
        """Return the tables by name; the empty name stands for that of the analysis."""
        import pyarrow as pa

        columns = {
            name: values.tolist() if hasattr(values, "tolist") else values for name, values in self.columns().items()
        }
        return {"": pa.table(columns, schema=self.schema())}
