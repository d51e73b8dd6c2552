"""Evidence on errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.verdicts.synthetic import SIGNS, STAGES, measured

from whywrong.verdicts.combiner.training_table import StoredRecurrence
from whywrong.verdicts.evidence import Evidence, assemble, cascade_stage
from whywrong.verdicts.measured import Measured


def recurring(n: int) -> StoredRecurrence:
    return StoredRecurrence(count=np.arange(n), best=np.linspace(0, 1, n), cluster=np.arange(n) % 3 - 1)


def evidence(errors: Measured, reference: Measured, stages: tuple[str, ...] = STAGES) -> Evidence:
    return assemble(errors, reference, recurring(len(errors)), stages=stages, known=SIGNS)


def column(found: Evidence, name: str) -> np.ndarray:
    return found.x[:, found.names.index(name)]


def test_every_column_has_a_group_and_full_measurements_leave_nothing_missing() -> None:
    found = evidence(measured(30, 0, name="error"), measured(120, 1))
    assert len(found.names) == len(set(found.names)) == len(found.groups) == found.x.shape[1] == len(found.median)
    assert {"helper", "recurrence", "features", "scores", "survival"} <= set(found.groups)
    assert np.isfinite(found.x).mean() > 0.99
    assert (found.access, found.stage, found.helpers, found.calibration) == ("I", 3, 1, "")


def test_role_played_reference_images_have_normal_scores_around_zero() -> None:
    reference = measured(200, 2)
    found = evidence(reference, reference)
    for name in ("noise_level", "window_best", "helper_log_ratio", "feature_norm"):
        assert abs(column(found, name).mean()) < 0.02
        assert 0.9 < column(found, name).std() < 1.1


def test_scaling_the_logits_and_permuting_the_classes_change_nothing() -> None:
    errors, reference = measured(25, 6, name="error"), measured(110, 7)
    order = np.random.default_rng(8).permutation(6)
    logit = np.array([sign.kind == "logit" for sign in SIGNS])
    moved = []
    for part in (errors, reference):
        logits, helper = np.empty_like(part.logits), np.empty_like(part.helper_logits)
        logits[:, order], helper[..., order] = 3 * part.logits, part.helper_logits
        signs = np.where(logit, 3 * part.signs, part.signs)
        moved.append(
            replace(
                part,
                label=order[part.label],
                predicted=order[part.predicted],
                logits=logits,
                helper_logits=helper,
                signs=signs,
            )
        )
    np.testing.assert_allclose(evidence(*moved).x, evidence(errors, reference).x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("stages", "stage", "missing"),
    [(("pixels", "scores"), 1, {"survival", "crops", "window", "gradient"}), (STAGES[:4], 2, {"crops", "window"})],
)
def test_signs_of_later_stages_are_missing(stages: tuple[str, ...], stage: int, missing: set[str]) -> None:
    found = evidence(measured(9, 9, name="error"), measured(80, 10), stages)
    assert found.stage == stage == cascade_stage(stages)
    empty = {group for group, gone in zip(found.groups, np.isnan(found.x).all(0), strict=True) if gone}
    assert empty == missing


def test_fewer_than_fifty_reference_images_leave_shares_alone() -> None:
    found = evidence(measured(9, 11, name="error"), measured(49, 12))
    assert found.calibration == "no reference"
    ranked = np.array(found.columns.ranked)
    assert np.isnan(found.x[:, ranked]).all()
    assert np.isfinite(column(found, "survival_label")).all()


def test_access_follows_from_what_was_measured() -> None:
    errors, reference = measured(9, 13, name="error"), measured(80, 14)
    gone = [replace(part, features=part.features[:, :0]) for part in (errors, reference)]
    assert evidence(*gone).access == "G"
    place = errors.sign_names.index("gradient_share")
    blind = [part.signs.copy() for part in gone]
    for signs in blind:
        signs[:, place] = np.nan
    gone = [replace(part, signs=signs) for part, signs in zip(gone, blind, strict=True)]
    assert evidence(*gone).access == "S"
    assert evidence(*(replace(part, logits=part.logits[:, :0]) for part in gone)).access == "L"


def test_without_helper_and_recurrence_their_columns_are_missing() -> None:
    errors, reference = (replace(measured(n, n), helper_logits=np.zeros((0, n, 6), np.float32)) for n in (9, 80))
    found = assemble(errors, reference, None, stages=STAGES, known=SIGNS)
    gone = [np.isnan(found.x[:, i]).all() for i, group in enumerate(found.groups) if group in ("helper", "recurrence")]
    assert len(gone) == 9
    assert all(gone)
    assert found.helpers == 0
