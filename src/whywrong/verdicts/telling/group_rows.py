"""Rows of the tables of groups and of advice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from whywrong.verdicts.advice import Advice
from whywrong.verdicts.groups import Group
from whywrong.verdicts.tests_of_causes import CauseTest


def group_row(number: int, group: Group, test: CauseTest | None, advised: Advice | None) -> dict[str, Any]:
    """Make the row of a group in the table ``groups``.

    Args:
        number: Number of the group, from 1.
        group: The group.
        test: Test of the cause that its errors share.
        advised: The arm of its advised action.
    """
    return {
        "group_id": number,
        "name": group.name,
        "cause": group.cause,
        "kind": group.kind,
        "size": group.size,
        "share": group.share,
        "suspected": group.suspected,
        "sentence": group_sentence(group, test),
        "action": group.action if advised is None else advised_text(advised),
        "medoids": list(group.medoids),
        "members": list(group.members),
        "pair": None if group.pair is None else list(group.pair),
        "place": None if group.place is None else list(group.place),
        "held_out_p": group.held_out_p,
        "cohesion": group.cohesion,
        "effect": None if test is None else test.effect,
        "low": None if test is None else test.low,
        "high": None if test is None else test.high,
        "statistics": json.dumps({**group.statistics, **_numbers(test)}, default=float),
    }


def advice_rows(number: int, arms: Sequence[Advice], names: Sequence[str]) -> list[dict[str, Any]]:
    """Make the rows of the arms of a group in the table ``advice``."""
    return [
        {
            "group_id": number,
            "action": one.action,
            "arm": one.arm,
            "n_held": one.n_held,
            "mended": one.mended,
            "low": one.low,
            "high": one.high,
            "net_gain": one.net_gain,
            "net_low": one.net_low,
            "net_high": one.net_high,
            "negative_flips": one.negative_flips,
            "worst_class": names[one.worst_class] if one.worst_class >= 0 else None,
            "advised": one.advised,
            "command": one.words,
        }
        for one in arms
    ]


def advised_arm(arms: Sequence[Advice]) -> Advice | None:
    """Return the advised action that corrects most held-out errors; None if none is advised."""
    advised = [one for one in arms if one.advised]
    return max(advised, key=lambda one: one.mended / max(one.n_held, 1), default=None)


def advised_text(one: Advice) -> str:
    """Return an advised action with what it gains."""
    if one.action == "abstain":
        lost = one.negative_flips or "no"
        return f"{one.words}: this avoids {one.mended} of {one.n_held} held-out errors and {lost} correct predictions."
    lost = f"{one.negative_flips or 'no'} correct images become errors"
    return f"{one.words}: it corrects {one.mended} of {one.n_held} held-out errors, and {lost}."


def group_sentence(group: Group, test: CauseTest | None) -> str:
    """Return what the errors of a group share, with the outcome of their test and its control."""
    if test is None or test.outcome != "supported":
        return group.sentence
    restored, control = f"{100 * test.restored:.0f} %", f"{100 * test.control:.0f} %"
    if test.direction == "give":
        done = "pasted into" if group.cause == "spurious" else "applied to"
        turned = f"{restored} of them become errors; with the control {control}"
        return f"{group.sentence} If it is {done} correct images, {turned}."
    return (
        f"{group.sentence} Removing it restores the label in {restored} of the tries; in comparable correct images, "
        f"in {control}."
    )


def _numbers(test: CauseTest | None) -> Mapping[str, float]:
    if test is None:
        return {}
    return {"restored": test.restored, "control": test.control, "test_p": test.p, "controls": test.controls}
