"""Sparse visual counterfactuals, the changes with which a classifier predicts another class."""

from whywrong.explain.counterfactuals.config import CounterfactualConfig, default_radius
from whywrong.explain.counterfactuals.method import counterfactual
from whywrong.explain.counterfactuals.result import CounterfactualBatch, CounterfactualResult
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.explain.counterfactuals.solvers.search_state import SearchResult
from whywrong.explain.counterfactuals.solvers.smallest import Smallest, smallest

__all__ = [
    "CounterfactualBatch",
    "CounterfactualConfig",
    "CounterfactualResult",
    "SearchResult",
    "Smallest",
    "counterfactual",
    "default_radius",
    "maximize",
    "smallest",
]
