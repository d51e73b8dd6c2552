"""Multi-order interactions of image patches: what kind of cooperation was behind a decision."""

from whywrong.explain.interactions.curves import PlayerMaps, SignedMeans, player_maps, signed_means
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.games import FunctionGame, Game, TableGame
from whywrong.explain.interactions.interop import from_shapiq, to_shapiq
from whywrong.explain.interactions.pairs import all_pairs, clamped_weights, draw_pairs, near_pairs, orders_of
from whywrong.explain.interactions.players import ImageGame, PlayersConfig
from whywrong.explain.interactions.profile import GroupProfile, Profile, group_profile
from whywrong.explain.interactions.values import ValueFunction, class_values

__all__ = [
    "FunctionGame",
    "Game",
    "GroupProfile",
    "ImageGame",
    "InteractionsConfig",
    "PlayerMaps",
    "PlayersConfig",
    "Profile",
    "SignedMeans",
    "TableGame",
    "ValueFunction",
    "all_pairs",
    "clamped_weights",
    "class_values",
    "draw_pairs",
    "estimate",
    "from_shapiq",
    "group_profile",
    "near_pairs",
    "orders_of",
    "player_maps",
    "signed_means",
    "to_shapiq",
]
