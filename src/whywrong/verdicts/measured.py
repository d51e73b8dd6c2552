"""Measurements of images for a verdict, as aligned arrays.

Errors and reference images get the same measurements. Reference images are correctly classified images in role play:
they take the part of an error, with their runner-up as the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measured:
    """Measurements of N images.

    NaN means that a value was not measured or is refused. An array with zero columns means that the access to the model
    does not allow the measurement.

    Attributes:
        item_ids: Item ids.
        sources: Name of the photograph of each image. Images of one source are never neighbours of each other, and
            count as one in groups.
        label: (N,) int64, class to restore: the label of an error, or the runner-up of a reference image.
        predicted: (N,) int64, predicted class, which differs from ``label``.
        logits: (N, K) float32, logits of the model; (N, 0) if it returns labels only.
        features: (N, D) float32, input of the last layer; (N, 0) without access to it.
        sign_names: Names of the S signs, see :data:`whywrong.explain.signs.SIGNS`.
        signs: (N, S) float32, raw signs.
        test_names: Names of the T interventions, see :data:`whywrong.explain.interventions.INTERVENTIONS`.
        restored: (N, T) float32, share of the edits of each intervention after which ``label`` is predicted.
        detail: (N, 3, E, E) float16, fine content of the image, used to find recurring marks.
        helper_logits: (H, N, K) float32, logits of H other models for the same classes.
        forwards: (N,) int64, forward passes of the model for each image.
        backwards: (N,) int64, backward passes.
    """

    item_ids: tuple[str, ...]
    sources: tuple[str, ...]
    label: np.ndarray
    predicted: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    sign_names: tuple[str, ...]
    signs: np.ndarray
    test_names: tuple[str, ...]
    restored: np.ndarray
    detail: np.ndarray
    helper_logits: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray

    def __len__(self) -> int:
        return len(self.item_ids)

    def at(self, rows: np.ndarray) -> Measured:
        """Return the images with the given indices or mask.

        Args:
            rows: (M,) int64 indices, or (N,) bool.
        """
        chosen = np.arange(len(self))[rows]
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("item_ids", "sources"):
                found[field.name] = tuple(value[row] for row in chosen)
            elif field.name == "helper_logits":
                found[field.name] = value[:, chosen]
            elif isinstance(value, np.ndarray):
                found[field.name] = value[chosen]
        return replace(self, **found)

    def sign(self, name: str) -> np.ndarray:
        """Return one raw sign, (N,) float32.

        Raises:
            KeyError: No such sign was measured.
        """
        return self.signs[:, _index(self.sign_names, name)]

    def test(self, name: str) -> np.ndarray:
        """Return the share of edits that restore ``label`` for one intervention, (N,).

        Raises:
            KeyError: No such intervention was measured.
        """
        return self.restored[:, _index(self.test_names, name)]


def join(parts: Sequence[Measured]) -> Measured:
    """Concatenate measurements of the same signs and interventions.

    Args:
        parts: At least one set of measurements.
    """
    first = parts[0]
    found: dict[str, Any] = {}
    for field in fields(first):
        values = [getattr(part, field.name) for part in parts]
        if field.name in ("item_ids", "sources"):
            found[field.name] = tuple(item for value in values for item in value)
        elif field.name == "helper_logits":
            found[field.name] = np.concatenate(values, axis=1)
        elif isinstance(values[0], np.ndarray):
            found[field.name] = np.concatenate(values)
        elif any(value != values[0] for value in values):
            raise ValueError(f"{field.name} differ between the parts")
    return replace(first, **found)


def _index(names: tuple[str, ...], name: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise KeyError(name) from None
