"""Report of ``interventions``, with the share of edits that restore the label; controls are part of the verdict."""

from __future__ import annotations

from whywrong.core.status import Status
from whywrong.explain.interventions.catalogue import INTERVENTIONS
from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import count, known, percent, shown
from whywrong.report.primitives.sections import Block, Context, Section

ALONE = (
    "The shares of edits that restore the label are no evidence by themselves, because comparable correct images"
    " change as well. The verdict compares both."
)


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not tested.
    """
    row = context.row["interventions"]
    if row is None or row["status"] == Status.SKIPPED:
        return None
    if row["status"] != Status.OK:
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Section(blocks=[Block("Interventions", "refused", [("refused", "", reason)])])
    rows = [
        (test.name.replace("_", " "), percent(row[test.name]), _note(test.cause, len(test.edits)))
        for test in INTERVENTIONS
        if known(row[test.name])
    ]
    restored = sum(row[test.name] > 0 for test in INTERVENTIONS if known(row[test.name]))
    rows.append(("cost", count(int(row["forwards"] or 0), "forward pass", "forward passes"), ""))
    summary = f"{restored} of {len(rows) - 1} restore the label at least once"
    return Section(blocks=[Block("Interventions", summary, rows)])


def _note(cause: str, edits: int) -> str:
    tried = f"share of {count(edits, 'edit')} after which the label is predicted"
    return f"{tried}; removes {cause}" if cause else f"{tried}; no cause predicts that they help"


REPORT = MethodReport(
    method="interventions",
    order=90,
    section=section,
    nouns=("set of interventions", "sets of interventions"),
    limits=(ALONE,),
    glossary=(("intervention", "A fixed set of edits of an image that removes one suspected cause of its error."),),
)
