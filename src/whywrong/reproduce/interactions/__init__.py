"""Claims C1 to C8 about multi-order interactions and patch groups, and the comparison of groups that they rest on."""

from whywrong.reproduce.interactions.compare_groups import Comparison, compare, curves_of
from whywrong.reproduce.interactions.groups import Groups, GroupsConfig
from whywrong.reproduce.interactions.make_groups import make_groups
from whywrong.reproduce.interactions.measure_groups import MeasureConfig, MeasuredGroups, measure_groups

__all__ = [
    "Comparison",
    "Groups",
    "GroupsConfig",
    "MeasureConfig",
    "MeasuredGroups",
    "compare",
    "curves_of",
    "make_groups",
    "measure_groups",
]
