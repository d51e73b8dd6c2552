"""``whywrong report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.streams import tell


def report(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder written by `whywrong diagnose`.")],
    out: Annotated[Path | None, Option(metavar="FILE", help="HTML file; default RUN/report.html.")] = None,
    limit: Annotated[int, Option("--show", "--limit", metavar="N", help="Show at most N errors in full.", min=1)] = 200,
) -> None:
    """Write the HTML report of a run, finished or not.

    \b
    Example:
      whywrong report runs/a --out a.html
    """
    from whywrong import api

    tell(str(api.write_report(api.open_run(run), out, limit=limit)))
    say_next("query", run)
