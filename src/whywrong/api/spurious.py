"""Search for spurious features, evaluate the user's labels, and write the results to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whywrong.core.classes import ClassList
from whywrong.core.config import make_config
from whywrong.core.errors import InputError
from whywrong.core.registry import find_analysis
from whywrong.data.sources.base import Source
from whywrong.explain.spurious.analysis import LabelsFile, SpuriousResult
from whywrong.explain.spurious.class_changes import Changes
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.labels import Labels, parse_labels
from whywrong.explain.spurious.refit import Refit, with_head
from whywrong.explain.spurious.repairs import Repair, fixes_for
from whywrong.explain.spurious.search import Search
from whywrong.explain.spurious.spufix import repair
from whywrong.models.classifier import Classifier
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.progress import Progress
from whywrong.runs.store.results import check_editable, is_given, read_record

PAGE, LABELS = "spurious.html", "labels.csv"
REMEDY = "`whywrong spurious MODEL DATA --out DIR`"


@dataclass(frozen=True, slots=True, eq=False)
class SpuriousReport:
    """Results of a search for spurious features and the files written.

    Attributes:
        search: The findings.
        folder: Output folder.
        labels: The user's labels; None if not given.
        repairs: Accuracy on held-out images before and after SpuFix removes the components labelled spurious, first
            with
            the requested starting point, then with the other one. The refitted head follows if requested. Empty without
            components labelled spurious.
        record: The same results as plain values, as stored in ``spurious/search.json``.
        changes: Results of the search with counterfactuals between classes; None if not requested.
        head: The refitted last layer; None if not requested, or if no component is labelled spurious.
    """

    search: Search
    folder: Path
    labels: Labels | None
    repairs: Sequence[Repair]
    record: Mapping[str, Any]
    changes: Changes | None = None
    head: Refit | None = None

    @property
    def page(self) -> Path:
        """Path of the HTML page on which to review and label the findings."""
        return self.folder / PAGE

    def repaired(self, classifier: Classifier) -> Classifier:
        """Return the classifier without the components labelled spurious.

        Raises:
            InputError: No component is labelled spurious.
        """
        spurious = self.labels.spurious if self.labels is not None else {}
        return repair(classifier, fixes_for(self.search, spurious, self.search.config.start))

    def refitted(self, classifier: Classifier) -> Classifier:
        """Return the classifier with the refitted last layer.

        Raises:
            InputError: No head was refitted.
        """
        if self.head is None:
            raise InputError("no head was refitted: ask for refit, and label components spurious")
        return with_head(classifier, self.head)


def spurious_report(
    classifier: Classifier,
    source: Source,
    reference: Source | None,
    folder: Path,
    *,
    labels: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    options: AnalysisOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SpuriousReport:
    """Search for spurious features and write all results except the page.

    The findings are evaluated on held-out images. If labels are given, the repair is evaluated too.

    Args:
        classifier: The model.
        source: Labelled images.
        reference: Training images, or None.
        folder: Output folder.
        labels: File of the user's labels, or None.
        settings: Fields of :class:`SpuriousConfig`.
        options: Workers, engine, and how image files are decoded.
        progress: Callback that receives the progress.

    Raises:
        InputError, ModelError, DataError: For the same reasons as in
            :func:`whywrong.explain.spurious.analysis.spurious`.
        RunFolderError: ``folder`` holds a run of another model or other files, or is inside the data.
    """
    analysis = find_analysis("spurious")
    config = make_config(SpuriousConfig, settings or {}, analysis.name)
    if labels is not None and not labels.is_file():
        raise InputError(f"{labels}: no such file of labels")
    check_editable(folder, analysis, LABELS, labels)
    given = None
    if labels is not None:
        given = LabelsFile(_text_of(labels), labels, is_given(folder, analysis, LABELS, labels))
    result = run_analysis(
        analysis,
        classifier,
        {"data": source} if reference is None else {"data": source, "reference": reference},
        folder,
        config=config,
        inputs={} if given is None else {"labels": given},
        options=options,
        progress=progress,
    )
    assert isinstance(result, SpuriousResult)
    record = {name: value for name, value in read_record(folder, analysis, REMEDY).items() if name != "seal"}
    return SpuriousReport(result.search, folder, result.labels, result.repairs, record, result.changes, result.head)


def read_labels(path: Path, classes: ClassList, components: Mapping[int, int], basis: str | None = None) -> Labels:
    """Read a file of labels.

    :func:`whywrong.explain.spurious.labels.parse_labels` describes the format.

    Raises:
        InputError: The file cannot be read, or a row is invalid.
    """
    return parse_labels(_text_of(path), path, classes, components, basis)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: labels cannot be read: {getattr(error, 'strerror', None) or error}") from None
