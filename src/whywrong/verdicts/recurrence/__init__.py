"""Marks that come back in several errors with the same prediction.

A cue that is not part of the object, such as a sticker or a watermark, looks alike wherever it occurs. It is found by
comparing the fine content of errors at the same place, and needs no pass of the model.
"""

from whywrong.verdicts.recurrence.content import fine_content
from whywrong.verdicts.recurrence.result import Mark, Recurrence
from whywrong.verdicts.recurrence.search import recurrence

__all__ = ["Mark", "Recurrence", "fine_content", "recurrence"]
