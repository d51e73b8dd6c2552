"""Patch groups, the smallest sets of patches that make, break or correct a decision."""

from whywrong.explain.patch_groups.config import PatchGroupsConfig
from whywrong.explain.patch_groups.game import PatchGame
from whywrong.explain.patch_groups.grad_cam import grad_cam
from whywrong.explain.patch_groups.greedy import greedy, greedy_order
from whywrong.explain.patch_groups.method import patch_groups
from whywrong.explain.patch_groups.rankings import RANKINGS, Curves, curves, order_of
from whywrong.explain.patch_groups.result import Group, PatchGroupsResult
from whywrong.explain.patch_groups.rollout import rollout
from whywrong.explain.patch_groups.search import GreedyPath, Search
from whywrong.explain.patch_groups.shapley import shapley_by_contexts, shapley_values

__all__ = [
    "RANKINGS",
    "Curves",
    "GreedyPath",
    "Group",
    "PatchGame",
    "PatchGroupsConfig",
    "PatchGroupsResult",
    "Search",
    "curves",
    "grad_cam",
    "greedy",
    "greedy_order",
    "order_of",
    "patch_groups",
    "rollout",
    "shapley_by_contexts",
    "shapley_values",
]
