"""Planted errors on disk, so that measuring them can be interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import DataError
from whywrong.planting.verdicts.planted_errors import ROLES, PlantedErrors
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays

SCHEMA = 1
_MOST_BYTES = 2**33


def save_planted(errors: PlantedErrors, path: Path, made_with: str) -> None:
    """Write errors as ``.npz``, without pickle.

    Args:
        errors: The errors.
        path: File, which is replaced.
        made_with: Model, images and settings, which :func:`load_planted` compares.
    """
    arrays = {}
    for field in fields(PlantedErrors):
        value = getattr(errors, field.name)
        arrays[field.name] = value.numpy() if isinstance(value, Tensor) else np.array(value, dtype=np.str_)
    header = {"schema": SCHEMA, "what": "planted errors", "made_with": made_with, "sha256": _digest(arrays)}
    write_arrays(path, header, arrays)


def load_planted(path: Path, made_with: str) -> PlantedErrors:
    """Read errors of :func:`save_planted`.

    Raises:
        DataError: The file is damaged, of another schema, or was made with other settings.
    """
    header, arrays = read_arrays(path, _MOST_BYTES)
    if header.get("schema") != SCHEMA or header.get("what") != "planted errors":
        raise DataError(f"{path.name}: no planted errors of schema {SCHEMA}; remove it to plant again")
    if header.get("made_with") != made_with:
        raise DataError(f"{path.name}: made with {header.get('made_with')}, not {made_with}; remove it to plant again")
    if header.get("sha256") != _digest(arrays):
        raise DataError(f"{path.name}: damaged or changed since it was written; remove it to plant again")
    found: dict[str, Any] = {}
    for field in fields(PlantedErrors):
        if field.name not in arrays:
            raise DataError(f"{path.name}: {field.name} is missing; remove it to plant again")
        value = arrays[field.name]
        found[field.name] = tuple(value.tolist()) if value.dtype.kind == "U" else torch.from_numpy(value.copy())
    errors = PlantedErrors(**found)
    _check(path.name, errors)
    return errors


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _check(name: str, errors: PlantedErrors) -> None:
    count = len(errors.label)
    for field in fields(PlantedErrors):
        if len(value := getattr(errors, field.name)) != count:
            raise DataError(f"{name}: {field.name} has {len(value)} rows, {count} expected; remove it to plant again")
    if errors.x.ndim != 4 or errors.x.dtype != torch.uint8:
        raise DataError(f"{name}: images must be (N, C, H, W) uint8; remove it to plant again")
    if unknown := (set(errors.truth) - set(CLASSES)) | (set(errors.role) - set(ROLES)):
        raise DataError(f"{name}: unknown cause or role {', '.join(sorted(unknown))}; remove it to plant again")
