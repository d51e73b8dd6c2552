"""Fixes of misclassified images behind a black box: surrogate first, then queries, within a budget."""

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.method import black_box
from whywrong.attacks.black_box.result import BlackBoxResult

__all__ = ["BlackBoxConfig", "BlackBoxResult", "black_box"]
