"""Tables of a network dissection; docs/methods/dissection.md says what each column holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa
from torch import Tensor

from whywrong.explain.dissection.config import DissectionConfig
from whywrong.explain.dissection.confusions import Confusion
from whywrong.explain.dissection.counting import Counts, overlap, reachable
from whywrong.explain.dissection.null import Null

SCHEMA = pa.schema(
    [
        ("unit", pa.int64()),
        ("concept", pa.string()),
        *((name, pa.float64()) for name in ("iou", "reachable", "iou_null_images", "iou_chance", "p")),
        ("detects", pa.bool_()),
        *((name, pa.float64()) for name in ("threshold", "active", "promoted", "suppressed")),
        ("suspect", pa.bool_()),
    ]
)
"""Columns of the view ``dissection``."""

EFFECT_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("label", "predicted")),
        *((name, pa.string()) for name in ("label_name", "predicted_name")),
        *((name, pa.int64()) for name in ("unit", "errors", "controls")),
        *((name, pa.float64()) for name in ("promotion", "suppression", "control_promotion", "control_suppression")),
        *((name, pa.float64()) for name in ("promoted_share", "control_promoted_share", "p")),
        ("suspect", pa.bool_()),
    ]
)
"""Columns of the view ``unit_effects``."""

EXAMPLE_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("unit", "rank")),
        *((name, pa.string()) for name in ("item_id", "key")),
        *((name, pa.int64()) for name in ("label", "predicted")),
        ("value", pa.float64()),
        ("picture", pa.binary()),
        ("map", pa.list_(pa.list_(pa.float32()))),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An image in which a unit is very active, with the unit's map.

    Attributes:
        unit: The unit.
        rank: From 0, most active first.
        item_id, key: Identity of the image.
        label, predicted: Class indices.
        value: Largest activation in it.
        picture: The input of the model, PNG or JPEG.
        map: Activation by row and column.
    """

    unit: int
    rank: int
    item_id: str
    key: str
    label: int
    predicted: int
    value: float
    picture: bytes
    map: list[list[float]]


class Dissected(Protocol):
    """What the table of units is made of."""

    @property
    def concepts(self) -> tuple[str, ...]: ...
    @property
    def thresholds(self) -> Tensor: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def null(self) -> Null: ...
    @property
    def confusions(self) -> tuple[Confusion, ...]: ...
    @property
    def config(self) -> DissectionConfig: ...


def dissection_table(found: Dissected) -> pa.Table:
    """Return one row per unit, with its concept and its effects."""
    iou = overlap(found.counts)
    best = iou.max(1)
    limits = reachable(found.counts, found.config.quantile)
    whole = found.confusions[0] if found.confusions else None
    suspects = {unit for one in found.confusions for unit in one.suspects.tolist()}
    rows: list[dict[str, Any]] = []
    for unit, (value, index) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        p = float(found.null.p[unit])
        pixels = int(found.counts.pixels[index])
        rows.append(
            {
                "unit": unit,
                "concept": found.concepts[index] if value > 0 else None,
                "iou": value,
                "reachable": float(limits[index]),
                "iou_null_images": float(found.null.observed[unit]),
                "iou_chance": float(found.null.expected[unit]),
                "p": p,
                "detects": value > found.config.iou and p <= found.config.level,
                "threshold": float(found.thresholds[unit]),
                "active": int(found.counts.unit[unit, index]) / pixels if pixels else None,
                "promoted": None if whole is None else float(whole.g[unit]),
                "suppressed": None if whole is None else float(whole.s[unit]),
                "suspect": unit in suspects,
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def effect_table(found: Sequence[Confusion], names: Sequence[str]) -> pa.Table:
    """Return one row per unit and kind of error.

    -1 and no name stand for all.
    """
    rows = [
        {
            "label": one.label,
            "predicted": one.predicted,
            "label_name": names[one.label] if one.label >= 0 else None,
            "predicted_name": names[one.predicted] if one.predicted >= 0 else None,
            "unit": unit,
            "errors": one.errors,
            "controls": one.controls,
            "promotion": float(one.g[unit]),
            "suppression": float(one.s[unit]),
            "control_promotion": float(one.control_g[unit]),
            "control_suppression": float(one.control_s[unit]),
            "promoted_share": float(one.promoted[unit]),
            "control_promoted_share": float(one.control_promoted[unit]),
            "p": float(one.p[unit]),
            "suspect": unit in one.suspects.tolist(),
        }
        for one in found
        for unit in range(len(one.g))
    ]
    return pa.Table.from_pylist(rows, schema=EFFECT_SCHEMA)


def example_table(examples: Sequence[Example]) -> pa.Table:
    """Return one row per unit and example."""
    return pa.Table.from_pylist([asdict(one) for one in examples], schema=EXAMPLE_SCHEMA)
