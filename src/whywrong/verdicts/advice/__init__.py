"""Actions against the cause of a group of errors, and their gain on held-out errors."""

from whywrong.verdicts.advice.actions import ACTIONS, Action
from whywrong.verdicts.advice.measure import NOTHING_HELPS, Advice, advise
from whywrong.verdicts.advice.pictures import Pictures, make_pictures
from whywrong.verdicts.advice.units import AdvicePart, AdviceUnit, Run, advice_on_groups, measure_advice, plan_advice

__all__ = [
    "ACTIONS",
    "NOTHING_HELPS",
    "Action",
    "Advice",
    "AdvicePart",
    "AdviceUnit",
    "Pictures",
    "Run",
    "advice_on_groups",
    "advise",
    "make_pictures",
    "measure_advice",
    "plan_advice",
]
