"""``whywrong status``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from whywrong.cli.streams import count, printable, tell

if TYPE_CHECKING:
    from whywrong.runs.status import RunStatus


def status(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder written by `whywrong diagnose`.")],
    as_json: Annotated[bool, Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the progress of a run: stage, share done, workers, rate and time left.

    The command changes nothing. It may be called from another terminal during the run.

    \b
    Example:
      whywrong status runs/a
    """
    from whywrong.runs.status import run_status

    found = run_status(run)
    if as_json:
        tell(json.dumps(dataclasses.asdict(found)))
        return
    tell(_headline(run, found))
    if found.progress:
        tell(_stage(found.progress))


def _headline(run: Path, found: RunStatus) -> str:
    items = count(found.items, "item")
    if found.state == "running":
        return f"{run}: running, {items}, last sign {found.silent or 0:.0f} s ago"
    if found.state == "complete":
        return f"{run}: complete, {items}"
    return f"{run}: stopped before its end, {items}; the same diagnose resumes it"


def _stage(progress: dict[str, Any]) -> str:
    """Format stage, share, workers, rate and time left, as far as they are known."""
    parts = [f"{printable(progress.get('stage'))} {progress.get('done', 0):,} of {progress.get('total', 0):,}"]
    if progress.get("share") is not None:
        parts[0] += f" ({min(int(100 * progress['share']), 99)} %)"
    parts.append(count(progress.get("workers") or 1, "worker"))
    if progress.get("per_second"):
        parts.append(f"{progress['per_second']:.3g}/s")
    if progress.get("seconds_left") is not None:
        minutes = progress["seconds_left"] / 60
        parts.append(
            f"about {minutes / 60:.1f} h left" if minutes >= 90 else f"about {max(1, round(minutes))} min left"
        )
    return ", ".join(parts)
