"""The words that say how a method ended on an image."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a method ended on one image; every stored table has one of these words in its column ``status``."""

    OK = "ok"
    """The method found what it looks for, and the result passed its own checks."""
    SKIPPED = "skipped"
    """The image was not to be explained in full."""
    REFUSED = "refused"
    """No result may be shown: a check failed, the scores are not finite, or the model raised an error."""
    BAD_INPUT = "bad_input"
    """The pixels are not finite or lie outside [0, 1]."""
    NO_ANSWER = "no_answer"
    """The search ended without finding what it looks for."""
    ALREADY_CORRECT = "already_correct"
    """The model predicts the class asked for without any change."""


FORMER = {"fixed": Status.OK, "not_fixed_in_budget": Status.NO_ANSWER}
"""Words in the tables of earlier versions, and what they are called now."""
