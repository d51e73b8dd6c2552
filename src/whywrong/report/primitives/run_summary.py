"""Counts of a run as a whole and summary numbers of its methods, without HTML."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from whywrong.core.statistics import Interval, wilson


@dataclass(frozen=True, slots=True)
class Pair:
    """A confusion, where ``number`` of the ``of`` images labelled ``label`` are predicted as ``predicted``."""

    label: int
    predicted: int
    number: int
    of: int


@dataclass(slots=True)
class RunSummary:
    """Counts and measurements of a run.

    Attributes:
        items: Number of entries of the source. ``read`` of them were classified, ``failed`` could not be classified,
            ``waiting`` are not processed yet, and ``left_out`` are outside the requested random sample. ``labelled`` of
            the classified ones have a label, and ``errors`` of these are misclassified.
        complete: Whether the run is complete.
        duplicates: Number of entries whose bytes and label equal those of an earlier entry.
        near_ties: Number of images whose best two classes differ by less than 1e-5.
        pairs: Confusions, most frequent first.
        confident, suspects: Number of errors with at least ``CONFIDENT`` confidence, and number of these whose true
            class is not among the top five.
        refused: Number of errors that a method refused, by method and reason.
        passes: Forward and backward passes, by view.
        seconds: Time spent on the shards, summed over workers; None if not recorded.
        numbers: Results of ``MethodReport.summarize`` by method; methods that did not run are missing.
    """

    items: int = 0
    complete: bool = True
    read: int = 0
    labelled: int = 0
    errors: int = 0
    failed: int = 0
    waiting: int = 0
    left_out: int = 0
    duplicates: int = 0
    near_ties: int = 0
    pairs: list[Pair] = field(default_factory=list)
    confident: int = 0
    suspects: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    passes: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float | None = None
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> Interval:
        """Share of the labelled images that were predicted correctly."""
        return wilson(self.labelled - self.errors, self.labelled)
