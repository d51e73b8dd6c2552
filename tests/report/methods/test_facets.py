"""The menus of the gallery: the words and bins of an error, and what there is to choose from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whywrong.report.facets import controls
from whywrong.report.methods.base import Choice
from whywrong.report.methods.counterfactuals.overview import choices as words
from whywrong.report.methods.counterfactuals.overview import trust_of
from whywrong.report.methods.patch_groups.overview import choices as bins
from whywrong.report.methods.patch_groups.overview import enough_of
from whywrong.report.reports import find_reports
from whywrong.report.tables import Row


def changed(*rows: dict[str, Any]) -> Row:
    return Row(counterfactuals=[Row(status="ok", role="true", eps=1.0, valid=True) | row for row in map(Row, rows)])


def grouped(**columns: Any) -> Row:
    return Row(patch_groups=Row(status="ok", **columns))


def test_the_change_at_the_largest_radius_is_the_one_that_counts():
    row = changed({"eps": 1.0, "trust": "semantic"}, {"eps": 2.0, "trust": "adversarial"})
    assert trust_of(row) == "adversarial"


def test_the_change_into_the_wrong_class_does_not_count():
    assert trust_of(changed({"role": "wrong", "trust": "semantic"})) == "not looked for"


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"valid": False, "trust": "semantic"}, "not reached"),
        ({"trust": None}, "unchecked"),
        ({"trust": "semantic", "guide": "none"}, "led by noise"),
        ({"trust": "undecided", "guide": "none"}, "undecided"),
        ({"status": "refused", "trust": "semantic"}, "not looked for"),
        ({"eps": None, "trust": "semantic"}, "not looked for"),
    ],
)
def test_a_change_is_called_semantic_only_where_it_may_be_shown_as_an_explanation(columns, word):
    assert trust_of(changed(columns)) == word


def test_an_error_without_the_methods_has_neither():
    assert trust_of(Row()) == "not looked for"
    assert enough_of(Row()) == ("not looked for", -1)


@given(size=st.integers(1, 10_000))
def test_bins_double_and_hold_their_sizes(size):
    key, found = enough_of(grouped(sufficient_found=True, sufficient_size=size))
    assert found == size
    assert int(key) <= size < 2 * int(key)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"sufficient_found": True, "sufficient_size": 0}, ("0", 0)),
        ({"sufficient_found": False, "sufficient_size": 3}, ("none found", -1)),
        ({"sufficient_found": None}, ("not looked for", -1)),
        ({"status": "skipped", "sufficient_found": True, "sufficient_size": 3}, ("not looked for", -1)),
    ],
)
def test_a_group_that_was_not_found_has_no_size(columns, found):
    assert enough_of(Row(patch_groups=Row(status="ok") | Row(columns))) == found


def test_menus_hold_what_occurs_in_order_with_its_number():
    changes = [changed({"trust": trust}) for trust in ("undecided", "semantic", "semantic", "semantic")]
    assert words(changes) == [Choice("semantic", "semantic", 3), Choice("undecided", "undecided", 1)]
    sizes = [grouped(sufficient_found=True, sufficient_size=size) for size in (5, 1, 0)]
    found = bins([*sizes, grouped(sufficient_found=False)])
    assert [(choice.key, choice.label, choice.number) for choice in found] == [
        ("0", "none needed", 1),
        ("1", "1\u00a0patch", 1),
        ("4", "4 to 5 patches", 1),
        ("none found", "none found", 1),
    ]


def test_a_menu_with_nothing_to_choose_is_not_drawn():
    assert words([Row(), Row()]) == bins([Row(), Row()]) == []
    assert controls(find_reports({}), [Row(), Row()]) == controls(find_reports({}), []) == []


def test_a_word_that_nobody_knew_is_still_offered():
    assert [choice.key for choice in words([changed({"trust": "curious"}), Row()])] == ["curious", "not looked for"]
