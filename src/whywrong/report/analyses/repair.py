"""Section of the report on the repair of a run's model and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whywrong.report.analyses.base import AnalysisSection
from whywrong.report.numbers import count, listed, percent
from whywrong.verdicts.repair.worklists import TITLES

HEADER = ("fine-tuned on", "errors corrected", "newly wrong", "accuracy", "change, 95 % interval", "")


def section(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> AnalysisSection:
    """Summarise the worklists and what each fine-tuned copy gained on held-out images."""
    lists = [f"{TITLES[name].lower()} ({number:,})" for name, number in record["lists"].items() if name in TITLES]
    sentences = [f"{count(record['errors'], 'error')} are on the worklists: {listed(lists)}."] if lists else []
    measured = [row for row in rows if row["images"]]
    if measured:
        one = measured[0]
        sentences.append(
            f"Copies of the model were fine-tuned on half of the images and tested on the other {one['images']:,}, of "
            f"which the model misclassifies {one['errors']:,}."
        )
    chosen = next((row for row in rows if row["chosen"]), None)
    if chosen is not None:
        sentences.append(
            f"Best: {chosen['words'].lower()}. It corrects {chosen['fixed']:,} of {chosen['errors']:,} held-out errors "
            f"and breaks {chosen['lost']:,} correct predictions; the weights are in repair/weights.safetensors."
        )
    sentences += [f"{text[0].upper()}{text[1:]}." for text in record["notes"]]
    return AnalysisSection(
        title="Repair", sentences=sentences, header=HEADER if measured else (), rows=[_row(row) for row in measured]
    )


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    kind = "best" if row["chosen"] else "control" if row["control"] else "safe" if row["safe"] else ""
    return (
        row["words"],
        f"{row['fixed']:,} of {row['errors']:,}",
        f"{row['lost']:,}",
        f"{percent(row['accuracy_before'])} → {percent(row['accuracy_after'])}",
        f"{100 * row['gain_low']:+.1f} to {100 * row['gain_high']:+.1f} points",
        kind,
    )
