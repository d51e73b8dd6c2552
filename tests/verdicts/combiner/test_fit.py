"""Fitting the combiner, and predictions on nets that trained nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
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
    theirs = (linear.predict_proba(z) + forest.fit(x, truth).predict_proba(x)) / 2
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
    # Nor does a net test where it helps, and its answers are left out where it tests.
    assert [table.net for table in training_tables(tables, tables[2], 1, helper=True)] == ["two", "four"]
    without = training_tables(tables, tables[2], 1, helper=False)
    assert [(table.net, table.evidence.helpers) for table in without] == [("one", 0), ("two", 1), ("four", 1)]
    asked = [group == "helper" for group in without[0].evidence.groups]
    assert np.isnan(without[0].evidence.x[:, asked]).all()


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
