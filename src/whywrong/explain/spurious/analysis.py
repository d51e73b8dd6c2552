"""The analysis of spurious features, which searches, judges, draws and repairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from whywrong.explain.analysis import AnalysisContext, AnalysisResult
from whywrong.explain.spurious.class_changes import Changes, change_classes
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.examples import Example, examples
from whywrong.explain.spurious.labels import Labels, labels_text, parse_labels
from whywrong.explain.spurious.refit import Refit
from whywrong.explain.spurious.repairs import Repair, Score, refit_of, repair_of, scores_alone
from whywrong.explain.spurious.search import Search, search_spurious
from whywrong.explain.spurious.spufix import Start
from whywrong.explain.spurious.tables import (
    CHANGE_SCHEMA,
    SCHEMA,
    change_row,
    component_rows,
    describe,
    example_table,
)


@dataclass(frozen=True, slots=True)
class LabelsFile:
    """Labels of a person, as given.

    Attributes:
        text: The text of the file.
        path: Path of the file, for messages.
        keep: Whether it is the file beside the tables, which is not rewritten.
    """

    text: str
    path: Path
    keep: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SpuriousResult(AnalysisResult):
    """Result of a search for spurious features.

    Attributes:
        search: The finished search.
        model: Source and identity of the classifier.
        passes: Images sent forward and backward through it.
        shown: Pictures for the page.
        labels: Labels of a person; None without any.
        repairs: Effect of each repair of the components labelled spurious, on held-out images: SpuFix with the
            configured start, then with the other one; last the refitted head, if enabled.
        scores: Spurious score of each component by class and number; None omits them.
        changes: The counterfactual route over classes; None if disabled.
        head: The refitted last layer; None if disabled, or if nothing is labelled spurious.
        keep_labels: Whether the file of labels is not rewritten.
    """

    search: Search
    model: Mapping[str, Any]
    passes: tuple[int, int]
    shown: Sequence[Example] = ()
    labels: Labels | None = None
    repairs: Sequence[Repair] = ()
    scores: Mapping[tuple[int, int], Score] | None = None
    changes: Changes | None = None
    head: Refit | None = None
    keep_labels: bool = False

    @property
    def basis(self) -> str:
        """Identity of the search that the numbers of the components belong to."""
        return self.search.basis

    @property
    def record(self) -> Mapping[str, Any]:
        """Values for the page beside the tables."""
        return describe(self.search, self.passes, self.model, self.labels, self.repairs, self.changes)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The labels as they were read."""
        if self.labels is None or self.keep_labels:
            return {}
        return {"labels.csv": labels_text(self.search.names, self.labels, self.search.basis)}

    def columns(self) -> Mapping[str, Any]:
        """Return the columns of the components."""
        return self.tables()["components"].to_pydict()

    def tables(self) -> Mapping[str, pa.Table]:
        """Return components, examples and, if enabled, changes."""
        rows = [
            row
            for index, found in self.search.classes.items()
            for row in component_rows(self.search, index, found, self.shown, self.labels, self.scores)
        ]
        found = {"components": pa.Table.from_pylist(rows, schema=SCHEMA), "examples": example_table(self.shown)}
        if self.changes is not None:
            changed = [change_row(self.search, self.changes, one) for one in self.changes.classes.values()]
            found["changes"] = pa.Table.from_pylist(changed, schema=CHANGE_SCHEMA)
        return found


def spurious(context: AnalysisContext, *, config: SpuriousConfig) -> SpuriousResult:
    """Search for spurious components, judge and draw them, and measure repairs.

    Components are judged and repairs measured on held-out images.

    Args:
        context: Its images are ``data`` and, optionally, ``reference``; its input ``labels`` is a :class:`LabelsFile`.
        config: Settings.

    Raises:
        InputError, AccessError, ModelError, DataError: As for :func:`search_spurious` and :func:`parse_labels`.
    """
    search = search_spurious(context, config)
    given: LabelsFile | None = context.inputs.get("labels")
    labels = None
    if given is not None:
        labels = parse_labels(given.text, given.path, search.held_out.images.classes, search.counts, search.basis)
    repairs: list[Repair] = []
    head: Refit | None = None
    if labels is not None and labels.spurious:
        starts: tuple[Start, Start] = ("others", "class") if config.start == "others" else ("class", "others")
        repairs = [repair_of(search, labels.spurious, start) for start in starts]
        if config.refit:
            measured, head = refit_of(search, labels.spurious)
            repairs.append(measured)
    shown = examples(context, search)
    changes = change_classes(context, search) if config.changes else None
    classifier = context.classifier
    return SpuriousResult(
        search=search,
        model={"source": getattr(classifier.recipe, "model", None), "identity": classifier.identity},
        passes=context.passes,
        shown=shown,
        labels=labels,
        repairs=repairs,
        scores=scores_alone(search),
        changes=changes,
        head=head,
        keep_labels=given is not None and given.keep,
    )
