"""Evidence and known causes of the errors of one net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.calibration import indices
from whywrong.verdicts.combiner.training_table import TrainingTable
from whywrong.verdicts.evidence import Evidence, KnownSign


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Evidence and causes of the errors of one net.

    Attributes:
        evidence: Evidence of all stages.
        truth: (N,) int64, class.
        kind: (N,) kind of the cause.
        half: (N,) int64, half of the photographs that contains the error.
        role: (N,) "plant", "double", "bystander" or "natural".
        second: (N,) second cause, empty if there is none.
        net: Name of the net.
        family: Family of the net; nets of one family are held out together.
        data: Name of the image set.
        helper: Name of the other model, empty if there is none.
    """

    evidence: Evidence
    truth: np.ndarray
    kind: np.ndarray
    half: np.ndarray
    role: np.ndarray
    second: np.ndarray
    net: str
    family: str
    data: str
    helper: str

    def __len__(self) -> int:
        return len(self.truth)

    def at(self, rows: np.ndarray) -> Rows:
        """Return the rows with the given indices or mask.

        Args:
            rows: (M,) int64 indices, or (N,) bool.
        """
        names = ("truth", "kind", "half", "role", "second")
        return replace(self, evidence=self.evidence.at(rows), **{name: getattr(self, name)[rows] for name in names})

    def without_helper(self) -> Rows:
        """Return the rows without the predictions of the helper."""
        asked = np.array(self.evidence.groups) == "helper"
        x = np.where(asked, np.nan, self.evidence.x).astype(np.float32)
        return replace(self, evidence=replace(self.evidence, x=x, helpers=0), helper="")


def rows_of(table: TrainingTable, known: Sequence[KnownSign] | None = None) -> Rows:
    """Assemble the evidence of a table.

    Args:
        table: Errors of one net.
        known: Signs that become columns; all of :data:`whywrong.explain.signs.SIGNS` by default.
    """
    return Rows(
        evidence=table.evidence(known),
        truth=indices(table.truth, CLASSES),
        kind=np.array(table.kind, dtype=np.str_),
        half=np.asarray(table.half),
        role=np.array(table.role, dtype=np.str_),
        second=np.array(table.second, dtype=np.str_),
        net=table.net,
        family=table.family,
        data=table.data,
        helper=table.helper,
    )
