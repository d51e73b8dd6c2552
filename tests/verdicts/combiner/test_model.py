"""Predictions of the combiner, and when it states nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.verdicts.synthetic import SIGNS, STAGES, planted

from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.rows import rows_of
from whywrong.verdicts.evidence import Evidence, assemble

FRESH = planted(160, 50, net="fresh")


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return rows_of(FRESH, SIGNS).evidence


def test_probabilities_sum_to_one_and_stated_causes_are_mostly_right(combiner: Combiner, evidence: Evidence) -> None:
    found = combiner.predict(evidence)
    np.testing.assert_allclose(found.probability.sum(1), 1)
    np.testing.assert_allclose(found.probability_flat.sum(1), 1)
    right = np.array([cause == truth for cause, truth in zip(found.cause, FRESH.truth, strict=True)])
    assert found.stated.mean() > 0.4
    assert right[found.stated].mean() > 0.85
    assert "ordinary" not in np.array(found.cause)[found.stated]
    assert found.situation == "I3+helper"


def test_the_kind_is_that_of_similar_errors_of_the_cause(combiner: Combiner, evidence: Evidence) -> None:
    found = combiner.predict(evidence)
    for cause, kind in zip(found.cause, found.kind, strict=True):
        assert kind == ("" if cause == "ordinary" else f"some {cause}")


def test_an_error_is_predicted_the_same_alone_and_in_any_order(combiner: Combiner, evidence: Evidence) -> None:
    whole = combiner.predict(evidence).probability_flat
    order = np.random.default_rng(0).permutation(len(evidence))
    np.testing.assert_array_equal(combiner.predict(evidence.at(order)).probability_flat, whole[order])
    for row in (0, 7):
        np.testing.assert_array_equal(combiner.predict(evidence.at(np.array([row]))).probability_flat[0], whole[row])


def test_the_prior_is_off_below_fifty_errors(combiner: Combiner, evidence: Evidence) -> None:
    found = combiner.predict(evidence.at(np.arange(49)))
    np.testing.assert_allclose(found.probability, found.probability_flat)
    one_cause = np.flatnonzero(np.array(FRESH.truth) == "corruption")
    many = combiner.predict(evidence.at(np.tile(one_cause, 30)))
    assert many.prior[CLASSES.index("corruption")] > 0.35
    assert many.prior.min() > 1 / 16


def test_nothing_is_stated_where_more_than_a_third_is_missing(combiner: Combiner, evidence: Evidence) -> None:
    x = evidence.x.copy()
    x[:5, : x.shape[1] // 2] = np.nan
    found = combiner.predict(replace(evidence, x=x))
    assert not found.stated[:5].any()
    assert set(found.reason[:5]) == {"more than a third of the evidence is missing"}
    assert "noise_level" in found.lacks[0] or "pixels_global" in found.lacks[0]
    assert found.lacks[9] == ()


def test_a_missing_value_is_replaced_by_the_typical_reference_image(combiner: Combiner, evidence: Evidence) -> None:
    column = evidence.names.index("noise_level")
    gone, typical = evidence.x.copy(), evidence.x.copy()
    gone[:, column], typical[:, column] = np.nan, evidence.median[column]
    found = combiner.predict(replace(evidence, x=gone))
    np.testing.assert_array_equal(
        found.probability_flat, combiner.predict(replace(evidence, x=typical)).probability_flat
    )
    assert found.lacks[0] == ("noise_level",)


def test_an_error_unlike_all_plants_is_not_stated(combiner: Combiner, evidence: Evidence) -> None:
    x = evidence.x.copy()
    x[0] = np.where(np.arange(x.shape[1]) % 2, 5, -5)
    found = combiner.predict(replace(evidence, x=x))
    assert found.unseen[0]
    assert not found.stated[0]
    assert found.unseen[1:].mean() < 0.1


def test_a_strange_reference_leaves_single_causes_only(combiner: Combiner, evidence: Evidence) -> None:
    assert combiner.predict(evidence).drift == 0
    strange = replace(evidence, reference_quantiles=evidence.reference_quantiles + 50)
    found = combiner.predict(strange)
    assert found.drift > 0.9
    assert "outside the range" in found.note
    assert all(len(found.set90[row]) == 1 for row in np.flatnonzero(found.stated))
    assert found.stated.sum() < combiner.predict(evidence).stated.sum()


def test_groups_that_carry_the_cause_speak_for_it(combiner: Combiner, evidence: Evidence) -> None:
    cause = np.array([CLASSES.index(truth) for truth in FRESH.truth])
    groups, weight = combiner.ablate(evidence, cause)
    assert len(groups) <= 12
    mean = {
        truth: weight[np.array(FRESH.truth) == truth].mean(0) for truth in ("corruption", "adversarial", "occluded")
    }
    assert groups[mean["corruption"].argmax()] == "pixels_global"
    assert groups[mean["adversarial"].argmax()] == "survival"
    assert groups[mean["occluded"].argmax()] == "pixels_local"


def test_a_group_that_is_missing_says_nothing(combiner: Combiner, evidence: Evidence) -> None:
    x = evidence.x.copy()
    x[:, [group == "survival" for group in evidence.groups]] = np.nan
    groups, weight = combiner.ablate(replace(evidence, x=x), np.zeros(len(x), np.int64))
    assert (weight[:, groups.index("survival")] == 0).all()


def test_without_reference_only_very_sure_causes_are_stated(combiner: Combiner) -> None:
    few = FRESH.reference.at(np.arange(30))
    found = combiner.predict(assemble(FRESH.errors, few, FRESH.recurrence, stages=STAGES, known=SIGNS))
    assert found.situation == "3+helper without reference"
    assert found.threshold >= 0.9
    assert "no reference" in found.note
    assert (found.probability.max(1)[found.stated] >= 0.9).all()


@pytest.mark.parametrize("stages", [("pixels", "scores"), STAGES[:4]])
def test_earlier_stages_have_a_calibration_of_their_own(combiner: Combiner, stages: tuple[str, ...]) -> None:
    found = combiner.predict(assemble(FRESH.errors, FRESH.reference, FRESH.recurrence, stages=stages, known=SIGNS))
    assert found.situation == f"I{1 if len(stages) == 2 else 2}+helper"
    assert "crops" in found.lacks[0]
    np.testing.assert_allclose(found.probability.sum(1), 1)


def test_no_error_gives_an_empty_prediction(combiner: Combiner, evidence: Evidence) -> None:
    found = combiner.predict(evidence.at(np.zeros(0, np.int64)))
    assert found.probability.shape == (0, 8)
    assert found.cause == ()
    assert combiner.ablate(evidence.at(np.zeros(0, np.int64)), np.zeros(0, np.int64))[1].shape[0] == 0
