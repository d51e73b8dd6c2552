"""Error messages for common wrong types of a model or its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec

_SPEC = "whywrong.InputSpec(height=224, width=224, resize=256, mean=(...), std=(...))"
_WRAP = f'whywrong.Classifier(model, classes=["cat", "dog"], preprocess={_SPEC})'


def refuse_classifier(value: Any) -> InputError:
    """Build the error for a value that is no classifier.

    The message says how to make one.
    """
    if isinstance(value, (str, Path)):
        remedy = f'the text "{value}": load it first, as whywrong.load_classifier("{value}")'
    elif callable(value):
        remedy = f"a {type(value).__name__}: wrap it first, as {_WRAP}"
    else:
        remedy = f"a {type(value).__name__}: make one with whywrong.load_classifier or whywrong.Classifier"
    return InputError(f"expected a whywrong.Classifier, got {remedy}")


def check_arguments(model: Any, preprocess: Any, access: Any, batch_size: Any) -> None:
    """Refuse arguments of a classifier that have the wrong type.

    Raises:
        InputError: The type is wrong; the message says what to pass.
    """
    if isinstance(model, (str, Path)):
        raise InputError(
            f'"{model}" is a name: give it to whywrong.load_classifier; Classifier takes the module itself'
        )
    if not callable(model):
        raise InputError(f"a model must be a module or another callable, got {type(model).__name__}")
    if not isinstance(preprocess, (InputSpec, type(None))):
        raise InputError(_refused_preprocess(preprocess))
    if not isinstance(access, (Access, type(None))):
        levels = ", ".join(f"whywrong.Access.{level.name}" for level in Access)
        raise InputError(f"access must be one of {levels}, got {access!r}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")


def _refused_preprocess(preprocess: Any) -> str:
    if isinstance(preprocess, (tuple, list)) and len(preprocess) == 3 and all(isinstance(n, int) for n in preprocess):
        channels, height, width = preprocess
        remedy = f"as whywrong.InputSpec(channels={channels}, height={height}, width={width})"
    elif callable(preprocess):
        remedy = (
            f"transforms go to whywrong.load_classifier(model, preprocess=...); here state what they do, as {_SPEC}"
        )
    else:
        remedy = f"as {_SPEC}"
    return f"preprocess must be a whywrong.InputSpec, got {type(preprocess).__name__} {preprocess!r:.60}; {remedy}"
