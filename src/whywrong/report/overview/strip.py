"""Four summary statistics on the first screen."""

from __future__ import annotations

from whywrong.core.statistics import wilson
from whywrong.report.analyses.verdict.stored import VerdictCounts
from whywrong.report.numbers import interval, percent
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Statistic
from whywrong.runs.store.error_tables import CONFIDENT


def strip(summary: RunSummary, tested: VerdictCounts | None) -> list[Statistic]:
    """Compute accuracy, errors, errors with a tested cause, and errors to check.

    Args:
        tested: Counts of the verdicts; None if causes were not tested.
    """
    return [_accuracy(summary), _errors(summary), _cause(summary, tested), _person(summary, tested)]


def _accuracy(summary: RunSummary) -> Statistic:
    found = summary.accuracy
    return Statistic(
        "accuracy",
        percent(found.value),
        f"95 % interval {interval(found)}" if summary.labelled else "no labelled image",
        f"{summary.labelled - summary.errors:,} of {summary.labelled:,} labelled images",
    )


def _errors(summary: RunSummary) -> Statistic:
    confident = f"{summary.confident:,}" if summary.confident else "none"
    missing = ((summary.failed, "could not be read"), (summary.waiting, "still to do"))
    return Statistic(
        "errors",
        f"{summary.errors:,}",
        f"{confident} with at least {percent(CONFIDENT)} confidence" if summary.errors else "",
        "; ".join(f"{n:,} {text}" for n, text in missing if n),
    )


def _cause(summary: RunSummary, tested: VerdictCounts | None) -> Statistic:
    title = "errors with a tested cause"
    if not summary.errors:
        return Statistic(title, "–", "no error")
    if tested is None:
        return Statistic(title, "–", "causes were not tested")
    found = wilson(tested.supported, tested.errors)
    return Statistic(
        title,
        percent(found.value),
        f"95 % interval {interval(found)}",
        f"{tested.supported:,} of {tested.errors:,} errors with a verdict",
    )


def _person(summary: RunSummary, tested: VerdictCounts | None) -> Statistic:
    title = "errors to check by hand"
    if not summary.errors:
        return Statistic(title, "0", "no error")
    if tested is None:
        return Statistic(title, f"{summary.errors:,}", "all, since no cause was tested")
    return Statistic(
        title,
        f"{tested.labels + tested.undetermined:,}",
        f"{tested.labels:,} labels to check, {tested.undetermined:,} without a cause",
    )
