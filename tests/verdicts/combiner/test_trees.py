"""Trees as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from whywrong.verdicts.combiner.trees import Trees, export_boosted, export_forest


def fitted(kind: type = ExtraTreesClassifier) -> tuple[object, Trees, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 7)).astype(np.float32)
    y = np.digitize(x[:, 0] + 0.5 * x[:, 3], [-0.5, 0.5]) * 2  # classes 0, 2 and 4 of 6
    forest = kind(30, min_samples_leaf=2, class_weight="balanced", random_state=0).fit(x, y)
    return forest, export_forest(forest, np.asarray(forest.classes_), 6), draw.normal(size=(6000, 7)).astype(np.float32)


@pytest.mark.parametrize("kind", [ExtraTreesClassifier, RandomForestClassifier])
def test_the_arrays_predict_what_scikit_learn_predicts(kind: type) -> None:
    forest, ours, x = fitted(kind)
    theirs = forest.predict_proba(x)  # type: ignore[attr-defined]
    found = ours.total(x) / 30
    np.testing.assert_allclose(found[:, [0, 2, 4]], theirs, atol=1e-6)
    assert (found[:, [1, 3, 5]] == 0).all()


def test_boosted_trees_add_the_logits_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 7)).astype(np.float32)
    y = np.digitize(x[:, 0] + 0.5 * x[:, 3], [-0.5, 0.5]) * 2
    boosted = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8, early_stopping=False, random_state=0)
    ours = export_boosted(boosted.fit(x, y), boosted.classes_, 6)
    assert ours.check(7, 6) == ""
    # The rows of the training lie on both sides of every threshold.
    for rows in (x, draw.normal(size=(6000, 7)).astype(np.float32)):
        found, start = ours.total(rows), np.asarray(boosted._baseline_prediction).ravel()
        np.testing.assert_allclose(found[:, [0, 2, 4]] + start, boosted.decision_function(rows), atol=1e-5)
        assert (found[:, [1, 3, 5]] == 0).all()


def test_a_row_at_a_threshold_goes_the_way_of_scikit_learn() -> None:
    forest, ours, _ = fitted()
    tree = forest.estimators_[0].tree_  # type: ignore[attr-defined]
    inner = tree.children_left >= 0
    # float32 numbers on both sides of each threshold of the first tree
    near = tree.threshold[inner].astype(np.float32)
    rows = []
    for value, column in zip(near, tree.feature[inner], strict=True):
        for moved in (np.nextafter(value, np.float32(-9)), value, np.nextafter(value, np.float32(9))):
            row = np.zeros(7, np.float32)
            row[column] = moved
            rows.append(row)
    x = np.stack(rows)
    np.testing.assert_allclose(ours.total(x)[:, [0, 2, 4]] / 30, forest.predict_proba(x), atol=1e-6)  # type: ignore[attr-defined]


def test_a_row_is_predicted_the_same_alone_and_among_others() -> None:
    _, ours, x = fitted()
    np.testing.assert_array_equal(ours.total(x[4095:4100]), ours.total(x)[4095:4100])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"roots": np.array([10**6], np.int32)}, "begins outside"),
        ({"right": 10**6}, "leads outside"),
        ({"right": -1}, "leads outside"),
        ({"feature": 7}, "column that does not exist"),
        ({"leaf": 10**6}, "no values"),
        ({"threshold": np.nan}, "not finite"),
        ({"values": np.zeros((5, 4), np.float32)}, "number of classes"),
    ],
)
def test_arrays_that_are_no_forest_are_named(change: dict[str, object], words: str) -> None:
    _, ours, _ = fitted()
    assert ours.check(7, 6) == ""
    [(name, value)] = change.items()
    if not isinstance(value, np.ndarray):
        array = getattr(ours, name).copy()
        inner = np.flatnonzero(ours.right > 0)
        leaves = np.flatnonzero(ours.right == 0)
        array[leaves[0] if name == "leaf" else inner[0]] = value
        value = array
    assert words in replace(ours, **{name: value}).check(7, 6)
