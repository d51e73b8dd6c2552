"""One made-up error for the tests of parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from tests.report.fake_run import FakeRun

from whywrong.report.methods.inverted.overview import Distances
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Context
from whywrong.report.tables import Names, Row, Tables

NAMES = Names(["envelope, mail", "ice cream", "crane, bird", "crane, machine"])
ERROR = Row(label=0, predicted=1, confidence=0.71, true_confidence=0.03, rank_of_true=2, near_tie=False, notes=[])


def context(nearer: float = 0.8, **rows: object) -> Context:
    """The error with these rows of views; maps go into ``context().tables.run.stored``.

    Of the fixed errors of its run, a share ``nearer`` is farther from right than any error.
    """
    run = FakeRun(Path(), {}, {"items": pa.table({"item_id": pa.array([], pa.string())})})
    row = Row(ERROR, item_id="0", item=Row(), copies=[], **rows)
    far = np.where(np.arange(100) < round(100 * nearer), np.inf, 0) if np.isfinite(nearer) else np.zeros(0)
    numbers = {"inverted": Distances(far, Counter(ok=len(far)))}
    return Context(tables=Tables(run), row=row, names=NAMES, summary=RunSummary(numbers=numbers))


def plain(sentences: Iterable[Markup]) -> str:
    """Sentences without markup, in one line."""
    return " ".join(sentence.striptags() for sentence in sentences).replace("\u00a0", " ")
