"""Write results to stdout and messages to stderr, in any locale and on any terminal."""

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


_results: list[TextIO] = []  # the stream for results, while stdout is redirected


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Reserve stdout for results, and redirect all other output to stderr.

    Output from Python and C is redirected. A model that prints would otherwise break ``--json`` and pipes.
    """
    former, kept = sys.stdout, None
    with contextlib.suppress(OSError, ValueError):  # a stream without a file, or a closed one
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
        elif left_threads():  # they may print until the process ends, which it does next
            results.close()
        else:
            results.flush()
            os.dup2(kept, 1)
            results.close()
            sys.stdout = former


def left_threads() -> int:
    """Count the threads started by models that would keep this process alive."""
    containment = sys.modules.get("whywrong.models.containment")  # not imported unless a model was loaded
    return len(containment.leaked_threads()) if containment else 0


def result_stream() -> TextIO:
    """Return the original stdout, even inside :func:`results_only`."""
    return _results[-1] if _results else sys.stdout


def prepare_streams() -> None:
    """Make stdout and stderr escape characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain_warnings() -> None:
    """Print each warning on one line, like an error."""

    def one_line(message: Warning | str, category: type[Warning], *_: Any) -> str:
        return f"whywrong: note: {message}\n"

    warnings.formatwarning = one_line


def say(text: str) -> None:
    """Print a message on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def tell(text: str = "") -> None:
    """Print a line of results on stdout."""
    result_stream().write(f"{text}\n")


def is_terminal() -> bool:
    """Check if stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def console() -> Console:
    """Return a rich console that writes to stdout in characters the terminal supports."""
    from rich.console import Console

    return Console(file=result_stream(), highlight=False, emoji=False, markup=False)


def printable(text: object) -> str:
    """Escape line breaks, control codes and undecodable bytes in a text."""
    return "".join(_printable(character) for character in str(text))


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Format a count with its noun, such as ``1 image`` or ``1,204 images``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":  # non-breaking spaces, as in the sentences of the report
        return " "
    return character.encode("unicode_escape").decode("ascii")
