"""Tables and record of a search for spurious features; docs/methods/spurious.md says what each column holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from whywrong.explain.spurious.class_changes import Changes, ClassChanges
from whywrong.explain.spurious.examples import Example, small_picture
from whywrong.explain.spurious.labels import Labels
from whywrong.explain.spurious.repairs import Repair, Score
from whywrong.explain.spurious.search import ClassSearch, Search

_WHOLE = ("class", "component", "images", "carriers", "read_as", "caused", "searched", "own_images", "outside_images")
_REAL = (
    "eigenvalue", "share", "spread", "residual", "level", "bar", "harm", "harm_low", "harm_high", "harm_adjusted_low",
    "base", "base_adjusted_high", "accuracy_change", "own_change", "bias", "bias_low", "bias_high", "accuracy_high",
    "accuracy_low", "score_ap", "score_ap_fixed", "score_auc", "score_auc_fixed", "outside",
)  # fmt: skip
_TEXT = ("class_name", "verdict", "label", "found_in", "map")

SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in _WHOLE),
        *((name, pa.float64()) for name in _REAL),
        *((name, pa.string()) for name in _TEXT),
    ]
)
"""Columns of the view ``spurious``; docs/methods/spurious.md says what each holds."""

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


def describe(
    search: Search,
    passes: tuple[int, int],
    model: Mapping[str, Any],
    labels: Labels | None,
    repairs: Sequence[Repair],
    changes: Changes | None = None,
) -> dict[str, Any]:
    """Describe a search beside its tables, for the page and ``--json``."""
    names = search.names
    last = next(iter(search.classes.values())).components
    return {
        "basis": search.basis,
        "model": {**model, "classes": list(names), "features": int(last.directions.shape[1])},
        "data": search.held_out.images.source.to_dict(),
        "reference": search.search.images.source.to_dict() if search.referenced else None,
        "images_searched": len(search.search),
        "images_held_out": len(search.held_out),
        "shared": search.shared,
        "classes_searched": len(search.classes),
        "components_searched": search.searched,
        "left_out": {names[index]: reason for index, reason in search.left_out.items()},
        "harmful": [
            {"class": names[index], "component": number + 1}
            for index, found in search.classes.items() for number in found.harmful
        ],
        "residual": max(found.components.residual for found in search.classes.values()),
        "passes": {"forwards": passes[0], "backwards": passes[1]},
        "labelled": None if labels is None else len(labels.words),
        "repairs": [repair.to_dict() for repair in repairs],
        "changes": None if changes is None else describe_changes(search, changes),
        "failed": [list(pair) for pair in search.failed],
    }  # fmt: skip


def component_rows(
    search: Search,
    index: int,
    found: ClassSearch,
    shown: Sequence[Example],
    labels: Labels | None,
    scores: Mapping[tuple[int, int], Score] | None,
) -> list[dict[str, Any]]:
    rows = []
    components = found.components
    for number in range(len(components)):
        harm, bias = found.harm[number], found.bias[number]
        score = scores[index, number] if scores is not None else None
        drawn = [one for one in shown if (one.index, one.number, one.group) == (index, number, "top")]
        outside = [one.outside for one in drawn if not math.isnan(one.outside)]
        maps = {one.exact for one in drawn if one.map is not None}
        rows.append(
            {
                "class": index,
                "class_name": search.names[index],
                "component": number + 1,
                "images": components.images,
                "found_in": "reference" if search.referenced else "data",
                "eigenvalue": float(components.eigenvalues[number]),
                "share": float(components.share[number]),
                "spread": float(components.spread[number]),
                "residual": components.residual,
                "level": float(found.levels.others[number]),
                "bar": float(found.levels.bar[number]),
                "verdict": harm.verdict,
                "carriers": harm.carriers,
                "read_as": harm.read_as,
                "caused": harm.caused,
                "harm": harm.share.value,
                "harm_low": harm.share.low,
                "harm_high": harm.share.high,
                "harm_adjusted_low": harm.adjusted_low,
                "base": harm.base,
                "base_adjusted_high": harm.adjusted_base,
                "searched": harm.searched,
                "accuracy_change": harm.accuracy_change,
                "own_change": harm.own_change,
                "own_images": len(found.own),
                "bias": bias.bias.value,
                "bias_low": bias.bias.low,
                "bias_high": bias.bias.high,
                "accuracy_high": bias.high.value,
                "accuracy_low": bias.low.value,
                "score_ap": score.ap if score else None,
                "score_ap_fixed": score.ap_after if score else None,
                "score_auc": score.auc if score else None,
                "score_auc_fixed": score.auc_after if score else None,
                "outside": sum(outside) / len(outside) if outside else None,
                "outside_images": len(outside),
                "map": None if not maps else "exact" if maps == {True} else "approximate",
                "label": None if labels is None else labels.words.get((index, number)),
            }
        )
    return [finite(row) for row in rows]


def example_table(shown: Sequence[Example]) -> pa.Table:
    kinds = {
        **dict.fromkeys(("class", "component", "rank", "label", "predicted", "width", "height"), pa.int64()),
        **dict.fromkeys(("rows", "cols"), pa.int64()),
        **dict.fromkeys(("group", "item_id", "key"), pa.string()),
        **dict.fromkeys(("alpha", "probability", "outside"), pa.float64()),
        **dict.fromkeys(("caused", "exact"), pa.bool_()),
        "map": pa.list_(pa.float32()),
        "picture": pa.binary(),
    }
    rows = []
    for one in shown:
        row = {name: getattr(one, name) for name in kinds if hasattr(one, name)}
        rows.append(
            finite(row)
            | {
                "class": one.index,
                "component": one.number + 1,
                "key": one.key.encode("utf-8", "backslashreplace").decode(),
                "map": None if one.map is None else one.map.flatten().tolist(),
                "rows": None if one.map is None else one.map.shape[0],
                "cols": None if one.map is None else one.map.shape[1],
            }
        )
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


def describe_changes(search: Search, changes: Changes) -> dict[str, Any]:
    """Describe the counterfactual route beside its table, for the page and ``--json``."""
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


def change_row(search: Search, changes: Changes, found: ClassChanges) -> dict[str, Any]:
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


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace numbers of a row that are not finite by null."""
    return {name: _known(value) for name, value in row.items()}
