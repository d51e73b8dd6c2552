"""The inverted adversarial attack: the smallest change that turns a misclassified image right."""

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.method import invert
from whywrong.attacks.inverted.result import InvertedResult

__all__ = ["InvertedConfig", "InvertedResult", "invert"]
