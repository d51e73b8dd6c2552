"""What a search for spurious features leaves in its folder, and reading it again without torch.

spurious/components.parquet   one row a class and component: the view ``spurious``
spurious/examples.parquet     the images shown with them, with maps and pictures
spurious/changes.parquet      what changes into each class have in common, where they were asked for
spurious/search.json          settings, identities, counts, what was left out, before and after SpuFix
spurious/labels.csv           the labels that were given, as they were read
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from whywrong._version import __version__
from whywrong.core.errors import RunFolderError
from whywrong.runs.guard import quarantine
from whywrong.runs.spurious.change_files import describe_changes, write_changes
from whywrong.runs.spurious.label_files import digest_of, is_given, kept_labels, labels_text
from whywrong.runs.spurious.places import COMPONENTS, EXAMPLES, FOLDER, LABELS, SEARCH
from whywrong.runs.store.files import BLANK, MARK, commit, intact, preparing, read_whole
from whywrong.runs.store.layout import survey, tidy
from whywrong.runs.store.lock import RunLock
from whywrong.runs.store.shards import read_table, write_table

if TYPE_CHECKING:
    from whywrong.models.classifier import Classifier
    from whywrong.runs.spurious.changes import Changes
    from whywrong.runs.spurious.labels import Labels
    from whywrong.runs.spurious.pictures import Example
    from whywrong.runs.spurious.repair import Repair, Score
    from whywrong.runs.spurious.search import ClassSearch, Search


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


def write_search(
    folder: Path,
    search: Search,
    shown: Sequence[Example],
    *,
    classifier: Classifier,
    labels: Labels | None = None,
    scores: Mapping[tuple[int, int], Score] | None = None,
    repairs: Sequence[Repair] = (),
    changes: Changes | None = None,
) -> Path:
    """Write a search into ``folder/spurious``, each file in one step.

    Args:
        folder: A run folder, or one of its own.
        search: The search.
        shown: Its pictures.
        classifier: What was searched.
        labels: Of a person, if there are any.
        scores: Class and number to the spurious score of each component; None leaves them out.
        repairs: Before and after SpuFix with all labels: the chosen start first.
        changes: The counterfactual route over classes, where it was asked for.

    Returns:
        ``folder/spurious``.

    Raises:
        EnvironmentFailure: The disk is full or fails.
    """
    place = folder / FOLDER
    facts = {"run": search.basis, "result_version": 1}
    rows = [
        row for index, found in search.classes.items() for row in _rows(search, index, found, shown, labels, scores)
    ]
    record = describe(search, classifier, labels, repairs, changes)
    keep = labels is None or is_given(labels, place / LABELS)
    written = None if labels is None or keep else labels_text(search, labels)
    with RunLock(folder):
        with preparing(folder):
            _make_room(folder)
        record["labels_file"] = kept_labels(folder) if written is None else digest_of(written)
        # The digest goes ahead of the labels: they are known as ours also if the next step is the last.
        announced = {"labels_file": record["labels_file"]}
        write_table(place / COMPONENTS, pa.Table.from_pylist(rows, schema=SCHEMA), facts | announced)
        write_table(place / EXAMPLES, _examples(shown), facts)
        write_changes(place, search, changes)
        if written is not None:
            commit(place / LABELS, written)
        record["seal"] = (MARK + BLANK).decode()
        commit(place / SEARCH, (json.dumps(_finite(record), indent=1) + "\n").encode())
    return place


def _make_room(folder: Path) -> None:
    """Remove what killed writers left, and move aside damaged files of an earlier search."""
    found = survey(folder)
    tidy(folder, found)
    for path in found.files:
        if path.parent == folder / FOLDER and path.name != LABELS and not intact(path):
            quarantine(folder, path)


def describe(
    search: Search,
    classifier: Classifier,
    labels: Labels | None,
    repairs: Sequence[Repair],
    changes: Changes | None = None,
) -> dict[str, Any]:
    """What the page and ``--json`` say of a search beside its tables."""
    names = search.names
    last = next(iter(search.classes.values())).components
    return {
        "whywrong": __version__,
        "basis": search.basis,
        "config": dataclasses.asdict(search.config),
        "model": {"source": getattr(classifier.recipe, "model", None), "identity": classifier.identity,
                  "classes": list(names), "features": int(last.directions.shape[1])},
        "data": search.held_out.images.source.spec.to_dict(),
        "reference": search.search.images.source.spec.to_dict() if search.referenced else None,
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
        "passes": {"forwards": classifier.forwards, "backwards": classifier.backwards},
        "labelled": None if labels is None else len(labels.words),
        "repairs": [repair.to_dict() for repair in repairs],
        "changes": None if changes is None else describe_changes(search, changes),
        "failed": [list(pair) for pair in search.failed],
    }  # fmt: skip


def read_search(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """What was written: the record, the rows of the components, and those of the examples.

    Raises:
        RunFolderError: There is no search, or a file is damaged.
    """
    place = folder / FOLDER
    try:
        if not os.path.lexists(place / SEARCH):
            raise RunFolderError(
                f"{folder}: no search for spurious features here; "
                f"`whywrong spurious MODEL DATA --out {folder}` makes one"
            )
        record = json.loads(read_whole(place / SEARCH))
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{place / SEARCH}: damaged ({error}); run whywrong spurious again") from None
    return record, read_table(place / COMPONENTS).to_pylist(), read_table(place / EXAMPLES).to_pylist()


def _rows(
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
    return [_finite(row) for row in rows]


def _examples(shown: Sequence[Example]) -> pa.Table:
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
            _finite(row)
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


def _finite(value: Any) -> Any:
    """The same with null where a number is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
