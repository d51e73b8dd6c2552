"""One made-up error for the tests of parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from markupsafe import Markup
from tests.report.fake_run import FakeRun

from whywrong.report.primitives.sections import Context
from whywrong.report.tables import Names, Row, Tables

NAMES = Names(["envelope, mail", "ice cream", "crane, bird", "crane, machine"])
ERROR = Row(label=0, predicted=1, confidence=0.71, true_confidence=0.03, rank_of_true=2, near_tie=False, notes=[])


def context(nearer: float = 0.8, **rows: object) -> Context:
    """The error with these rows of views; maps go into ``context().tables.run.stored``."""
    run = FakeRun(Path(), {}, {"items": pa.table({"item_id": pa.array([], pa.string())})})
    row = Row(ERROR, item_id="0", item=Row(), copies=[], **rows)
    return Context(tables=Tables(run), row=row, names=NAMES, nearer=nearer)


def plain(sentences: Iterable[Markup]) -> str:
    """Sentences without markup, in one line."""
    return " ".join(sentence.striptags() for sentence in sentences).replace("\u00a0", " ")
