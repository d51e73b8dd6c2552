"""Lists of work from verdicts, groups and predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whywrong.verdicts.cases.predictions import Predictions
from whywrong.verdicts.groups import Group
from whywrong.verdicts.repair.worklists import suspicions, work_items


def predictions(n: int = 6) -> Predictions:
    """Errors but for the last; the first ones are the surest."""
    label = np.zeros(n, np.int64)
    predicted = np.ones(n, np.int64)
    predicted[-1] = 0
    confidence = np.linspace(0.95, 0.5, n)
    return Predictions(
        item_ids=np.array([f"i{k}" for k in range(n)], object),
        image_ids=np.array([f"m{k}" for k in range(n)], object),
        keys=np.array([f"{k}.png" for k in range(n)], object),
        same_as=np.array([None] * n, object),
        label=label,
        predicted=predicted,
        confidence=confidence,
        true_confidence=np.where(predicted == label, confidence, 0.9 - 0.9 * confidence),
        rank=np.where(predicted == label, 1, 2),
        margin=np.ones(n),
        runner_up=np.ones(n, np.int64),
        names=("cat", "dog", "cow"),
    )


def verdict(cause: str, tested: str = "untested") -> dict[str, object]:
    return {"cause": cause, "tested": tested, "why_text": "Why.", "for_text": ["For."], "do_text": "Do."}


def group(kind: str, cause: str, *items: str) -> Group:
    return Group(
        name=kind, kind=kind, cause=cause, members=items, size=len(items), share=0.1, sentence="Shared.", action="Act."
    )


def test_an_error_is_on_the_list_of_its_verdict_stated_ones_first():
    given = {"i0": verdict("spurious"), "i3": verdict("spurious", "supported"), "i1": verdict("label")}
    found = work_items(predictions(), [], given)
    assert [(one.work, one.item_id) for one in found] == [
        ("relabel", "i1"),
        ("background", "i3"),
        ("background", "i0"),
        ("open", "i2"),
        ("open", "i4"),
    ]
    assert found[0].suggested == "dog"
    assert [one.suggested for one in found[1:]] == [""] * 4
    assert (found[1].stated, found[2].stated) == (True, False)
    assert (found[0].evidence, found[0].action) == ("Why. For.", "Do.")


def test_facts_of_the_data_come_before_a_verdict_and_groups_speak_where_there_is_none():
    groups = [group("ambiguous", "confusion", "i0", "i2"), group("placeholder", "label", "i1")]
    found = {
        one.item_id: one
        for one in work_items(predictions(), groups, {"i1": verdict("spurious"), "i0": verdict("shift")})
    }
    assert (found["i1"].work, found["i1"].evidence) == ("remove", "Shared.")
    assert found["i0"].work == "unlike"
    assert (found["i2"].work, found["i2"].action) == ("boundary", "Act.")


def test_a_cause_that_is_undetermined_leaves_the_error_to_its_groups():
    found = {
        one.item_id: one.work
        for one in work_items(predictions(), [group("dark", "corruption", "i2")], {"i2": verdict("undetermined")})
    }
    assert found["i2"] == "damaged"
    assert found["i3"] == "open"


def test_the_surest_prediction_against_the_label_is_the_most_suspicious():
    some = predictions()
    values = suspicions(some)
    assert values[-1] == 0
    assert (np.diff(values[:-1]) < 0).all()
    assert values[0] == pytest.approx(np.log(0.95 / 0.045))


def test_without_scores_the_lists_are_made_and_no_suspicion_is_told():
    unknown = np.full(6, np.nan)
    some = replace(predictions(), confidence=unknown, true_confidence=unknown)
    found = work_items(some, [], {})
    assert len(found) == 5
    assert all(np.isnan(one.suspicion) for one in found)
