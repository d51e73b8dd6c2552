"""Multi-order interactions of image patches: what kind of cooperation was behind a decision."""

from whywrong.explain.interactions.comparison import Comparison, compare, curves_of
from whywrong.explain.interactions.curves import PlayerMaps, SignedMeans, player_maps, signed_means
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.games import FunctionGame, Game, TableGame
from whywrong.explain.interactions.groups import Groups, GroupsConfig
from whywrong.explain.interactions.interop import from_shapiq, to_shapiq
from whywrong.explain.interactions.making import make_groups
from whywrong.explain.interactions.measured import MeasureConfig, MeasuredGroups, measure_groups
from whywrong.explain.interactions.pairs import all_pairs, clamped_weights, draw_pairs, near_pairs, orders_of
from whywrong.explain.interactions.players import ImageGame, PlayersConfig
from whywrong.explain.interactions.profile import GroupProfile, Profile, group_profile
from whywrong.explain.interactions.values import ValueFunction, class_values

__all__ = [
    "Comparison",
    "FunctionGame",
    "Game",
    "GroupProfile",
    "Groups",
    "GroupsConfig",
    "ImageGame",
    "InteractionsConfig",
    "MeasureConfig",
    "MeasuredGroups",
    "PlayerMaps",
    "PlayersConfig",
    "Profile",
    "SignedMeans",
    "TableGame",
    "ValueFunction",
    "all_pairs",
    "clamped_weights",
    "class_values",
    "compare",
    "curves_of",
    "draw_pairs",
    "estimate",
    "from_shapiq",
    "group_profile",
    "make_groups",
    "measure_groups",
    "near_pairs",
    "orders_of",
    "player_maps",
    "signed_means",
    "to_shapiq",
]
