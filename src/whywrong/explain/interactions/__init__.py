"""Multi-order interactions of image patches, which show the kind of cooperation behind a decision."""

import importlib
import warnings
from typing import Any

from whywrong.explain.interactions.curves import PlayerMaps, SignedMeans, player_maps, signed_means
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.interop import from_shapiq, to_shapiq
from whywrong.explain.interactions.pairs import all_pairs, clamped_weights, draw_pairs, near_pairs, orders_of
from whywrong.explain.interactions.profile import GroupProfile, Profile, group_profile
from whywrong.explain.masking import (
    FunctionGame,
    Game,
    ImageGame,
    PlayersConfig,
    TableGame,
    ValueFunction,
    class_values,
)

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

_GROUPS = "whywrong.reproduce.interactions"
_MOVED = {"Comparison", "Groups", "GroupsConfig", "MeasureConfig", "MeasuredGroups", "compare", "curves_of"}
_MOVED |= {"make_groups", "measure_groups"}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} moved to {_GROUPS}; import it from there", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(_GROUPS), name)
