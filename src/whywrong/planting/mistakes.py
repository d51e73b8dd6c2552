"""Verified planted mistakes, and counts of those wanted, tried and found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from whywrong.data.planted import Scene


@dataclass(slots=True)
class Tally:
    """Progress of planting.

    Attributes:
        wanted: Mistakes wanted of each cause.
        planted: Verified mistakes by cause.
        tried: Images tried by cause.
        right: Images that the classifier predicts as labelled.
        read: Images read to find them.
        refused: Causes that were left out, with the reason.
    """

    wanted: int
    planted: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    right: int = 0
    read: int = 0
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Verified mistakes of one kind.

    Attributes:
        cause, kind: Why they are misclassified.
        keys: Key of each image in the source.
        original: (B, C, H, W), uint8, predicted as ``true``.
        image: (B, C, H, W), uint8, not predicted as ``label``.
        true: (B,), int64, class of the original.
        label: (B,), int64, class of the planted label; differs from ``true`` if the label is the mistake.
        predicted: (B,), int64, predicted class of ``image``.
        severity: (B,), int64, 1..5; 0 if the perturbation has only one.
        strength: The severity in words.
        objects: (B, H, W), bool, the object; None if the data has no masks.
        random_keys: (B,), int64, key of every random choice.
        scene: The scene of ``image``, if it was drawn.
        corruption_severity: (B,), int64, severity of the corruption; 0 if there is none.
    """

    cause: str
    kind: str
    keys: tuple[str, ...]
    original: Tensor
    image: Tensor
    true: Tensor
    label: Tensor
    predicted: Tensor
    severity: Tensor
    strength: tuple[str, ...]
    objects: Tensor | None
    random_keys: Tensor
    scene: Scene | None
    corruption_severity: Tensor

    def words(self, row: int) -> str:
        """Describe the cause of one mistake in words."""
        what = f"{self.kind.replace('_', ' ')}, {self.strength[row]}" if self.strength[row] else self.kind
        return f"{self.cause} ({what})"

    def first(self, count: int) -> Planted:
        """Return the first ``count`` mistakes."""
        rows: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name, values in rows.items():
            if isinstance(values, (Tensor, tuple, Scene)):
                rows[name] = values[slice(count)]
        return Planted(**rows)
