"""Check for a main guard, without which a spawned worker would start the user's script over and over."""

from __future__ import annotations

import ast
import multiprocessing
import sys
from types import FrameType

from whywrong.core.errors import InputError

_REMEDY = 'put the call below `if __name__ == "__main__":`, or leave workers at 1'


def require_main_guard() -> None:
    """Check that workers are started inside a main guard.

    Otherwise each worker would start workers again when it imports the script. Only files are checked: notebooks,
    ``python -c`` and standard input are not imported again.

    Raises:
        InputError: The call is outside of a main guard, or this is a worker that imports such a script.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(f"a worker imports the script that started it, and the script starts workers again: {_REMEDY}")
    frame = _main_frame()
    if frame is None or not frame.f_code.co_filename.endswith(".py"):
        return
    try:
        with open(frame.f_code.co_filename, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return  # a worker could not import it as a script either
    if not _guarded(tree, frame.f_lineno):
        raise InputError(
            f"workers import {frame.f_code.co_filename} again, and line {frame.f_lineno} would start the run in each "
            f"of them: {_REMEDY}"
        )


def _main_frame() -> FrameType | None:
    """Return the frame of the running script, if this call comes from it."""
    frame = sys._getframe()
    while frame is not None and not (
        frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__"
    ):
        frame = frame.f_back
    return frame


def _guarded(tree: ast.Module, line: int) -> bool:
    """Check if a line is inside an ``if`` that tests ``__name__``."""
    return any(
        isinstance(node, ast.If)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
        for node in ast.walk(tree)
    )
