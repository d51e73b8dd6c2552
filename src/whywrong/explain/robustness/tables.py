"""Tables of a comparison of robustness; docs/methods/robustness.md says what each column holds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from whywrong.core.statistics import Interval, holm, mean, sign_flip, wilson
from whywrong.explain.robustness.kinds import RowKind
from whywrong.explain.robustness.parts import Part
from whywrong.explain.spurious.tables import finite

_SHARES = ("accuracy", "fooled", "any", "mass", "mass_before", "mass_change")

ROW_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row", "title", "group", "model", "source")),
        *((name, pa.int64()) for name in ("images", "trials", "right")),
        *((f"{name}{end}", pa.float64()) for name in _SHARES for end in ("", "_low", "_high")),
        *((name, pa.string()) for name in ("control", "reason")),
    ]
)
"""Columns of the view ``robustness``."""

TRIAL_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row", "model", "source", "trial")),
        *((name, pa.int64()) for name in ("images", "right")),
        *((f"{name}{end}", pa.float64()) for name in ("accuracy", "fooled") for end in ("", "_low", "_high")),
    ]
)
"""Columns of the view ``robustness_trials``."""

IMAGE_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row", "model", "source", "item_id", "key")),
        ("label", pa.int64()),
        ("predicted", pa.list_(pa.int64())),
        ("fooled", pa.list_(pa.bool_())),
        ("right_unchanged", pa.bool_()),
    ]
)
"""Columns of the view ``robustness_images``."""

TEST_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row", "kind", "first", "second")),
        ("images", pa.int64()),
        *((name, pa.float64()) for name in ("difference", "low", "high", "p", "p_adjusted")),
    ]
)
"""Columns of the view ``robustness_tests``."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Answers of a row over all images.

    Attributes:
        kind: The row of the registry that it belongs to.
        part: The answers.
        item_ids, keys: The images.
        labels: (B,) int64.
    """

    kind: RowKind
    part: Part
    item_ids: tuple[str, ...]
    keys: tuple[str, ...]
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that could not be measured for a model, and why."""

    row: str
    title: str
    group: str
    model: int
    reason: str


Key = tuple[str, int]

TITLES = {
    "patch_shifted": "the same patch half a token away",
    "patch_moved": "the same patch at the next position",
    "patch_transfer": "adversarial patch of another model",
}


def row_table(measured: Sequence[Measured], missing: Sequence[Missing], names: Sequence[str]) -> pa.Table:
    """Build the main table of accuracy, fooling rates and attention."""
    right = right_of(measured)
    rows = [finite(_row(one, right[one.part.base, one.part.model], names)) for one in measured]
    for one in missing:
        empty = dict.fromkeys(ROW_SCHEMA.names)
        given = {"row": one.row, "title": one.title, "group": one.group, "reason": one.reason}
        rows.append(empty | given | {"model": names[one.model], "source": names[one.model]})
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def right_of(measured: Sequence[Measured]) -> dict[Key, np.ndarray]:
    """Return which unchanged images (B,) bool each model classifies correctly.

    The keys are the base row and the model.
    """
    return {
        (one.part.name, one.part.model): (one.part.predicted[:, 0] == one.labels).numpy()
        for one in measured
        if one.part.name == one.part.base
    }


def fooled_shares(one: Measured) -> np.ndarray:
    """Return the share of the trials (B,) that fool the model, for each image."""
    return one.part.fooled.double().mean(1).numpy()


def share(values: np.ndarray) -> Interval:
    """Compute the mean share over images with its 95 % interval."""
    if not len(values):
        return Interval(float("nan"), 0.0, 1.0)
    if np.isin(values, (0.0, 1.0)).all():
        return wilson(int(values.sum()), len(values))
    return mean(values, bounds=(0.0, 1.0))


def title_of(one: Measured) -> str:
    """Describe a row in a few words."""
    name, base = one.part.name, one.part.base
    if base != "clean":
        what = "unchanged images" if name == base else "adversarial patch made for it"
        return f"{what}, attention at temperature {base.removeprefix('clean_t')}"
    return TITLES.get(name, one.kind.title)


def _row(one: Measured, right: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    part = one.part
    correct = (part.predicted == one.labels[:, None]).double().numpy()
    known = part.mass.isfinite().all(1).numpy() & right if part.mass.numel() else np.zeros(len(right), bool)
    found = {"accuracy": share(correct.mean(1))}
    if part.name != part.base:
        fooled = part.fooled.numpy()[right]
        found |= {"fooled": share(fooled.mean(1)), "any": share(fooled.any(1).astype(float))}
    if known.any():
        before, after = (mass.double().mean(1).numpy()[known] for mass in (part.clean_mass, part.mass))
        found |= {"mass": share(after), "mass_before": share(before)}
        found["mass_change"] = mean(after - before, bounds=(-1.0, 1.0))
    row: dict[str, Any] = dict.fromkeys(ROW_SCHEMA.names)
    row |= {
        "row": part.name,
        "title": title_of(one),
        "group": one.kind.group,
        "model": names[part.model],
        "source": names[part.source],
        "images": len(right),
        "trials": len(part.trials),
        "right": int(right.sum()),
        "control": one.kind.control or None,
    }
    for name, estimate in found.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row


def trial_table(measured: Sequence[Measured], names: Sequence[str]) -> pa.Table:
    """Build the table of single trials, such as each corruption and position."""
    right, rows = right_of(measured), []
    for one in measured:
        part, known = one.part, right[one.part.base, one.part.model]
        correct = (part.predicted == one.labels[:, None]).numpy()
        for index, trial in enumerate(part.trials):
            accuracy = wilson(int(correct[:, index].sum()), len(known))
            fooled = wilson(int(part.fooled.numpy()[known, index].sum()), int(known.sum()))
            row = {"row": part.name, "model": names[part.model], "source": names[part.source], "trial": trial}
            row |= {"images": len(known), "right": int(known.sum())}
            for name, estimate in (("accuracy", accuracy), ("fooled", fooled)):
                row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            rows.append(finite(row))
    return pa.Table.from_pylist(rows, schema=TRIAL_SCHEMA)


def image_table(measured: Sequence[Measured], names: Sequence[str]) -> pa.Table:
    """Build the table of the predictions for each image."""
    right, rows = right_of(measured), []
    for one in measured:
        part, known = one.part, right[one.part.base, one.part.model]
        columns = zip(
            one.item_ids, one.keys, one.labels.tolist(), part.predicted.tolist(), part.fooled.tolist(), known.tolist(),
            strict=True,
        )  # fmt: skip
        for item, key, label, predicted, fooled, was_right in columns:
            rows.append(
                {
                    "row": part.name,
                    "model": names[part.model],
                    "source": names[part.source],
                    "item_id": item,
                    "key": key.encode("utf-8", "backslashreplace").decode(),
                    "label": label,
                    "predicted": predicted,
                    "fooled": fooled,
                    "right_unchanged": was_right,
                }
            )
    return pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA)


def comparison_table(measured: Sequence[Measured], names: Sequence[str], seed: int) -> pa.Table:
    """Build the table of paired tests, adjusted together by Holm's method.

    Tests of kind ``models`` compare two models on a row: accuracy on unchanged images, otherwise the share of trials
    that fool, over images that both classify correctly. Tests of kind ``control`` compare an attack with random noise
    of equal size on one model. The difference is the first minus the second, with signs of images flipped at random.
    """
    found = [*_between_models(measured, names), *_against_noise(measured, names)]
    rows = []
    for row, values in found:
        estimate = mean(values, bounds=(-1.0, 1.0)) if len(values) else Interval(float("nan"), -1.0, 1.0)
        p = float(sign_flip(values[:, None], seed=seed)[0]) if len(values) else float("nan")
        ends = {"difference": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({**row, "images": len(values), **ends, "p": p})
    adjusted = holm(np.array([row["p"] for row in rows])) if rows else []
    complete = [finite({**row, "p_adjusted": float(p)}) for row, p in zip(rows, adjusted, strict=True)]
    return pa.Table.from_pylist(complete, schema=TEST_SCHEMA)


Test = tuple[Mapping[str, Any], np.ndarray]


def _between_models(measured: Sequence[Measured], names: Sequence[str]) -> list[Test]:
    right, found = right_of(measured), []
    own = [one for one in measured if one.part.model == one.part.source]
    for name in dict.fromkeys(one.part.name for one in own):
        for first, second in itertools.combinations([one for one in own if one.part.name == name], 2):
            parts = first.part, second.part
            known = [right[part.base, part.model] for part in parts]
            if name == parts[0].base:
                values = known[0].astype(float) - known[1].astype(float)
            else:
                values = (fooled_shares(first) - fooled_shares(second))[known[0] & known[1]]
            ends = {"first": names[parts[0].model], "second": names[parts[1].model]}
            found.append(({"row": name, "kind": "models", **ends}, values))
    return found


def _against_noise(measured: Sequence[Measured], names: Sequence[str]) -> list[Test]:
    right = right_of(measured)
    known = {(one.part.name, one.part.model): one for one in measured if one.part.model == one.part.source}
    found = []
    for one in known.values():
        part, noise = one.part, known.get((one.kind.control, one.part.model))
        if noise is None or part.name != one.kind.name:
            continue
        values = (fooled_shares(one) - fooled_shares(noise))[right[part.base, part.model]]
        name = names[part.model]
        found.append(({"row": part.name, "kind": "control", "first": name, "second": noise.part.name}, values))
    return found
