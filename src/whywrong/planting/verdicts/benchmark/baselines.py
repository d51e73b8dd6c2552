"""What single methods would say of the planted errors.

Groups of signs are fitted on the planted errors themselves and predict photographs that did not fit them, which
favours them: the combiner has seen none of these errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whywrong.planting.verdicts.benchmark.blind import Blind
from whywrong.planting.verdicts.benchmark.scores import credited
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.combiner.evaluation import f1_of_causes

# One number for one cause, and whether it is high or low for errors of that cause.
RULES: tuple[tuple[str, str, str, int], ...] = (
    ("label", "self-confidence of the label (confident learning)", "log_p_label", -1),
    ("label", "prediction survives small changes", "survival", 1),
    ("shift", "energy of the scores", "energy", -1),
    ("shift", "distance to the nearest correct images", "feature_distance", 1),
    ("adversarial", "prediction changes under squeezing", "survival_tiny_label", 1),
    ("corruption", "noise level", "noise_level", 1),
    ("spurious", "content recurs in other errors", "recurrence_best", 1),
    ("occluded", "a window or crop restores the label", "crop_label", 1),
)
_FOLDS = 5


def group_scores(errors: PlantedErrors, blind: Blind, *, seed: int = 0) -> dict[str, list[float | None]]:
    """Return macro-F1 of causes, and with ordinary errors, of each group of signs alone.

    Args:
        errors: The planted errors.
        blind: Verdicts on some of them, with their signs.
        seed: Seed of the folds.
    """
    some = errors.at(blind.row.tolist())
    truth = np.array([CLASSES.index(cause) for cause in some.truth], np.int64)
    fold = _folds(some.sources, seed)
    found = {}
    for group in dict.fromkeys(blind.sign_groups):
        x = np.nan_to_num(blind.signs[:, np.array(blind.sign_groups) == group], nan=0.0)
        p = _cross_fitted(x, truth, fold)
        alone, both = f1_of_causes(p, credited(some, p), CLASSES.index(ORDINARY))
        found[group] = [round(float(value), 4) if np.isfinite(value) else None for value in (alone, both)]
    return found


def rule_scores(errors: PlantedErrors, blind: Blind) -> list[dict[str, Any]]:
    """Return how well single numbers rank the errors of one cause above all others (area under the curve)."""
    some = errors.at(blind.row.tolist())
    place = {name: at for at, name in enumerate(blind.sign_names)}
    found = []
    for cause, words, sign, direction in RULES:
        own = np.array([cause in pair for pair in zip(some.truth, some.second, strict=True)], dtype=bool)
        if sign not in place or not own.any() or own.all():
            continue
        value = direction * blind.signs[:, place[sign]]
        known = np.isfinite(value)
        if (own & known).any() and (~own & known).any():
            area = _area(value[known], own[known])
            found.append({"cause": cause, "rule": words, "sign": sign, "auc": round(area, 4), "n": int(known.sum())})
    return found


def _folds(sources: tuple[str, ...], seed: int) -> np.ndarray:
    names, of = np.unique(np.array(sources), return_inverse=True)
    return np.random.default_rng(seed).permutation(len(names))[of] % _FOLDS


def _cross_fitted(x: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    p = np.zeros((len(x), len(CLASSES)))
    for number in range(_FOLDS):
        test = fold == number
        if not test.any() or len(np.unique(truth[~test])) < 2:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        model.fit(x[~test], truth[~test])
        p[np.ix_(test, model.classes_)] = model.predict_proba(x[test])
    return p


def _area(value: np.ndarray, own: np.ndarray) -> float:
    """Return the probability that an error of the cause has the higher value; ties count half."""
    from scipy.stats import rankdata

    rank = rankdata(value)
    count = own.sum()
    return float((rank[own].sum() - count * (count + 1) / 2) / (count * (~own).sum()))
