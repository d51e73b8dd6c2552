"""``whywrong spurious``: search, judge, draw, repair, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whywrong.core.config import make_config
from whywrong.core.errors import InputError, RunFolderError
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source
from whywrong.explain.spurious.refit import Refit, with_head
from whywrong.explain.spurious.spufix import Start, repair
from whywrong.models.classifier import Classifier
from whywrong.runs.guard import check_apart
from whywrong.runs.progress import Progress
from whywrong.runs.spurious.changes import Changes, change_classes
from whywrong.runs.spurious.files import describe, write_search
from whywrong.runs.spurious.label_files import check_labels_place
from whywrong.runs.spurious.labels import Labels, read_labels
from whywrong.runs.spurious.pictures import examples
from whywrong.runs.spurious.repair import Repair, fixes_for, refit_of, repair_of, scores_alone
from whywrong.runs.spurious.search import Search, SpuriousConfig, search_spurious
from whywrong.runs.store.layout import RUN_FILE, check_folder
from whywrong.runs.store.run_file import read_run_file

PAGE = "spurious.html"


@dataclass(frozen=True, slots=True, eq=False)
class SpuriousReport:
    """A search for spurious features, written.

    Attributes:
        search: What was found.
        folder: Where it was written.
        labels: Of a person; None where there are none yet.
        repairs: SpuFix with the components labelled spurious, before and after, on held-out images: from the start
            that was asked for, then from the other one; last the refitted head, where it was asked for. Empty without
            such labels.
        record: The same in plain values, as ``spurious/search.json`` holds it.
        changes: The counterfactual route over classes; None where it was not asked for.
        head: The refitted last layer; None where it was not asked for, or nothing is labelled spurious.
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
        """The page to look at and to label on."""
        return self.folder / PAGE

    def repaired(self, classifier: Classifier) -> Classifier:
        """The classifier without the components labelled spurious.

        Raises:
            InputError: No component is labelled spurious.
        """
        spurious = self.labels.spurious if self.labels is not None else {}
        return repair(classifier, fixes_for(self.search, spurious, self.search.config.start))

    def refitted(self, classifier: Classifier) -> Classifier:
        """The classifier with the refitted last layer.

        Raises:
            InputError: There is none.
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
    decode_options: DecodeOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SpuriousReport:
    """Search, judge on held-out images, draw, measure the repair, and write everything but the page.

    Args:
        classifier: The model.
        source: Labelled images.
        reference: Training images, or None.
        folder: Where to write.
        labels: File of labels, or None.
        settings: Of :class:`SpuriousConfig`.
        decode_options: How files are decoded.
        progress: Told how far it is.

    Raises:
        InputError, ModelError, DataError: As :func:`search_spurious` and :func:`read_labels`.
        RunFolderError: ``folder`` is a run of another model, holds something else, or lies in the data.
    """
    config = make_config(SpuriousConfig, settings or {}, "spurious")
    if labels is not None and not labels.is_file():
        raise InputError(f"{labels}: no such file of labels")
    check_apart(folder, source.spec)
    if reference is not None:
        check_apart(folder, reference.spec)
    _check_folder(folder, classifier)
    check_labels_place(folder, labels)
    search = search_spurious(
        classifier, source, reference, config=config, decode_options=decode_options, progress=progress
    )
    given = None if labels is None else read_labels(labels, search.settled.classes, search.counts, search.basis)
    repairs: list[Repair] = []
    head: Refit | None = None
    if given is not None and given.spurious:
        starts: tuple[Start, Start] = ("others", "class") if config.start == "others" else ("class", "others")
        repairs = [repair_of(search, given.spurious, start) for start in starts]
        if config.refit:
            measured, head = refit_of(search, given.spurious)
            repairs.append(measured)
    shown = examples(classifier, search, progress)
    scores = scores_alone(search)
    changes = change_classes(classifier, search, progress) if config.changes else None
    write_search(
        folder, search, shown, classifier=classifier, labels=given, scores=scores, repairs=repairs, changes=changes
    )
    record = describe(search, classifier, given, repairs, changes)
    return SpuriousReport(search, folder, given, repairs, record, changes, head)


def _check_folder(folder: Path, classifier: Classifier) -> None:
    check_folder(folder)
    if not (folder / RUN_FILE).exists():
        return
    known = read_run_file(folder)["model"]["identity"]
    if known != classifier.identity:
        raise RunFolderError(
            f"{folder}: the run of another model (identity {known[:12]}, this one {classifier.identity[:12]}); "
            "use another folder"
        )
