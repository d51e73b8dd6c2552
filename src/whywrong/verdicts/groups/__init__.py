"""Groups of errors with a common property, described in words and with an action."""

from whywrong.verdicts.groups.assign import Assigned, assign
from whywrong.verdicts.groups.attractors import attractors, confused_pairs, family_groups
from whywrong.verdicts.groups.classes import ClassRow, class_table
from whywrong.verdicts.groups.clusters import clusters
from whywrong.verdicts.groups.free import free_groups
from whywrong.verdicts.groups.group import Group
from whywrong.verdicts.groups.marks import mark_groups
from whywrong.verdicts.groups.rows import Rows

__all__ = [
    "Assigned",
    "ClassRow",
    "Group",
    "Rows",
    "assign",
    "attractors",
    "class_table",
    "clusters",
    "confused_pairs",
    "family_groups",
    "free_groups",
    "mark_groups",
]
