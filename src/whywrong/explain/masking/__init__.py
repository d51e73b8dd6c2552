"""Masking games, the scores of a classifier for images of which only some regions are visible."""

from whywrong.explain.masking.games import FunctionGame, Game, TableGame
from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.masking.values import ValueFunction, class_values

__all__ = ["FunctionGame", "Game", "ImageGame", "PlayersConfig", "TableGame", "ValueFunction", "class_values"]
