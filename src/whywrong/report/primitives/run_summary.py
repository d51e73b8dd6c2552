"""What was counted in a run as a whole, with what each method says of itself; no HTML."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from whywrong.core.statistics import Interval, wilson

CONFIDENT = 0.9  # a confidence from which the report calls a wrong answer confident


@dataclass(frozen=True, slots=True)
class Pair:
    """A confusion: images of class ``label`` predicted as ``predicted``, ``number`` of the ``of`` labelled so."""

    label: int
    predicted: int
    number: int
    of: int


@dataclass(slots=True)
class RunSummary:
    """What was counted and measured in a run.

    Attributes:
        items: Entries of the source; ``read`` of them were classified, ``failed`` could not be, ``waiting`` are
            still to do, ``left_out`` are not in the random sample that was asked for; ``labelled`` of the read ones
            carry a label, ``errors`` of these are wrong.
        complete: Whether the run has done all it set out to do.
        duplicates: Entries whose bytes and label equal those of an earlier one.
        near_ties: Read images whose top two classes lie within 1e-5.
        pairs: Confusions, most frequent first.
        confident, suspects: Errors made with at least ``CONFIDENT`` confidence; those among them whose true class
            is not among the five best.
        refused: How often a method gave a reason why it shows nothing, by method and reason.
        passes: Forwards and backwards spent, by view.
        seconds: Time spent on the shards, summed over workers; None if not recorded.
        numbers: By method, what ``MethodReport.summarize`` says; a method that did not run is missing.
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
