"""Convert stored labels to text, as integers in any form or names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from whywrong.core.errors import DataError
from whywrong.data.files import path_text

UNLABELLED = "none"
"""Stands for a label column where the owner says that there is none."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_LARGEST = 2**53  # whole floats above it are ambiguous


def label_text(value: Any, where: str) -> str:
    """Convert one label to text.

    ``7``, ``7.0``, ``"7.0"`` and ``b"7"`` become ``"7"``; ``"007"`` and names are unchanged.

    Args:
        value: Text, bytes or number, as stored.
        where: Location of the label, for the message.

    Raises:
        DataError: The label is missing, of another type, negative, fractional or not finite; the message begins with
            ``where``.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = path_text(value)
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where}: the label is {'missing' if value is None else repr(value)}")
    if not isinstance(value, (int, float, str)):
        raise DataError(f"{where}: expected a label (text or whole number), got {type(value).__name__}")
    text = str(value).strip()
    if _NOT_FINITE.fullmatch(text):
        raise DataError(f"{where}: label {text!r} is not a class")
    if text.isdecimal() or not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if number < 0 or text.startswith("-"):
        raise DataError(f"{where}: label {text} is negative; classes count from 0")
    if not number.is_integer() or number >= _LARGEST:
        raise DataError(f"{where}: label {text} is not a whole number")
    return str(int(number))


def one_hot_classes(rows: np.ndarray) -> np.ndarray | None:
    """Read the classes of one-hot rows (N, K).

    Returns:
        Position of the 1 in each row, (N,); None if a row is not one-hot.
    """
    if rows.dtype.kind not in "iufb" or rows.shape[1] < 2:
        return None
    ones, zeros = rows == 1, rows == 0
    return ones.argmax(1) if bool((ones | zeros).all() and (ones.sum(1) == 1).all()) else None
