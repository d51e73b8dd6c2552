"""Fitting the combiner, and predictions on nets that trained nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from tests.verdicts.combiner.conftest import CONFIG
from tests.verdicts.synthetic import SIGNS, planted

from whywrong.core.errors import InputError
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.evaluation import f1_of_causes
from whywrong.verdicts.combiner.fit import calibrate, fit_combiner
from whywrong.verdicts.combiner.fit_scorer import FitConfig, fit_scorer, training_rows
from whywrong.verdicts.combiner.leave_out import Held, leave_one_net_out, training_tables
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.rows import Rows, rows_of
from whywrong.verdicts.combiner.situation import FULL, SITUATIONS, Situation
from whywrong.verdicts.combiner.stored import save_combiner

ORDINARY = CLASSES.index("ordinary")


def test_the_exported_scorer_predicts_what_scikit_learn_predicts(tables: list[Rows]) -> None:
    x, truth = training_rows(tables, CONFIG)
    scorer = fit_scorer(tables, CONFIG)
    scale = x.std(0, dtype=np.float64)
    z = (x - x.mean(0, dtype=np.float64)) / np.where(scale < 1e-6, 1, scale)
    linear = LogisticRegression(C=0.005, class_weight="balanced", max_iter=2000, tol=1e-6).fit(z, truth)
    forest = ExtraTreesClassifier(20, min_samples_leaf=4, max_features=0.25, class_weight="balanced", random_state=0)
    boosted = HistGradientBoostingClassifier(
        max_iter=20, learning_rate=0.06, max_leaf_nodes=16, l2_regularization=5, max_features=0.3,
        class_weight="balanced", early_stopping=False, random_state=0,
    )  # fmt: skip
    parts = [linear.predict_proba(z), *(model.fit(x, truth).predict_proba(x) for model in (forest, boosted))]
    theirs = np.exp(sum(w * np.log(np.maximum(p, 1e-6)) for w, p in zip((0.2, 0.4, 0.4), parts, strict=True)))
    theirs /= theirs.sum(1, keepdims=True)
    np.testing.assert_allclose(scorer.predict(x), theirs, atol=1e-6)


def test_causes_of_a_net_that_trained_nothing_are_found(held: Held) -> None:
    scores = held.scores[SITUATIONS.index(FULL)]
    alone, everything = f1_of_causes(scores, held.truth, ORDINARY)
    assert alone > 0.8
    assert everything > 0.7
    assert len(held.truth) == 480


def test_more_evidence_is_not_worse(held: Held) -> None:
    by_stage = [
        f1_of_causes(held.scores[SITUATIONS.index(Situation("I", True, stage))], held.truth, ORDINARY)[1]
        for stage in (1, 2, 3)
    ]
    assert by_stage[0] + 0.1 < by_stage[1] < by_stage[2] + 0.02


def test_a_net_never_trains_for_itself_its_family_its_helper_or_its_half_of_the_images() -> None:
    names = {"one": "a", "two": "a", "three": "b", "four": "c"}
    tables = [rows_of(planted(32, i, net=net, family=family), SIGNS) for i, (net, family) in enumerate(names.items())]
    tables = [replace(table, data="same images", helper="three" if table.net == "one" else "") for table in tables]
    [left] = training_tables(tables, tables[0], 0, helper=True)
    assert left.net == "four"
    assert (left.half == 1).all()
    # Without helper, the net that would be asked may train.
    assert [table.net for table in training_tables(tables, tables[0], 1, helper=False)] == ["three", "four"]
    # Where a net is tested, it helps nobody: its answers are left out of the training.
    for helper in (False, True):
        without = training_tables(tables, tables[2], 1, helper=helper)
        assert [(table.net, table.evidence.helpers) for table in without] == [("one", 0), ("two", 1), ("four", 1)]
        asked = [group == "helper" for group in without[0].evidence.groups]
        assert np.isnan(without[0].evidence.x[:, asked]).all()


def test_images_that_only_train_are_not_predicted(tables: list[Rows]) -> None:
    only = replace(tables[0], data="copies")
    held = leave_one_net_out([only, *tables[1:]], CONFIG, situations=(FULL,), not_tested=("copies",))
    assert set(held.net) == {table.net for table in tables[1:]}


def test_one_family_alone_cannot_be_left_out() -> None:
    tables = [rows_of(planted(32, seed, net=net, family="a"), SIGNS) for seed, net in enumerate("xy")]
    with pytest.raises(InputError, match="different families"):
        leave_one_net_out(tables, CONFIG)


def test_fitting_twice_gives_the_same_bytes(tables: list[Rows], held: Held, combiner: Combiner, tmp_path: Path) -> None:
    again = fit_combiner(tables, held, CONFIG, dict(combiner.facts))
    save_combiner(combiner, tmp_path / "a.npz")
    save_combiner(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_random_causes_give_thresholds_that_state_nothing(tables: list[Rows]) -> None:
    draw = np.random.default_rng(0)
    shuffled = [replace(table, truth=draw.permutation(table.truth)) for table in tables]
    held = leave_one_net_out(shuffled, CONFIG)
    found = calibrate(held)
    assert (found.threshold == 0.99).all()
    fitted = fit_combiner(shuffled, held, CONFIG, {})
    fresh = rows_of(planted(160, 77, net="fresh"), SIGNS)
    assert not fitted.predict(fresh.evidence).stated.any()


def test_nets_with_other_columns_are_refused(tables: list[Rows], held: Held) -> None:
    other = rows_of(planted(32, 5, net="other"), SIGNS[:-1])
    with pytest.raises(InputError, match="other columns"):
        fit_combiner([*tables, other], held, CONFIG, {})


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="trees must be positive"):
        FitConfig(trees=0)
    with pytest.raises(InputError, match="copies"):
        FitConfig(copies=-1)
