"""Actions against the cause of a group of errors, and what they gain on errors that were held out."""

from whywrong.verdicts.advice.actions import ACTIONS, Action, Pictures
from whywrong.verdicts.advice.measure import Advice, advise

__all__ = ["ACTIONS", "Action", "Advice", "Pictures", "advise"]
