"""Minimal-norm attacks: the smallest change, in a chosen norm, that reaches a class or leaves it."""

from whywrong.attacks.minimal.attack import smallest_change
from whywrong.attacks.minimal.config import SmallestFixConfig
from whywrong.attacks.minimal.method import smallest_fix
from whywrong.attacks.minimal.result import SmallestChangeResult, SmallestFixResult

__all__ = ["SmallestChangeResult", "SmallestFixConfig", "SmallestFixResult", "smallest_change", "smallest_fix"]
