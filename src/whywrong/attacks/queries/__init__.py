"""Attacks that only ask for predictions: they make a misclassified image right within a budget of queries.

Images are whole grey levels, as an endpoint receives them, so that each answer is about the very image that is
returned. Every query is counted per image, and no image is asked twice.
"""

from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.hop_skip_jump import HopSkipJumpConfig, HopSkipJumpResult, hop_skip_jump
from whywrong.attacks.queries.inspection import AnswerTraits, inspect_answers
from whywrong.attacks.queries.length_search import LengthSearchConfig, LengthSearchResult, length_search
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.pattern_search import PatternSearchConfig, PatternSearchResult, pattern_search
from whywrong.attacks.queries.prior_gradient import PriorGradientConfig, PriorGradientResult, prior_gradient
from whywrong.attacks.queries.result import QueryResult
from whywrong.attacks.queries.simba import SimbaConfig, SimbaResult, simba
from whywrong.attacks.queries.square import SquareConfig, SquareResult, square

__all__ = [
    "AnswerMemory",
    "AnswerTraits",
    "HopSkipJumpConfig",
    "HopSkipJumpResult",
    "LengthSearchConfig",
    "LengthSearchResult",
    "PatternSearchConfig",
    "PatternSearchResult",
    "PriorGradientConfig",
    "PriorGradientResult",
    "QueryConfig",
    "QueryResult",
    "SimbaConfig",
    "SimbaResult",
    "SquareConfig",
    "SquareResult",
    "hop_skip_jump",
    "inspect_answers",
    "length_search",
    "pattern_search",
    "prior_gradient",
    "simba",
    "square",
]
