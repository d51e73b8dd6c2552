"""Tables of errors with known causes, used to fit and evaluate the combiner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from whywrong.core.errors import DataError
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays
from whywrong.verdicts.evidence import Evidence, KnownSign, assemble
from whywrong.verdicts.measured import Measured

SCHEMA = 1
_MOST_BYTES = 2**31
_TEXT = ("truth", "second", "kind", "role")
_NUMBERS = ("hard", "half")
_NAMES = ("net", "family", "data", "licence", "helper")
_ALL_STAGES = ("pixels", "scores", "survival", "gradient", "crops", "windows")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredRecurrence:
    """Recurring content of errors, see :class:`whywrong.verdicts.recurrence.Recurrence`.

    Attributes:
        count: (N,), number of other sources with the same content.
        best: (N,), largest correlation with another source.
        cluster: (N,) int64, index of the mark; -1 if there is none.
    """

    count: np.ndarray
    best: np.ndarray
    cluster: np.ndarray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingTable:
    """Errors of one net with their causes.

    Attributes:
        errors: Measurements of all stages for N errors.
        reference: Measurements of correctly classified images in role play.
        recurrence: Recurrence among the errors.
        truth: (N,) cause, or "ordinary".
        second: (N,) second cause, empty if there is none.
        kind: (N,) planted change, such as "gaussian_noise"; "natural" if nothing was planted.
        role: (N,) "plant", "double", "bystander" or "natural".
        hard: (N,) bool, whether the unchanged image has one of the smallest margins.
        half: (N,) int64, half of the photographs that contains the source.
        net: Name of the net.
        family: Family of the net; nets of one family are held out together.
        data: Name of the image set.
        licence: Licence of the images.
        helper: Name of the other model, empty if there is none.
    """

    errors: Measured
    reference: Measured
    recurrence: StoredRecurrence
    truth: tuple[str, ...]
    second: tuple[str, ...]
    kind: tuple[str, ...]
    role: tuple[str, ...]
    hard: np.ndarray
    half: np.ndarray
    net: str
    family: str
    data: str
    licence: str
    helper: str

    def __len__(self) -> int:
        return len(self.truth)

    def evidence(self, known: Sequence[KnownSign] | None = None) -> Evidence:
        """Assemble the evidence of all stages.

        Args:
            known: Signs that become columns; all of :data:`whywrong.explain.signs.SIGNS` by default.
        """
        return assemble(self.errors, self.reference, self.recurrence, stages=_ALL_STAGES, known=known)

    def at(self, rows: np.ndarray) -> TrainingTable:
        """Return the errors with the given indices or mask, with the whole reference.

        Args:
            rows: (M,) int64 indices, or (N,) bool.
        """
        chosen = np.arange(len(self))[rows]
        recurrence = StoredRecurrence(
            **{field.name: getattr(self.recurrence, field.name)[chosen] for field in fields(StoredRecurrence)}
        )
        text = {name: tuple(getattr(self, name)[row] for row in chosen) for name in _TEXT}
        numbers = {name: getattr(self, name)[chosen] for name in _NUMBERS}
        return replace(self, errors=self.errors.at(chosen), recurrence=recurrence, **text, **numbers)


def save_table(table: TrainingTable, path: Path) -> None:
    """Write a table as ``.npz``."""
    arrays: dict[str, np.ndarray] = {}
    for part in ("errors", "reference"):
        measured = getattr(table, part)
        for field in fields(Measured):
            value = getattr(measured, field.name)
            arrays[f"{part}_{field.name}"] = value if isinstance(value, np.ndarray) else _text(value)
    for field in fields(StoredRecurrence):
        arrays[f"recurrence_{field.name}"] = np.asarray(getattr(table.recurrence, field.name))
    arrays |= {name: _text(getattr(table, name)) for name in _TEXT}
    arrays |= {name: np.asarray(getattr(table, name)) for name in _NUMBERS}
    header = {"schema": SCHEMA, "what": "training table", **{name: getattr(table, name) for name in _NAMES}}
    write_arrays(path, header, arrays)


def load_table(path: Path) -> TrainingTable:
    """Read a table written by :func:`save_table`.

    Raises:
        DataError: The file is damaged, of another schema, or its arrays do not fit together.
    """
    header, arrays = read_arrays(path, _MOST_BYTES)
    if header.get("schema") != SCHEMA or header.get("what") != "training table":
        raise DataError(f"{path.name}: no training table of schema {SCHEMA}; make it again with `make verdict`")
    try:
        measured = {part: _measured(arrays, part) for part in ("errors", "reference")}
        recurrence = StoredRecurrence(
            **{field.name: arrays[f"recurrence_{field.name}"] for field in fields(StoredRecurrence)}
        )
        text = {name: tuple(arrays[name].tolist()) for name in _TEXT}
        numbers = {name: arrays[name] for name in _NUMBERS}
        names: dict[str, Any] = {name: str(header[name]) for name in _NAMES}
    except KeyError as error:
        raise DataError(f"{path.name}: {error.args[0]} is missing; make the table again with `make verdict`") from None
    found = TrainingTable(**measured, recurrence=recurrence, **text, **numbers, **names)
    _check(path.name, found)
    return found


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_) if len(values) else np.zeros(0, dtype="U1")


def _measured(arrays: dict[str, np.ndarray], part: str) -> Measured:
    found: dict[str, Any] = {}
    for field in fields(Measured):
        value = arrays[f"{part}_{field.name}"]
        found[field.name] = tuple(value.tolist()) if value.dtype.kind == "U" else value
    return Measured(**found)


def _check(name: str, table: TrainingTable) -> None:
    """Check that the arrays fit together."""
    n = len(table.errors)
    for part, count in ((table.errors, n), (table.reference, len(table.reference))):
        for field in fields(Measured):
            value = getattr(part, field.name)
            at = value.shape[1] if field.name == "helper_logits" and value.ndim == 3 else len(value)
            if field.name not in ("sign_names", "test_names") and at != count:
                raise DataError(f"{name}: {field.name} has {at} rows, {count} expected")
        if part.signs.shape != (count, len(part.sign_names)) or part.restored.shape != (count, len(part.test_names)):
            raise DataError(f"{name}: signs or tests do not have one column per name")
    for field in (*_TEXT, *_NUMBERS):
        if len(getattr(table, field)) != n:
            raise DataError(f"{name}: {field} has {len(getattr(table, field))} rows, {n} expected")
    if unknown := set(table.truth) - set(CLASSES):
        raise DataError(f"{name}: unknown causes {', '.join(sorted(unknown))}")
