"""The group of the errors that look as if the crop cut off their object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.groups import Group
from whywrong.verdicts.groups.framing import CUT_OFF
from whywrong.verdicts.natural.rules import NaturalFinding

FEWEST = 2


def cut_group(findings: Mapping[int, NaturalFinding], cases: Cases, groups: Sequence[Group], total: int) -> list[Group]:
    """Collect the errors that the rule ``cut`` speaks of, and whose boxes did not show it before.

    Args:
        findings: By row, what the rules say.
        cases: The errors.
        groups: Groups found so far.
        total: Number of errors of the run.

    Returns:
        One group, those that the whole photograph helps most first, or none.
    """
    known = {item for group in groups if group.kind == CUT_OFF.kind for item in group.members}
    rows = [row for row, one in findings.items() if one.kind == "cut" and cases.item_ids[row] not in known]
    if len(rows) < FEWEST:
        return []
    gain = np.array([findings[row].numbers["whole_gain"] for row in rows])
    members = tuple(cases.item_ids[rows[at]] for at in np.argsort(-gain, kind="stable"))
    sentence = (
        f"In {len(members)} of {total} errors the crop seems to cut off the object: the whole photograph raises the"
        " label more than in most correct images."
    )
    return [
        Group(
            name="look cut off by the crop",
            kind=CUT_OFF.kind,
            cause=CUT_OFF.cause,
            members=members,
            size=len(members),
            share=len(members) / total,
            sentence=sentence,
            action=CUT_OFF.action,
            statistics={"whole_gain": float(np.median(gain))},
        )
    ]
