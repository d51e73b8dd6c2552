"""The order in which groups are shown."""

from __future__ import annotations

from whywrong.verdicts.groups import Group
from whywrong.verdicts.stages.grouping import order_groups


def group(members: str, *, suspected: bool) -> Group:
    return Group(
        name="g", kind="pair", cause="", members=tuple(members), size=len(members), share=0.1, suspected=suspected,
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
