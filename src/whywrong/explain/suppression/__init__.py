"""Promotion and suppression, what a change of an image adds to one score and takes from another, cell by cell."""

from whywrong.explain.suppression.config import SuppressionConfig
from whywrong.explain.suppression.method import promotion_suppression, suppression
from whywrong.explain.suppression.result import SuppressionResult

__all__ = ["SuppressionConfig", "SuppressionResult", "promotion_suppression", "suppression"]
