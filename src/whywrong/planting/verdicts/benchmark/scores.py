"""Compare verdicts with the planted truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from whywrong.core.statistics import wilson
from whywrong.planting.verdicts.benchmark.blind import Blind
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.combiner.evaluation import confusion, figures, macro_f1, recall_by, risk_coverage

_DRAWS = 400  # bootstrap samples of photographs


def score(errors: PlantedErrors, blind: Blind, *, seed: int = 0) -> dict[str, Any]:
    """Return the figures of verdicts as plain values.

    An error with two causes counts as right if either is named.

    Args:
        errors: The planted errors.
        blind: Verdicts on some of them.
        seed: Seed of the bootstrap.
    """
    some = errors.at(blind.row.tolist())
    truth = credited(some, blind.p)
    role, ordinary = np.array(some.role), CLASSES.index(ORDINARY)
    predicted = blind.p.argmax(1)
    stated = np.array([cause != "undetermined" for cause in blind.cause], dtype=bool)
    shown = np.array([CLASSES.index(c) if c in CLASSES else ordinary for c in blind.cause], np.int64)
    base = figures(blind.p, truth, classes=CLASSES, threshold=0.5, sets=blind.sets, bystander=role == "bystander")
    values = {
        **asdict(base),
        "coverage": _mean(stated),
        "stated_right": _mean((shown == truth)[stated]),
        "ordinary_called": _mean(stated[truth == ordinary]),
        "bystanders_corruption": _mean((shown == CLASSES.index("corruption"))[role == "bystander"]),
        "natural_corruption": _mean((shown == CLASSES.index("corruption"))[role == "natural"]),
    }
    return {
        "classes": list(CLASSES),
        "figures": {name: _plain(value) for name, value in values.items()},
        "intervals": _intervals(some.sources, truth, blind.p, seed),
        "confusion": confusion(truth, predicted, len(CLASSES)).tolist(),
        "recall": {kind: list(pair) for kind, pair in _by_kind(some, truth, predicted).items()},
        "risk_coverage": [[_plain(a), _plain(b)] for a, b in risk_coverage(blind.p, truth)],
        "tested": _tested(some, blind),
        "doubles": _doubles(some, blind),
        "planted": dict(Counter(f"{role}: {cause}" for role, cause in zip(some.role, some.truth, strict=True))),
    }


def credited(errors: PlantedErrors, p: np.ndarray) -> np.ndarray:
    """Return true classes (N,) int64; of an error with two causes, the more probable one."""
    truth = np.array([CLASSES.index(cause) for cause in errors.truth], np.int64)
    for row, second in enumerate(errors.second):
        if second and p[row, CLASSES.index(second)] > p[row, truth[row]]:
            truth[row] = CLASSES.index(second)
    return truth


def costs(blind: Blind) -> dict[str, Any]:
    """Return passes by stage, and the wall time against that of the passes alone."""
    known = dict(blind.record.get("costs", {}))
    passes = sum(known.get(name, 0) for name in ("forwards", "backwards", "reference"))
    floor = passes * blind.pass_seconds
    return {
        **known,
        "seconds": _plain(blind.seconds),
        "floor_seconds": _plain(floor),
        "over_floor": _plain(blind.seconds / floor if floor else float("nan")),
    }


def _intervals(sources: tuple[str, ...], truth: np.ndarray, p: np.ndarray, seed: int) -> dict[str, list[float | None]]:
    """Return 95 % intervals of the two macro-F1, by a bootstrap over photographs."""
    names, of = np.unique(np.array(sources), return_inverse=True)
    members = [np.flatnonzero(of == at) for at in range(len(names))]
    draw = np.random.default_rng(seed)
    ordinary = CLASSES.index(ORDINARY)
    causes = [k for k in range(len(CLASSES)) if k != ordinary]
    without = p.copy()
    without[:, ordinary] = -1
    found = []
    for _ in range(_DRAWS):
        rows = np.concatenate([members[at] for at in draw.integers(len(names), size=len(names))])
        caused = rows[truth[rows] != ordinary]
        both = macro_f1(truth[rows], p[rows].argmax(1), range(len(CLASSES)))
        found.append((macro_f1(truth[caused], without[caused].argmax(1), causes), both))
    low, high = np.nanquantile(np.array(found), (0.025, 0.975), axis=0)
    return {name: [_plain(low[at]), _plain(high[at])] for at, name in enumerate(("f1_causes", "f1_all"))}


def _by_kind(errors: PlantedErrors, truth: np.ndarray, predicted: np.ndarray) -> dict[str, tuple[int, int]]:
    names = [
        f"{cause}/{kind}" if role == "plant" else f"{role}/{kind}" if role == "bystander" else role
        for role, cause, kind in zip(errors.role, errors.truth, errors.kind, strict=True)
    ]
    return recall_by(truth, predicted, np.array(names))


def _tested(errors: PlantedErrors, blind: Blind) -> dict[str, Any]:
    """Count outcomes of the leading test by true cause, and how often a supported cause is true."""
    counts: dict[str, Counter[str]] = {}
    right = total = 0
    for row, (truth, second) in enumerate(zip(errors.truth, errors.second, strict=True)):
        counts.setdefault(truth, Counter())[blind.tested[row]] += 1
        if blind.tested[row] == "supported" and blind.cause[row] != "undetermined":
            total += 1
            right += blind.cause[row] in (truth, second)
    share = wilson(right, total)
    return {
        "by_truth": {truth: dict(found) for truth, found in counts.items()},
        "supported": total,
        "supported_right": right,
        "low": _plain(share.low),
        "high": _plain(share.high),
    }


def _doubles(errors: PlantedErrors, blind: Blind) -> dict[str, Any]:
    """Count how often an error with two causes gets one of them, and has both in its set."""
    found: dict[str, Any] = {}
    for needs in ("both", "either"):
        rows = [row for row, one in enumerate(errors.needs) if one == needs]
        pairs = [(CLASSES.index(errors.truth[row]), CLASSES.index(errors.second[row])) for row in rows]
        one = sum(int(blind.p[row].argmax() in pair) for row, pair in zip(rows, pairs, strict=True))
        in_set = sum(int(blind.sets[row, list(pair)].all()) for row, pair in zip(rows, pairs, strict=True))
        found[needs] = {"count": len(rows), "one_named": one, "both_in_set": in_set}
    return found


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _plain(value: Any) -> Any:
    if isinstance(value, (int, np.integer)):
        return int(value)
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
