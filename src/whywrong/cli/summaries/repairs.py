"""Print the results of a repair."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from whywrong.cli.streams import count, printable, say, tell

if TYPE_CHECKING:
    from whywrong.api.repairs import RepairReport


def tell_repairs(report: RepairReport) -> None:
    """Print the lists of work, and how many held-out images each arm corrects."""
    from whywrong.verdicts.repair.worklists import TITLES

    record = report.record
    if not record["errors"]:
        tell("No image is misclassified.")
        return
    tell(f"{count(record['errors'], 'error')} in lists of work, {report.folder / 'work.csv'}:")
    for name, number in record["lists"].items():
        tell(f"  {number:>7,}  {TITLES[name].lower()}")
    arms = [row for row in report.tables["repair"].to_pylist() if row["images"]]
    if arms:
        tell(f"Fine-tuned copies on {count(arms[0]['images'], 'held-out image')}, {arms[0]['errors']:,} misclassified:")
        tell(f"  {'fine-tuned on':<44}{'corrected':>10}{'newly wrong':>13}{'change in points, 95 %':>26}")
    for row in arms:
        tell(_line(row))
    if report.weights is not None:
        tell(f"Weights: {report.weights}, card: {report.folder / 'card.md'}")
    for note in record["notes"]:
        say(textwrap.fill(f"note: {printable(note)}", 88))


def _line(row: dict[str, Any]) -> str:
    change = f"{100 * row['gain_low']:+.1f} to {100 * row['gain_high']:+.1f}"
    mark = "  <- chosen" if row["chosen"] else "  control" if row["control"] else ""
    words = textwrap.shorten(row["words"], 42, placeholder=" ...")
    return f"  {words:<44}{row['fixed']:>10,}{row['lost']:>13,}{change:>26}{mark}"
