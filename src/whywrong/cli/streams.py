"""What is written where: results to stdout, talk to stderr, in any locale and on any terminal."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def prepare_streams() -> None:
    """A name or sign that the terminal's encoding lacks is written escaped instead of ending the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain_warnings() -> None:
    """Warnings are one line, as errors are."""

    def one_line(message: Warning | str, category: type[Warning], *_: Any) -> str:
        return f"whywrong: note: {message}\n"

    warnings.formatwarning = one_line


def say(text: str) -> None:
    """One line of talk, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def tell(text: str = "") -> None:
    """One line of the result, on stdout."""
    sys.stdout.write(f"{text}\n")


def is_terminal() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def console() -> Console:
    """Rich console on stdout; falls back to plain signs where the terminal has no others."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False)


def printable(text: object) -> str:
    """Text with line breaks, escape codes and undecodable bytes shown as escapes, so that a name stays one line."""
    return "".join(_printable(character) for character in str(text))


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``1 image``, ``1,204 images``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":  # spaces that do not break, as the sentences of the report have
        return " "
    return character.encode("unicode_escape").decode("ascii")
