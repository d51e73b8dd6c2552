"""Report of ``signs``, the raw measurements of one error."""

from __future__ import annotations

from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import known, percent, shown, sig
from whywrong.report.primitives.sections import Block, Context, Section
from whywrong.report.tables import Row


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not explained in full.
    """
    row = context.row["signs"]
    if row is None or row["status"] == "skipped":
        return None
    if row["status"] != "ok":
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Section(blocks=[Block("Signs", "refused", [("refused", "", reason)])])
    return Section(blocks=[_block(row)])


def _block(row: Row) -> Block:
    names = list(row)
    names = names[names.index("window") + 1 : names.index("forwards")]  # the signs, without loading their definitions
    there = [name for name in names if known(row[name])]
    summary = f"{len(there)} of {len(names)} signs measured"
    if known(row["survival_kept"]):
        summary += f"; the prediction survives {percent(row['survival_kept'])} of the small edits"
    return Block("Signs", summary, [(name.replace("_", " "), sig(row[name]), "") for name in there])


SIGNS = MethodReport(
    method="signs",
    order=90,
    section=section,
    nouns=("list of signs", "lists of signs"),
    limits=(
        "Signs are raw measurements of an error. Whether a value is unusual can only be told by comparison with"
        " correct images of the same model.",
    ),
)
