"""Print the summary of a finished run and choose the exit code."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from whywrong.cli.streams import count, printable, result_stream, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS

if TYPE_CHECKING:
    from whywrong.runs.folder import RunFolder

SHOWN_FAILURES = 5


def end_run(run: RunFolder, out: Path, *, sentences: bool = True, open_report: bool = False) -> int:
    """Print the headline of a run, its failed items and warnings, and the report's path.

    If ``sentences`` is False, the headline is omitted. Returns the exit code.
    """
    from whywrong import api

    if sentences:
        first, more = api.headline(run)
        for sentence in (first, *more):
            tell(textwrap.fill(printable(sentence), 88))
    for name, reason in (run.meta.get("refused") or {}).items():
        say(f"refused: {name}: {printable(reason)}")
    failed = run.query("select key, reason from failed_items order by key").to_pylist()
    for row in failed[:SHOWN_FAILURES]:
        say(f"failed: {printable(row['key'])}: {printable(row['reason'])}")
    if len(failed) > SHOWN_FAILURES:
        say(
            f"... and {count(len(failed) - SHOWN_FAILURES, 'more failed item')}: "
            f'whywrong query {out} "select * from failed_items"'
        )
    for text in (run.meta.get("data") or {}).get("warnings") or ():
        say(f"note: {printable(text)}")
    for text in api.doubts(run):
        say(textwrap.fill(f"warning: {printable(text)}", 88))
    report = out / "report.html"
    tell()
    tell(f"Report: {report}")
    if open_report and result_stream().isatty():
        import webbrowser

        webbrowser.open(report.resolve().as_uri())
    return EXIT_FAILED_ITEMS if failed else EXIT_DONE
