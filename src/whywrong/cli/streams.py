"""What is written where: results to stdout, talk to stderr, in any locale and on any terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


_results: list[TextIO] = []  # the stream for results, while stdout is closed to everybody else


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Keep stdout for results: whatever else writes there, from Python or from C, goes to stderr instead.

    A model that prints would otherwise break ``--json`` and pipes.
    """
    former, kept = sys.stdout, None
    with contextlib.suppress(OSError, ValueError):  # a stream without a file behind it, or a closed one
        former.flush()
        kept = os.dup(1) if former.fileno() == 1 else None
    results = former
    if kept is not None:
        os.dup2(2, 1)
        results = open(  # noqa: SIM115  closed below
            kept, "w", encoding=former.encoding, errors=former.errors, buffering=1 if former.isatty() else -1
        )
    _results.append(results)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        _results.pop()
        if kept is None:
            sys.stdout = former
        elif left_threads():  # they may go on to print until the process ends, which it does next
            results.close()
        else:
            results.flush()
            os.dup2(kept, 1)
            results.close()
            sys.stdout = former


def left_threads() -> int:
    """Number of threads that models left running, which would keep this process from ending."""
    containment = sys.modules.get("whywrong.models.containment")  # never loaded where no model was
    return len(containment.leaked_threads()) if containment else 0


def result_stream() -> TextIO:
    """The stream for results: stdout, also while it is closed to everybody else."""
    return _results[-1] if _results else sys.stdout


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
    result_stream().write(f"{text}\n")


def is_terminal() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def console() -> Console:
    """Rich console on stdout; falls back to plain signs where the terminal has no others."""
    from rich.console import Console

    return Console(file=result_stream(), highlight=False, emoji=False, markup=False)


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
