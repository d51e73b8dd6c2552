"""Combiners on disk, as arrays with a JSON header; they are read without pickle, and shapes are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from whywrong.core.errors import DataError
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.plants import Plants
from whywrong.verdicts.combiner.scorer import Scorer
from whywrong.verdicts.combiner.situation import ACCESSES, FLAGS, SITUATIONS
from whywrong.verdicts.combiner.trees import Trees
from whywrong.verdicts.evidence import Columns

SCHEMA = 2
SHIPPED = Path(__file__).with_name("shipped.npz")
_MOST_BYTES = 2**28
_TREES = tuple(field.name for field in fields(Trees))
_OF_TREES = ("forest", "boosted")
_SCORER = ("mean", "scale", "coef", "intercept", "start")
_PLANTS = tuple(field.name for field in fields(Plants))
_CALIBRATION = ("temperature", "threshold", "levels", "unseen")
_RANGE = ("reference_low", "reference_high")
_COLUMNS = tuple(field.name for field in fields(Columns))
_TYPES = {
    **{
        f"{trees}_{name}": kind
        for trees in _OF_TREES
        for name, kind in (
            ("roots", np.int32),
            ("feature", np.int16),
            ("threshold", np.float32),
            ("right", np.int32),
            ("leaf", np.int32),
            ("values", np.float32),
        )
    },
    "plants_z": np.float16,
    "plants_cause": np.int16,
}


def save_combiner(combiner: Combiner, path: Path) -> None:
    """Write a combiner to a file.

    Equal combiners give equal bytes.

    Args:
        combiner: The combiner.
        path: File to write; an existing file is replaced.
    """
    arrays = _arrays(combiner)
    header = {
        "schema": SCHEMA,
        "what": "combiner",
        "classes": list(CLASSES),
        "situations": [situation.name for situation in SITUATIONS],
        "columns": {name: list(getattr(combiner.columns, name)) for name in _COLUMNS},
        "reference_names": list(combiner.reference_names),
        "sha256": _digest(arrays),
        "facts": dict(combiner.facts),
    }
    write_arrays(path, header, arrays)


def load_combiner(path: Path) -> Combiner:
    """Read a combiner written by :func:`save_combiner`.

    Raises:
        DataError: The file is damaged, of another schema, or its arrays do not fit together.
    """
    header, arrays = read_arrays(path, _MOST_BYTES)
    name = Path(path).name
    if header.get("what") != "combiner" or header.get("schema") != SCHEMA:
        raise DataError(
            f"{name}: no combiner of schema {SCHEMA} but {header.get('what')!r} of schema {header.get('schema')!r}; "
            "take the file of this version of whywrong, or make it with `make verdict`"
        )
    situations = [situation.name for situation in SITUATIONS]
    if header.get("classes") != list(CLASSES) or header.get("situations") != situations:
        raise DataError(f"{name}: classes or levels of access are not those of this version of whywrong")
    columns = _columns(name, header.get("columns"))
    expected = {*_arrays_expected(), *_CALIBRATION, *_RANGE}
    if set(arrays) != expected:
        raise DataError(f"{name}: arrays {', '.join(sorted(set(arrays) ^ expected))} are missing or unknown")
    for key, array in arrays.items():
        wanted = _TYPES.get(key, np.float64)
        if key != "plants_kind" and array.dtype != wanted:
            raise DataError(f"{name}: {key} holds {array.dtype}, {np.dtype(wanted)} expected")
    if header.get("sha256") != _digest(arrays):
        raise DataError(f"{name}: the arrays do not fit the checksum of the header")
    found = _built(header, columns, arrays)
    if wrong := _check(found):
        raise DataError(f"{name}: {wrong}")
    return found


@lru_cache(maxsize=1)
def shipped() -> Combiner:
    """Load the combiner that ships with the package.

    Raises:
        DataError: The file is missing or damaged.
    """
    return load_combiner(SHIPPED)


def combiner_hash(combiner: Combiner) -> str:
    """Return the SHA-256 of the arrays of a combiner as a hexadecimal string."""
    return _digest(_arrays(combiner))


def _arrays(combiner: Combiner) -> dict[str, np.ndarray]:
    scorer = combiner.scorer
    found = {f"{trees}_{name}": getattr(getattr(scorer, trees), name) for trees in _OF_TREES for name in _TREES}
    found |= {f"linear_{name}": getattr(scorer, name) for name in _SCORER}
    found |= {f"plants_{name}": getattr(combiner.plants, name) for name in _PLANTS}
    return found | {name: getattr(combiner, name) for name in (*_CALIBRATION, *_RANGE)}


def _arrays_expected() -> list[str]:
    return [
        *(f"{trees}_{name}" for trees in _OF_TREES for name in _TREES),
        *(f"linear_{name}" for name in _SCORER),
        *(f"plants_{name}" for name in _PLANTS),
    ]


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a hash of names, types, shapes and contents."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _columns(name: str, stored: Any) -> Columns:
    """Read the columns of the header."""
    wrong = DataError(f"{name}: the columns of the header are damaged")
    if not isinstance(stored, dict) or set(stored) != set(_COLUMNS):
        raise wrong
    count = len(stored["names"]) if isinstance(stored["names"], list) else 0
    types: dict[str, type] = {"names": str, "groups": str, "accesses": str, "stages": int, "ranked": bool}
    for key, kind in types.items():
        values = stored[key]
        if not isinstance(values, list) or len(values) != count or not count:
            raise wrong
        if not all(type(value) is kind for value in values):
            raise wrong
    if not set(stored["accesses"]) <= set(ACCESSES) or len(set(stored["names"])) != count:
        raise wrong
    return Columns(**{key: tuple(stored[key]) for key in _COLUMNS})


def _built(header: Mapping[str, Any], columns: Columns, arrays: Mapping[str, np.ndarray]) -> Combiner:
    names = header.get("reference_names")
    facts = header.get("facts")
    parts: dict[str, Any] = {name: arrays[f"linear_{name}"] for name in _SCORER}
    parts |= {of: Trees(**{name: arrays[f"{of}_{name}"] for name in _TREES}) for of in _OF_TREES}
    return Combiner(
        columns=columns,
        scorer=Scorer(**parts),
        plants=Plants(**{name: arrays[f"plants_{name}"] for name in _PLANTS}),
        reference_names=tuple(map(str, names)) if isinstance(names, list) else (),
        facts=facts if isinstance(facts, dict) else {},
        **{name: arrays[name] for name in (*_CALIBRATION, *_RANGE)},
    )


def _check(combiner: Combiner) -> str:
    """Return what does not fit together, empty if everything does."""
    columns, classes, situations = len(combiner.columns.names), len(CLASSES), len(SITUATIONS)
    arrays = _arrays(combiner)
    axes = {"forest_values": 2, "boosted_values": 2, "linear_coef": 2, "plants_z": 2, "levels": 2}
    for name, array in arrays.items():
        if array.ndim != axes.get(name, 1):
            return f"{name} has {array.ndim} axes, {axes.get(name, 1)} expected"
    if combiner.scorer.coef.shape != (classes, columns + len(FLAGS)):
        return f"weights of shape {combiner.scorer.coef.shape}, {(classes, columns + len(FLAGS))} expected"
    if wrong := combiner.scorer.check() or combiner.plants.check(columns, classes):
        return wrong
    for name in _CALIBRATION:
        shape = (situations, classes) if name == "levels" else (situations,)
        if arrays[name].shape != shape or np.isnan(arrays[name]).any():
            return f"{name} has the shape {arrays[name].shape} or holds NaN; {shape} expected"
    if (combiner.temperature <= 0).any():
        return "a temperature is not positive"
    for name in _RANGE:
        if arrays[name].shape != (len(combiner.reference_names),):
            return f"{name} does not fit the names of the reference's signs"
    return ""
