"""All groups that need no pass through the model."""

from __future__ import annotations

from collections.abc import Callable

from whywrong.verdicts.groups.attractors import attractors, confused_pairs, family_groups
from whywrong.verdicts.groups.duplicates import duplicates
from whywrong.verdicts.groups.exposure import damaged_exposure
from whywrong.verdicts.groups.framing import cut_off, outside_object, tiny
from whywrong.verdicts.groups.group import Group
from whywrong.verdicts.groups.labels import close_calls, label_suspects
from whywrong.verdicts.groups.placeholders import placeholders
from whywrong.verdicts.groups.rows import Rows

_KINDS: tuple[Callable[[Rows], list[Group]], ...] = (
    placeholders,
    duplicates,
    label_suspects,
    cut_off,
    outside_object,
    tiny,
    damaged_exposure,
    confused_pairs,
    close_calls,
    attractors,
    family_groups,
)


def free_groups(rows: Rows) -> list[Group]:
    """Find all groups from stored predictions and optional measurements.

    The search needs no pass through the model. An error may be in several groups. Kinds without measurements are
    omitted.

    Returns:
        Groups, ordered by kind; obvious problems of the data come first.
    """
    if not len(rows.wrong):
        return []
    return [group for kind in _KINDS for group in kind(rows)]
