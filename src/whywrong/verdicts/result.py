"""Result of the analysis ``verdict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from whywrong.explain.analysis import AnalysisResult
from whywrong.verdicts.tables import TABLES


@dataclass(frozen=True, slots=True, eq=False)
class VerdictResult(AnalysisResult):
    """Verdicts on the errors of a run.

    Attributes:
        rows: Rows of each table by its name; see :mod:`whywrong.verdicts.tables`.
        facts: Counts, reference, combiner, costs, what was lacking, and remarks, as plain values.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def record(self) -> Mapping[str, Any]:
        """Values stored beside the tables."""
        return self.facts

    def columns(self) -> Mapping[str, Any]:
        """Return the columns of the verdicts."""
        return self.tables()["verdicts"].to_pydict()

    def tables(self) -> Mapping[str, pa.Table]:
        """Return all tables."""
        return {one.name: one.table(self.rows.get(one.name, ())) for one in TABLES}
