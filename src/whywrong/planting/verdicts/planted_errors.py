"""Errors whose causes are known, with the photographs that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

ROLES = ("plant", "double", "bystander", "natural")
ORDINARY = "ordinary"


@dataclass(frozen=True, slots=True, eq=False)
class PlantedErrors:
    """Errors of known causes.

    Attributes:
        x: (N, C, H, W), uint8, the image, not predicted as ``label``.
        label: (N,), int64, class of its label.
        true: (N,), int64, class of the unchanged image; differs from ``label`` only if the label is the error.
        predicted: (N,), int64, predicted class.
        row: (N,), int64, row of the unchanged image among the subjects.
        truth: Cause, or ``ordinary`` if nothing that was planted causes the error.
        second: Second cause of a double, otherwise empty.
        kind: What was planted, as ``gaussian_noise`` or ``covered``; ``natural`` if nothing was.
        needs: ``both`` if a double is an error only with both causes, ``either`` if one is enough, otherwise empty.
        role: One of ``ROLES``.
        severity: (N,), int64, 1..5; 0 without one.
        above: (N,), bool, whether it is one above the smallest severity that makes the image wrong.
        hard: (N,), bool, whether the unchanged image has one of the smallest margins.
        sources: Identity of the photograph.
        half: (N,), int64, 0 or 1, half of the photographs to which it belongs.
    """

    x: Tensor
    label: Tensor
    true: Tensor
    predicted: Tensor
    row: Tensor
    truth: tuple[str, ...]
    second: tuple[str, ...]
    kind: tuple[str, ...]
    needs: tuple[str, ...]
    role: tuple[str, ...]
    severity: Tensor
    above: Tensor
    hard: Tensor
    sources: tuple[str, ...]
    half: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def at(self, rows: Tensor | Sequence[int]) -> PlantedErrors:
        """Return some of the errors, in the order of ``rows``."""
        chosen = torch.as_tensor(rows, dtype=torch.int64)
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found[field.name] = (
                value[chosen] if isinstance(value, Tensor) else tuple(value[row] for row in chosen.tolist())
            )
        return PlantedErrors(**found)


def joined(parts: Sequence[PlantedErrors]) -> PlantedErrors:
    """Join errors, in order; at least one part."""
    found: dict[str, Any] = {}
    for field in fields(PlantedErrors):
        values = [getattr(part, field.name) for part in parts]
        found[field.name] = (
            torch.cat(values) if isinstance(values[0], Tensor) else tuple(v for one in values for v in one)
        )
    return PlantedErrors(**found)
