"""Repair of a model or its data from what was found about its errors: lists of work, and measured fine-tuning."""

from whywrong.verdicts.repair.config import ARMS, RepairConfig
from whywrong.verdicts.repair.outcome import Outcome, compare
from whywrong.verdicts.repair.worklists import WorkItem, work_items

__all__ = ["ARMS", "Outcome", "RepairConfig", "WorkItem", "compare", "work_items"]
