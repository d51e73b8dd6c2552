"""Result of the analysis ``repair``: tables, lists of work to hand on, and repaired weights."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from whywrong.core.csv_cells import guard_cell
from whywrong.explain.analysis import AnalysisResult
from whywrong.verdicts.repair.tables import TABLES, WORK_TABLE

WORK_CSV, LISTS_JSON, WEIGHTS, CARD = "work.csv", "lists.json", "weights.safetensors", "card.md"


@dataclass(frozen=True, slots=True, eq=False)
class RepairResult(AnalysisResult):
    """Lists of work, and arms of fine-tuning.

    Attributes:
        rows: Rows of each table by its name; see :mod:`whywrong.verdicts.repair.tables`.
        facts: Counts and remarks, as plain values.
        weights: All weights of the chosen arm by their names in the module; empty if none is safe.
        card: What these weights are, in Markdown; empty without weights.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    facts: Mapping[str, Any]
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    card: str = ""

    @property
    def record(self) -> Mapping[str, Any]:
        """Values stored beside the tables."""
        return self.facts

    def columns(self) -> Mapping[str, Any]:
        """Return the columns of the arms."""
        return self.tables()["repair"].to_pydict()

    def tables(self) -> Mapping[str, pa.Table]:
        """Return all tables."""
        return {one.name: one.table(self.rows.get(one.name, ())) for one in TABLES}

    @property
    def files(self) -> Mapping[str, bytes]:
        """The lists of work as CSV and JSON, and the weights with their card; empty where no arm is safe."""
        from safetensors.numpy import save

        work = self.tables()["work"].to_pylist()
        weights = {name: np.asarray(value, order="C") for name, value in self.weights.items()}
        return {
            WORK_CSV: _csv(work),
            LISTS_JSON: (json.dumps(work, indent=1, ensure_ascii=False) + "\n").encode(),
            WEIGHTS: save(weights) if weights else b"",
            CARD: self.card.encode(),
        }


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Write rows so that a spreadsheet runs no cell as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for name, _, _ in WORK_TABLE.columns]
    writer.writerow(names)
    for row in rows:
        cells = ("" if row[name] is None else row[name] for name in names)
        writer.writerow([guard_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().encode()
