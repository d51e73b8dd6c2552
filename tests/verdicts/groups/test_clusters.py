"""Clusters are kept where held-out photographs confirm them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.verdicts.groups.made import rows_of

from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.groups import clusters
from whywrong.verdicts.groups.descriptors import PIXEL_SIGNS, descriptors
from whywrong.verdicts.groups.held_out import checked_clusters, half_of
from whywrong.verdicts.measured import Measured

N, PLANTED = 160, 30


def measured(n: int, seed: int = 0, name: str = "i") -> Measured:
    random = np.random.default_rng(seed)
    label = random.integers(0, 6, n)
    nothing = np.zeros((n, 0), np.float32)
    return Measured(
        item_ids=tuple(f"{name}{row:04d}" for row in range(n)),
        sources=tuple(f"{name}s{row}" for row in range(n)),
        label=label,
        predicted=(label + random.integers(1, 6, n)) % 6,
        logits=nothing,
        features=random.normal(size=(n, 20)).astype(np.float32),
        sign_names=PIXEL_SIGNS,
        signs=random.normal(size=(n, len(PIXEL_SIGNS))).astype(np.float32),
        test_names=(),
        restored=nothing,
        detail=random.normal(0, 0.05, (n, 3, 16, 16)).astype(np.float16),
        helper_logits=np.zeros((0, n, 0), np.float32),
        forwards=np.zeros(n, np.int64),
        backwards=np.zeros(n, np.int64),
    )


def planted() -> Measured:
    """Return errors of which the first thirty have alike features, one pair and much noise."""
    errors, random = measured(N), np.random.default_rng(7)
    errors.features[:PLANTED] = 2 * random.normal(size=20) + 0.4 * random.normal(size=(PLANTED, 20))
    errors.label[:PLANTED], errors.predicted[:PLANTED] = 3, 5
    errors.signs[:PLANTED, PIXEL_SIGNS.index("noise_level")] += 4
    return errors


def probability(cause: str = "corruption") -> np.ndarray:
    found = np.full((N, len(CLASSES)), 0.05)
    found[:, CLASSES.index(cause)] = 0.65
    return found


def rows(errors: Measured):
    return rows_of(errors.label, errors.predicted, 6, item_ids=errors.item_ids, sources=errors.sources)


def test_alike_errors_are_one_cluster_with_a_name():
    errors = planted()
    [group] = clusters(rows(errors), errors, measured(200, 1, "r"), probability())
    own = set(errors.item_ids[:PLANTED])
    assert len(own & set(group.members)) >= 0.8 * PLANTED  # the rest lies outside the radius
    assert len(own & set(group.members)) >= 0.9 * group.size
    assert group.cause == "corruption"
    assert group.pair == (3, 5)
    assert group.name == "corruption, mostly class 3 predicted as class 5, much fine noise"
    assert group.held_out_p <= 0.05
    assert group.cohesion >= 0.4


def test_shuffled_errors_are_none():
    for seed in range(8):
        errors = planted()
        random = np.random.default_rng(seed)
        errors = replace(
            errors,
            features=random.permuted(errors.features, axis=0),
            signs=random.permuted(errors.signs, axis=0),
            label=random.permutation(errors.label),
        )
        assert clusters(rows(errors), errors, measured(200, 1, "r"), probability()) == []


def test_errors_that_share_a_mark_are_left_out():
    errors = planted()
    taken = errors.item_ids[:PLANTED]
    assert clusters(rows(errors), errors, measured(200, 1, "r"), probability(), taken) == []


def test_errors_without_a_cause_are_told_to_be_alike_only():
    errors = planted()
    [group] = clusters(rows(errors), errors, measured(200, 1, "r"), probability("ordinary"))
    assert group.cause == ""
    assert "look alike" in group.sentence


def test_a_cluster_of_copies_of_one_photograph_is_not_confirmed():
    errors = planted()
    sources = ("one",) * PLANTED + errors.sources[PLANTED:]
    assert clusters(rows(errors), replace(errors, sources=sources), measured(200, 1, "r"), probability()) == []


def test_halves_follow_the_names_of_the_photographs():
    names = [f"s{row}" for row in range(500)]
    half = half_of(names)
    assert 0.4 < half.mean() < 0.6
    np.testing.assert_array_equal(half[::-1], half_of(names[::-1]))


@pytest.mark.parametrize("n", [0, 3, 12])
def test_few_errors_give_no_clusters(n):
    assert checked_clusters(np.zeros((n, 4)), [f"s{row}" for row in range(n)], 5) == []


def test_missing_measurements_have_no_columns():
    errors, reference = measured(N), measured(200, 1, "r")
    bare = replace(errors, features=errors.features[:, :0], sign_names=(), signs=errors.signs[:, :0])
    some = replace(bare, detail=errors.detail[:, :, :0, :0])
    assert descriptors(errors, reference, probability(), np.zeros((0, 0))).shape == (N, 8 + 16 + 4 + 6)
    assert descriptors(some, reference, probability(), np.zeros((0, 0))).shape == (N, 8)
    assert np.isfinite(descriptors(bare, reference, probability(), np.eye(6))).all()
