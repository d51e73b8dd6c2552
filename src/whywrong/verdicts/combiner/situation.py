"""Situations, which describe the available evidence on an error and its columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.verdicts.evidence import NO_REFERENCE, Columns, Evidence

ACCESSES = "LSGI"
FLAGS: tuple[str, ...] = ("with helper", "stage 2", "stage 3", "with reference")


@dataclass(frozen=True, slots=True, order=True)
class Situation:
    """Available access, helper, stages and reference.

    Attributes:
        access: Access to the model, a letter of "LSGI".
        helper: Whether there was another model.
        stage: Last stage of the cascade, 1 to 3.
        reference: Whether there were enough reference images.
    """

    access: str
    helper: bool
    stage: int
    reference: bool = True

    @property
    def name(self) -> str:
        """Short name, such as "I3+helper"."""
        if not self.reference:
            return f"{self.stage}{'+helper' if self.helper else ''} without reference"
        return f"{self.access}{self.stage}{'+helper' if self.helper else ''}"


SITUATIONS: tuple[Situation, ...] = (
    *(Situation(access, helper, stage) for access in ACCESSES for helper in (False, True) for stage in (1, 2, 3)),
    # Without a reference, nothing but shares is left, whatever the access.
    *(Situation("L", helper, stage, False) for helper in (False, True) for stage in (1, 2, 3)),
)
FULL = Situation("I", True, 3)


def situation_of(evidence: Evidence) -> Situation:
    """Return the situation in which the evidence was measured."""
    reference = evidence.calibration != NO_REFERENCE
    return Situation(evidence.access if reference else "L", evidence.helpers > 0, evidence.stage, reference)


def available(columns: Columns, situation: Situation) -> np.ndarray:
    """Return which columns a situation allows to measure, (F,) bool."""
    level = ACCESSES.index(situation.access) if situation.reference else ACCESSES.index("I")
    access = np.array([ACCESSES.index(letter) <= level for letter in columns.accesses], dtype=bool)
    stage = np.array(columns.stages) <= situation.stage
    helper = np.array([situation.helper or group != "helper" for group in columns.groups], dtype=bool)
    reference = ~np.array(columns.ranked, dtype=bool) | situation.reference
    return access & stage & helper & reference


def flags(situation: Situation) -> np.ndarray:
    """Return the situation as numbers, (4,) float32, in the order of :data:`FLAGS`."""
    found = (situation.helper, situation.stage >= 2, situation.stage >= 3, situation.reference)
    return np.array(found, dtype=np.float32)


def completed(x: np.ndarray, median: np.ndarray, columns: Columns, situation: Situation) -> np.ndarray:
    """Fill gaps in the evidence and append the situation, (N, F + 4) float32.

    Missing values are replaced with those of the typical reference image; values that the situation does not allow are
    0.

    Args:
        x: (N, F), NaN if missing.
        median: (F,), evidence of the typical reference image.
        columns: Description of the columns.
        situation: The available evidence.
    """
    allowed = available(columns, situation)
    filled = np.where(allowed, np.where(np.isnan(x), median, x), 0).astype(np.float32)
    return np.concatenate([filled, np.tile(flags(situation), (len(x), 1))], axis=1)
