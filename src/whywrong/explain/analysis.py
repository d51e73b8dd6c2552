"""Interface of an analysis of a data set.

An analysis is a function of a context and a frozen config. It splits expensive work into units (a range of images, a
class, an attack) and hands them to the context. The context computes each unit once, here or in worker processes, and
stores its result; after an interruption only missing units are computed. Between units the function merges their
results.

    def brightness(context, *, config):
        parts = context.over_images("means", mean_of_images)
        return Brightness(torch.cat([part.mean for part in parts]))

    def mean_of_images(worker, entries) -> Means:
        return Means(torch.cat([batch.x.mean((1, 2, 3)) for batch in worker.batches(entries)]))

A unit and its result are frozen dataclasses, tuples and plain values that may hold tensors and arrays; the return
annotation of the function says how to read the result back. The function of a unit is defined at module level, so that
another process can import it.
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
    """Labelled images and how they relate to the classifier.

    Attributes:
        name: ``data``, or another name chosen by the caller.
        title: Name used in messages.
        source: How to find them again.
        spec: Input of the classifier.
        classes: Classes of the classifier.
        labels: Maps labels of the images to classes.
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
    """Reference to a stored result, passed to units instead of the result itself.

    Attributes:
        path: Where it is stored, in the run folder.
        kind: Its type as ``module:attribute``.
        identity: Identity of the computation that made it.
    """

    path: str
    kind: str
    identity: str


class AnalysisWorker(Protocol):
    """Resources for the function of a unit.

    Attributes:
        classifier: The classifier.
        models: Further classifiers.
        config: Settings of the analysis.
        images: Sets of images by name.
        cache: Shared by all units of one worker; its content must not change a result.
    """

    classifier: Classifier
    config: Any
    cache: dict[str, Any]

    @property
    def models(self) -> Sequence[Classifier]: ...

    @property
    def images(self) -> Mapping[str, ImageSet]: ...

    def batches(self, entries: Sequence[Entry], images: str = "") -> Iterator[Batch]:
        """Yield images in batches, loaded ahead.

        Images that cannot be read are listed in ``failed``.

        The last batch may hold no images. Process each batch before requesting the next: if an image crashes the
        process, it is searched for in the batch requested last.

        Args:
            entries: Items to load.
            images: Name of their set; empty for the set of the step.
        """
        ...

    def load(
        self, entries: Sequence[Entry], images: str = "", *, photo_side: int | None = None
    ) -> Iterator[LoadedItem]:
        """Yield the items of entries again.

        Raises:
            DataError: An item cannot be read.
        """
        ...

    def read(self, kept: Kept) -> Any:
        """Read a result stored by :meth:`AnalysisContext.once`."""
        ...

    def watch(self, classifier: Classifier) -> None:
        """Count the passes of another classifier too, as a sign that the worker is alive."""
        ...

    def passed(self, images: int) -> None:
        """Report images that passed through a model that cannot be watched."""
        ...


class AnalysisContext(Protocol):
    """Inputs and services for an analysis.

    Attributes:
        classifier: The classifier.
        models: Further classifiers, for an analysis that compares several.
        images: Sets of images by name; includes ``data`` unless the analysis only reads the rows of a run.
        inputs: Further inputs of the caller, by name.
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
        """Compute a step over all images of a set, in ranges of fixed size.

        Args:
            step: Name of the step, unique in the analysis.
            function: ``function(worker, entries)``; its return type must be annotated.
            images: Name of the set.
            settings: Fields of the config that the result depends on; None means all.

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
        """Compute a step over units of any kind.

        Arguments are as for :meth:`over_images`.

        A unit holds everything its result depends on; its result is computed again if the unit changes. If it is a
        tuple of entries, or has such a tuple as ``entries``, an image that ends its worker is found and left out.
        """
        ...

    def once(
        self, step: str, function: Callable[[Any, U], Any], unit: U, *, settings: Sequence[str] | None = None
    ) -> Kept:
        """Compute a step of one unit whose result is read by further units.

        Such results are, for example, thresholds or weights.
        """
        ...

    def read(self, kept: Kept) -> Any:
        """Read a result stored by :meth:`once`."""
        ...

    def entries(self, item_ids: Sequence[str], images: str = "data") -> Mapping[str, Entry]:
        """Return the entries of some items of a set by ``item_id``.

        Items that the set no longer lists are missing.
        """
        ...

    @property
    def passes(self) -> tuple[int, int]:
        """Images sent forward and backward through the classifier by all units so far, including earlier calls."""
        ...

    def query(self, sql: str) -> pa.Table:
        """Read rows of the run in the folder.

        Raises:
            InputError: The folder holds no run.
        """
        ...

    def progress(self, step: str, done: int, total: int) -> None:
        """Report the progress of a step that is computed outside of units."""
        ...


class AnalysisResult:
    """Base class of the results of analyses; runner and report access results only through it."""

    __slots__ = ()

    def columns(self) -> Mapping[str, Any]:
        """Return the columns of the table, equally long sequences, arrays or tensors."""
        raise NotImplementedError

    @staticmethod
    def schema() -> pa.Schema | None:
        """Return the types of the table, or None to infer them from the values."""
        return None

    @property
    def checks(self) -> Mapping[str, Any]:
        """Residuals, intervals and controls that test the numbers, as plain values."""
        return {}

    @property
    def record(self) -> Mapping[str, Any]:
        """Plain values stored beside the tables; the checks are added to them."""
        return {}

    @property
    def basis(self) -> str:
        """Identity of the objects that the tables number; empty if nothing refers to them."""
        return ""

    @property
    def files(self) -> Mapping[str, bytes]:
        """Content of files that people may edit, by the names in the registry."""
        return {}

    def tables(self) -> Mapping[str, pa.Table]:
        """Return the tables by name.

        The empty name is the main table.
        """
        import pyarrow as pa

        columns = {
            name: values.tolist() if hasattr(values, "tolist") else values for name, values in self.columns().items()
        }
        return {"": pa.table(columns, schema=self.schema())}
