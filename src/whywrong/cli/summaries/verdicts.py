"""Print the verdicts and choose the exit code of ``--fail-on``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whywrong.cli.streams import count, printable, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS, EXIT_RULE_MET, EXIT_UNDECIDED

if TYPE_CHECKING:
    from whywrong.api.verdicts import VerdictReport
    from whywrong.verdicts.telling.fail_on import Judgement, Rule

SHOWN_GROUPS = 3
_UNDETERMINED = "undetermined"


def tell_verdicts(report: VerdictReport) -> None:
    """Print counts by cause, the first groups with advice, and the cost in passes."""
    record = report.record
    errors, counts, stated = record["errors"], record["counts"], record["stated"]
    if not errors:
        tell("No image is misclassified.")
        return
    sure, open_ = sum(stated.values()), counts.get(_UNDETERMINED, 0)
    likely = sum(counts.values()) - sure - open_
    tell(
        f"{count(errors, 'error')}: the cause of {sure:,} is stated, {likely:,} look like a cause that no test "
        f"confirms, {errors - sure - likely:,} are undetermined."
    )
    _tell_groups(report.tables["groups"].to_pylist()[:SHOWN_GROUPS])
    _tell_causes(counts, stated)
    _tell_cost(record)
    for note in record["notes"]:
        say(textwrap.fill(f"note: {printable(note)}", 88))


def judge_rules(rules: Sequence[Rule], report: VerdictReport, *, strict: bool) -> list[Judgement]:
    """Evaluate the rules of ``--fail-on`` on the verdicts."""
    from whywrong.verdicts.telling.fail_on import judge

    rows = report.tables["verdicts"].select(["cause", "tested"]).to_pylist()
    return [judge(rule, rows, strict=strict) for rule in rules]


def exit_code(judgements: Sequence[Judgement], *, failed: bool) -> int:
    """Return 4 if a rule is met, else 5 if one is undecided, else 1 if items failed, else 0."""
    outcomes = {one.outcome for one in judgements}
    if "met" in outcomes:
        return EXIT_RULE_MET
    if "undecided" in outcomes:
        return EXIT_UNDECIDED
    return EXIT_FAILED_ITEMS if failed else EXIT_DONE


def _tell_groups(groups: Sequence[Mapping[str, Any]]) -> None:
    for number, group in enumerate(groups, start=1):
        suspected = " (suspected, not tested)" if group["suspected"] else ""
        tell()
        tell(textwrap.fill(f"{number}. {printable(group['sentence'])}{suspected}", 88, subsequent_indent="   "))
        if group["action"]:
            tell(textwrap.fill(f"Do: {printable(group['action'])}", 88, initial_indent="   ", subsequent_indent="   "))


def _tell_causes(counts: Mapping[str, int], stated: Mapping[str, int]) -> None:
    if not counts:
        return
    tell()
    tell(f"{'cause':<14}{'stated':>8}{'looks like':>12}")
    for cause in sorted(counts, key=lambda name: (name == _UNDETERMINED, -counts[name], name)):
        sure = stated.get(cause, 0)
        if cause == _UNDETERMINED:
            tell(f"{cause:<14}{counts[cause]:>20,}")
        else:
            tell(f"{cause:<14}{sure:>8,}{counts[cause] - sure:>12,}")


def _tell_cost(record: Mapping[str, Any]) -> None:
    costs, reference = record["costs"], record["reference"]
    tell()
    if costs:
        images = count(reference["images"], "correct image")
        tell(
            f"Cost: {costs['for_each_error']:.1f} passes per error, and {costs['reference']:,} for the {images} that "
            "errors are compared with."
        )
    if record["lacks"]:
        tell(textwrap.fill(f"Not available: {printable('; '.join(record['lacks']))}.", 88))
