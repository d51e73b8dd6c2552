"""The group of the errors that look cut off by the crop."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.groups import Group
from whywrong.verdicts.natural.cut_group import cut_group
from whywrong.verdicts.natural.rules import NaturalFinding

CASES = Cases(("a", "b", "c", "d"), ("a", "b", "c", "d"), np.zeros(4, np.int64), np.ones(4, np.int64))


def finding(kind: str, gain: float) -> NaturalFinding:
    return NaturalFinding(
        cause="occluded", kind=kind, stated=False, sentence="", numbers={"whole_gain": gain}, for_text=()
    )


def by_boxes(*items: str) -> Group:
    return Group(
        name="", kind="cut_off", cause="occluded", members=items, size=len(items), share=0.1, sentence="", action=""
    )


def test_errors_that_look_cut_off_form_a_group_those_that_gain_most_first():
    found = {0: finding("cut", 1.0), 1: finding("alike classes", 9.0), 2: finding("cut", 3.0), 3: finding("cut", 2.0)}
    [group] = cut_group(found, CASES, [], 40)
    assert group.members == ("c", "d", "a")
    assert (group.size, group.share, group.suspected) == (3, 3 / 40, True)
    assert group.sentence.startswith("In 3 of 40 errors the crop seems to cut off the object")
    assert group.statistics == {"whole_gain": 2.0}


def test_an_error_whose_box_shows_it_is_not_told_twice():
    found = {row: finding("cut", float(row)) for row in range(4)}
    [group] = cut_group(found, CASES, [by_boxes("d")], 40)
    assert group.members == ("c", "b", "a")
    assert cut_group(found, CASES, [by_boxes("a", "b", "d")], 40) == []


def test_a_single_error_is_no_group():
    assert cut_group({1: finding("cut", 5.0)}, CASES, [], 40) == []
