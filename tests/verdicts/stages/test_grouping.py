"""The groups of a run, and the order in which they are shown."""

from __future__ import annotations

import numpy as np
from tests.verdicts.groups.test_clusters import PLANTED, measured, planted, probability

from whywrong.verdicts.cases.predictions import Predictions
from whywrong.verdicts.groups import Group
from whywrong.verdicts.stages.grouping import Combined, find_groups, order_groups


def group(members: str, *, suspected: bool, kind: str = "pair") -> Group:
    return Group(
        name="g", kind=kind, cause="", members=tuple(members), size=len(members), share=0.1, suspected=suspected,
        sentence="s", action="a",
    )  # fmt: skip


def test_supported_groups_come_first_and_those_with_the_most_corrected_errors_before_larger_ones():
    groups = [group("abcdefgh", suspected=True), group("ij", suspected=False), group("klm", suspected=False)]
    assert order_groups(groups, {}) == [2, 1, 0]
    assert order_groups(groups, {1: 1.0}) == [1, 2, 0]
    assert order_groups(groups, {0: 1.0}) == [2, 1, 0]


def test_a_suspected_group_that_supported_ones_mostly_explain_comes_last():
    supported = group("abcdef", suspected=False)
    mostly, half, small = (
        group("abcdefg", suspected=True),
        group("abcuvwxyz", suspected=True),
        group("q", suspected=True),
    )
    assert order_groups([mostly, supported, half, small], {}) == [1, 2, 3, 0]


def test_a_small_group_that_is_a_fact_comes_before_larger_suspicions():
    groups = [
        group("abcdefgh", suspected=True),
        group("ij", suspected=True, kind="placeholder"),
        group("kl", suspected=False),
    ]
    assert order_groups(groups, {0: 1.0}) == [2, 1, 0]


def test_errors_with_one_leading_cause_are_clustered_once_all_stages_are_measured():
    errors = planted()
    n = len(errors)
    names = np.array(errors.item_ids, object)
    predictions = Predictions(
        item_ids=names, image_ids=names, keys=names, same_as=np.full(n, None), label=errors.label,
        predicted=errors.predicted, confidence=np.full(n, 0.6), true_confidence=np.full(n, 0.1), rank=np.full(n, 3),
        margin=np.ones(n), runner_up=errors.label, names=tuple("abcdef"),
    )  # fmt: skip
    combined = Combined(errors, measured(200, 1, "r"), probability())
    assert "cluster" not in {group.kind for group in find_groups(predictions, None, None)}
    [group] = [group for group in find_groups(predictions, None, None, combined) if group.kind == "cluster"]
    assert len(set(errors.item_ids[:PLANTED]).intersection(group.members)) >= 0.8 * PLANTED
    assert group.suspected
