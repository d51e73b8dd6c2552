"""The inverted adversarial attack: the smallest change that makes a misclassified image correct."""

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.method import invert
from whywrong.attacks.inverted.result import InvertedResult

__all__ = ["InvertedConfig", "InvertedResult", "invert"]
