"""Fit the logistic regression, the forest and the boosted trees; only this module needs scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whywrong.core.errors import InputError
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.rows import Rows
from whywrong.verdicts.combiner.scorer import UNTRAINED, Scorer
from whywrong.verdicts.combiner.situation import FLAGS, FULL, SITUATIONS, Situation, completed
from whywrong.verdicts.combiner.trees import export_boosted, export_forest


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Settings of the fit.

    Attributes:
        inverse_penalty: Inverse regularisation strength C of the logistic regression.
        trees: Number of trees of the forest.
        rounds: Number of boosted trees per class.
        leaf: Smallest number of rows in a leaf, including copies of errors.
        columns: Share of the columns considered at each node.
        copies: Number of further copies of each error, each with the evidence of a random situation only.
        plants: Largest number of errors that are kept to recognise unseen causes.
        seed: Seed of the trees and of the copies.
    """

    inverse_penalty: float = 0.005
    trees: int = 150
    rounds: int = 120
    leaf: int = 4
    columns: float = 0.25
    copies: int = 1
    plants: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("inverse_penalty", "trees", "rounds", "leaf", "columns", "plants"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        if self.copies < 0:
            raise InputError(f"copies must be at least 0, got {self.copies}")


def fit_scorer(tables: Sequence[Rows], config: FitConfig) -> Scorer:
    """Fit the logistic regression, the forest and the boosted trees.

    Each error is used with all evidence, without the helper, and with the evidence of random situations. One model
    therefore works for all situations.
    """
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    x, truth = training_rows(tables, config)
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    scale[scale < 1e-6] = 1.0
    standard = (x.astype(np.float64) - mean) / scale
    linear = LogisticRegression(C=config.inverse_penalty, class_weight="balanced", max_iter=2000, tol=1e-6)
    linear.fit(standard, truth)
    if len(linear.classes_) < 3:
        raise InputError(f"errors of at least 3 causes are needed, got {len(linear.classes_)}")
    settings: dict[str, Any] = {"min_samples_leaf": config.leaf, "max_features": config.columns}
    forest = ExtraTreesClassifier(config.trees, class_weight="balanced", random_state=config.seed, **settings)
    forest.fit(x, truth)
    boosted = HistGradientBoostingClassifier(max_iter=config.rounds, random_state=config.seed, **_BOOSTING)
    boosted.fit(x, truth)
    coef, intercept = np.zeros((len(CLASSES), x.shape[1])), np.full(len(CLASSES), UNTRAINED)
    coef[linear.classes_], intercept[linear.classes_] = linear.coef_, linear.intercept_
    start = np.full(len(CLASSES), UNTRAINED)
    start[linear.classes_] = np.asarray(boosted._baseline_prediction).ravel()
    return Scorer(
        mean=mean,
        scale=scale,
        coef=coef,
        intercept=intercept,
        forest=export_forest(forest, np.asarray(forest.classes_), len(CLASSES)),
        boosted=export_boosted(boosted, np.asarray(boosted.classes_), len(CLASSES)),
        start=start,
    )


# Small trees, slowly: the errors of a net that trained nothing lie elsewhere than those of the training.
_BOOSTING: dict[str, Any] = {
    "learning_rate": 0.06,
    "max_leaf_nodes": 16,
    "l2_regularization": 5.0,
    "max_features": 0.3,
    "class_weight": "balanced",
    "early_stopping": False,
}


def training_rows(tables: Sequence[Rows], config: FitConfig) -> tuple[np.ndarray, np.ndarray]:
    """Make training rows of all errors in several situations.

    Returns:
        Evidence (M, F + 4) float32 without gaps, and classes (M,) int64.
    """
    draw = np.random.default_rng(config.seed)
    parts, truth = [], []
    for table in tables:
        evidence = table.evidence
        chosen = [np.full(len(table), SITUATIONS.index(FULL)), np.full(len(table), SITUATIONS.index(_ALONE))]
        chosen += list(draw.integers(len(SITUATIONS), size=(config.copies, len(table))))
        for place in chosen:
            x = np.empty((len(table), evidence.x.shape[1] + len(FLAGS)), np.float32)
            for at in np.unique(place):
                rows = place == at
                x[rows] = completed(
                    evidence.x[rows], evidence.median, evidence.columns, for_table(table, SITUATIONS[at])
                )
            parts.append(x)
            truth.append(table.truth)
    return np.concatenate(parts), np.concatenate(truth)


_ALONE = Situation("I", False, 3)


def for_table(table: Rows, situation: Situation) -> Situation:
    """Return the situation with a helper only if the table has one."""
    return situation if table.evidence.helpers else replace(situation, helper=False)
