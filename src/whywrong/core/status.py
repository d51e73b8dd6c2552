"""Outcomes of a method on an image."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Outcome of a method on one image, stored in the column ``status`` of every table."""

    OK = "ok"
    """The method found what it searched for, and the result passed its own checks."""
    SKIPPED = "skipped"
    """The image was not selected for a full explanation."""
    REFUSED = "refused"
    """No result may be shown, as a check failed, the scores are not finite, or the model raised an error."""
    BAD_INPUT = "bad_input"
    """The pixels are not finite or lie outside [0, 1]."""
    NO_ANSWER = "no_answer"
    """The search ended without a result."""
    ALREADY_CORRECT = "already_correct"
    """The model predicts the requested class without any change."""


FORMER = {"fixed": Status.OK, "not_fixed_in_budget": Status.NO_ANSWER}
"""Outcomes in the tables of earlier versions, and their present names."""
