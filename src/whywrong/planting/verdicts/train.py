"""Fit the combiner that ships with the package, and measure it on nets that train nothing.

    python -m whywrong.planting.verdicts.train TABLES [--out FILE] [--card FILE] [--figures FILE]

``TABLES`` is a folder of tables written by :mod:`whywrong.planting.verdicts.tables`, one per net. Everything follows
from seeds. Without ``--out`` the combiner is only measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from whywrong.core.errors import DataError
from whywrong.planting.verdicts.card import card
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.crossed import Crossed, cross_calibrated, group_baselines
from whywrong.verdicts.combiner.evaluation import confusion, recall_by
from whywrong.verdicts.combiner.fit import fit_combiner
from whywrong.verdicts.combiner.fit_scorer import FitConfig
from whywrong.verdicts.combiner.leave_out import Held, leave_one_net_out
from whywrong.verdicts.combiner.rows import rows_of
from whywrong.verdicts.combiner.situation import SITUATIONS, Situation
from whywrong.verdicts.combiner.stored import combiner_hash, save_combiner
from whywrong.verdicts.combiner.training_table import TrainingTable, load_table
from whywrong.verdicts.measured import Measured

MOST_BYTES = 5 * 2**20
ALONE, HELPED = Situation("I", False, 3), Situation("I", True, 3)


def load_tables(folder: Path) -> list[TrainingTable]:
    """Load all tables of a folder, in the order of their names.

    Signs that a table lacks, since an older version measured it, are left out of all.

    Raises:
        DataError: There is none.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise DataError(f"no tables in {folder}; make them with `make verdict`")
    tables = [load_table(path) for path in paths]
    common = set.intersection(*(set(table.errors.sign_names) for table in tables))
    return [
        replace(table, errors=_only(table.errors, common), reference=_only(table.reference, common)) for table in tables
    ]


def _only(measured: Measured, names: set[str]) -> Measured:
    """Return measurements with the signs of these names."""
    kept = [place for place, name in enumerate(measured.sign_names) if name in names]
    return replace(measured, sign_names=tuple(measured.sign_names[i] for i in kept), signs=measured.signs[:, kept])


def measure(
    tables: Sequence[TrainingTable],
    held: Held,
    config: FitConfig,
    *,
    baselines: bool = True,
    not_tested: Sequence[str] = (),
) -> dict[str, Any]:
    """Compute all figures of predictions on nets that train nothing.

    Args:
        tables: The tables, for the sets of images.
        held: Predictions of :func:`whywrong.verdicts.combiner.leave_out.leave_one_net_out`.
        config: Settings of the fits.
        baselines: Whether each group of evidence is also fitted alone.
        not_tested: Names of images whose errors only train.

    Returns:
        JSON values by situation: figures of each net, of the nets of each set of images together, and of all nets,
        confusions and recall by kind; and macro-F1 by situation and by group of evidence alone.
    """
    found: dict[str, Any] = {"situations": {}, "by_situation": {}}
    for situation in (ALONE, HELPED):
        crossed = cross_calibrated(held, situation)
        if len(crossed.p):
            found["situations"][situation.name] = _pools(crossed)
    for situation in SITUATIONS:
        crossed = cross_calibrated(held, situation)
        if len(crossed.p):
            figures = crossed.figures()
            found["by_situation"][situation.name] = {
                name: _rounded(getattr(figures, name))
                for name in ("f1_causes", "f1_all", "accuracy_70", "ece", "coverage", "stated_right", "ordinary_called")
            }
    if baselines:
        rows = [rows_of(table) for table in tables]
        found["groups_alone"] = {
            group: [_rounded(value) for value in pair]
            for group, pair in group_baselines(rows, config, ALONE, not_tested=not_tested).items()
        }
    return found


def _pools(crossed: Crossed) -> dict[str, Any]:
    """Return figures by net and by set of images."""
    held = crossed.held
    pools = {net: held.net == net for net in np.unique(held.net)}
    pools |= {data: held.data == data for data in np.unique(held.data)}
    pools["all"] = np.ones(len(held.truth), dtype=bool)
    found = {}
    for name, rows in pools.items():
        predicted = crossed.p[rows].argmax(1)
        found[str(name)] = {
            **{key: _rounded(value) for key, value in asdict(crossed.figures(rows)).items()},
            "confusion": confusion(crossed.truth[rows], predicted, len(CLASSES)).tolist(),
            "recall": {key: list(pair) for key, pair in _recall(crossed, rows, predicted).items()},
        }
    return found


def _recall(crossed: Crossed, rows: np.ndarray, predicted: np.ndarray) -> dict[str, tuple[int, int]]:
    held = crossed.held.at(rows)
    causes = [CLASSES[k] if role == "plant" else role for k, role in zip(held.truth, held.role, strict=True)]
    names = np.array([f"{cause}/{kind}" for cause, kind in zip(causes, held.kind, strict=True)])
    return recall_by(crossed.truth[rows], predicted, names)


def _rounded(value: float) -> float | None:
    """Return a number with four decimals, whole numbers as they are, and None for NaN."""
    return None if value != value else value if isinstance(value, int) else round(float(value), 4)


def train(
    folder: Path,
    config: FitConfig,
    out: Path | None = None,
    card_at: Path | None = None,
    *,
    not_tested: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure and fit the combiner, and write it with its card.

    Args:
        folder: Folder of the tables.
        config: Settings of the fits.
        out: File of the combiner; None does not fit it.
        card_at: Page of the combiner; None writes none.
        not_tested: Names of images whose errors only train.

    Returns:
        The figures, see :func:`measure`.

    Raises:
        DataError: There are no tables, or the combiner is larger than 5 MB.
    """
    tables = load_tables(folder)
    for table in tables:
        _say(
            f"{table.net}: {len(table)} errors, {len(table.reference)} reference images, "
            f"helper {table.helper or 'none'}"
        )
    rows = [rows_of(table) for table in tables]
    held = leave_one_net_out(rows, config, not_tested=not_tested)
    figures = measure(tables, held, config, not_tested=not_tested)
    for name, pools in figures["situations"].items():
        for pool, values in pools.items():
            _say(_line(f"{name} {pool}", values))
    for group, pair in figures["groups_alone"].items():
        _say(f"{group} alone: causes {pair[0]}, with ordinary {pair[1]}")
    if out is not None:
        facts = {"nets": [_facts(table) for table in tables], "figures": _short(figures), "seed": config.seed}
        combiner = fit_combiner(rows, held, config, facts)
        save_combiner(combiner, out)
        size = out.stat().st_size
        _say(f"{out.name}: {size:,} bytes, {combiner_hash(combiner)[:12]}")
        if size > MOST_BYTES:
            raise DataError(f"{out.name} has {size:,} bytes, at most {MOST_BYTES:,}; fit fewer trees")
        if card_at is not None:
            card_at.write_text(card(facts["nets"], figures, combiner, size), encoding="utf-8")
    return figures


def _facts(table: TrainingTable) -> dict[str, Any]:
    """Return what the header says of one table."""
    causes, counts = np.unique(np.array(table.truth), return_counts=True)
    roles, of_role = np.unique(np.array(table.role), return_counts=True)
    return {
        "net": table.net,
        "family": table.family,
        "data": table.data,
        "licence": table.licence,
        "helper": table.helper,
        "errors": len(table),
        "reference": len(table.reference),
        "causes": dict(zip(causes.tolist(), counts.tolist(), strict=True)),
        "roles": dict(zip(roles.tolist(), of_role.tolist(), strict=True)),
    }


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all nets together, which the header keeps."""
    keep = ("n", "f1_causes", "f1_all", "accuracy_70", "ece", "coverage", "stated_right", "ordinary_called")
    return {name: {key: pools["all"][key] for key in keep} for name, pools in figures["situations"].items()}


def _line(name: str, values: dict[str, Any]) -> str:
    keys = ("n", "f1_causes", "f1_all", "accuracy_70", "ece", "ece_high", "coverage", "stated_right", "ordinary_called")
    return f"{name}: " + ", ".join(f"{key} {values[key]}" for key in keys)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line above."""
    parser = argparse.ArgumentParser(prog="python -m whywrong.planting.verdicts.train")
    parser.add_argument("tables", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--card", type=Path)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--trees", type=int, default=FitConfig().trees)
    parser.add_argument("--not-tested", nargs="*", default=[], metavar="IMAGES", help="images whose errors only train")
    given = parser.parse_args(arguments)
    figures = train(given.tables, FitConfig(trees=given.trees), given.out, given.card, not_tested=given.not_tested)
    if given.figures is not None:
        given.figures.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
