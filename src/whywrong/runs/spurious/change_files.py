"""What the counterfactual route leaves in the folder of a search, and reading it again without torch.

spurious/changes.parquet   one row a class: what changes into it have in common, with the crops that stand for them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from whywrong.runs.store.files import preparing
from whywrong.runs.store.shards import read_table, write_table

if TYPE_CHECKING:
    from whywrong.runs.spurious.changes import Changes, ClassChanges
    from whywrong.runs.spurious.search import Search

CHANGES = "changes.parquet"

_CROP = pa.struct(
    [
        *((name, pa.int64()) for name in ("members", "label", "predicted", "row", "col", "side")),
        *((name, pa.string()) for name in ("item_id", "key")),
        *((name, pa.float64()) for name in ("start", "end", "rise", "rise_low", "rise_high", "rise_adjusted_low")),
        *((name, pa.int64()) for name in ("tried_on", "reads", "shuffled_reads")),
        ("confirmed", pa.bool_()),
        *((name, pa.binary()) for name in ("before", "after", "crop_before", "crop_after")),
    ]
)
CHANGE_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("class", "images", "known", "read_as", "width", "height")),
        ("class_name", pa.string()),
        *((name, pa.float64()) for name in ("valid", "valid_low", "valid_high", "coherence")),
        *((name, pa.float64()) for name in ("outside", "outside_low", "outside_high", "area_outside")),
        ("readable", pa.bool_()),
        *((name, pa.int64()) for name in ("forwards", "backwards")),
        ("mean_change", pa.list_(pa.list_(pa.float32()))),
        ("crops", pa.list_(_CROP)),
    ]
)
"""Columns of ``changes.parquet``; docs/methods/spurious.md says what each holds."""


def write_changes(place: Path, search: Search, changes: Changes | None) -> None:
    """Write the route beside the components; without one, an older one is taken away.

    Args:
        place: The folder ``spurious``.
        search: The search.
        changes: Its route over classes, or None.

    Raises:
        EnvironmentFailure: The disk is full or fails.
    """
    if changes is None:
        with preparing(place):
            (place / CHANGES).unlink(missing_ok=True)
        return
    rows = [_row(search, changes, one) for one in changes.classes.values()]
    write_table(
        place / CHANGES, pa.Table.from_pylist(rows, schema=CHANGE_SCHEMA), {"run": search.basis, "result_version": 1}
    )


def read_changes(folder: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that were written; empty where the search made no changes."""
    return read_table(folder / "spurious" / CHANGES).to_pylist() if record.get("changes") else []


def describe_changes(search: Search, changes: Changes) -> dict[str, Any]:
    """What the page and ``--json`` say of the route beside its table."""
    names = search.names
    crops = [one for found in changes.classes.values() for one in found.others]
    return {
        "rung": changes.guide.rung,
        "guide": changes.guide.words,
        "readable": changes.readable,
        "coherence": changes.coherence,
        "p": search.config.changed_p,
        "eps": changes.eps,
        "classes": len(changes.classes),
        "of_classes": changes.wanted,
        "left_out": {names[index]: reason for index, reason in changes.left_out.items()},
        "crops_tested": len(crops),
        "crops_confirmed": sum(one.confirmed for one in crops),
        "passes": {
            side: sum(getattr(found, side) for found in changes.classes.values()) for side in ("forwards", "backwards")
        },
    }


def _row(search: Search, changes: Changes, found: ClassChanges) -> dict[str, Any]:
    route, change = found.route, found.route.change
    values = {
        "class": found.index,
        "class_name": search.names[found.index],
        "images": change.images,
        "known": change.known,
        "read_as": found.read_as,
        "width": found.x.shape[3],
        "height": found.x.shape[2],
        "valid": route.valid.value,
        "valid_low": route.valid.low,
        "valid_high": route.valid.high,
        "coherence": route.coherence,
        "outside": change.outside.value,
        "outside_low": change.outside.low,
        "outside_high": change.outside.high,
        "area_outside": change.area,
        "readable": changes.readable,
        "forwards": found.forwards,
        "backwards": found.backwards,
    }
    row = {name: _known(value) for name, value in values.items()}
    return row | {"mean_change": change.mean.cpu().tolist(), "crops": _crops(search, found)}


def _crops(search: Search, found: ClassChanges) -> list[dict[str, Any]]:
    from whywrong.runs.spurious.pictures import small_picture  # reading the table again takes no torch

    route, change, pool = found.route, found.route.change, search.held_out
    crops = []
    for number, at in enumerate(change.rows.tolist()):
        row, (top, left), side = found.rows[at], change.places[number].tolist(), change.crops.shape[-1]
        levels = [(255 * image).round().byte().cpu().numpy() for image in (found.x[at], route.changed[at])]
        window = slice(None), slice(top, top + side), slice(left, left + side)
        before, after = (small_picture(image) for image in levels)
        crop_before, crop_after = (small_picture(image[window]) for image in levels)
        tried = found.others[number] if number < len(found.others) else None
        crops.append(
            {
                "members": int(change.members[number]),
                "label": int(pool.features.label[row]),
                "predicted": int(pool.features.predicted[row]),
                "row": top,
                "col": left,
                "side": side,
                "item_id": pool.entries[row].item_id,
                "key": pool.entries[row].key.encode("utf-8", "backslashreplace").decode(),
                "start": float(route.start[at]),
                "end": float(route.end[at]),
                "rise": tried and tried.rise.value,
                "rise_low": tried and tried.rise.low,
                "rise_high": tried and tried.rise.high,
                "rise_adjusted_low": tried and tried.adjusted_low,
                "tried_on": tried and tried.images,
                "reads": tried and tried.reads,
                "shuffled_reads": tried and tried.shuffled,
                "confirmed": tried and tried.confirmed,
                "before": before,
                "after": after,
                "crop_before": crop_before,
                "crop_after": crop_after,
            }
        )
    return crops


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
