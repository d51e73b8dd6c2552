"""Headline of a run, sentences under it, and statistics of the methods."""

from __future__ import annotations

from whywrong.report.facets import measuring
from whywrong.report.numbers import count, duration, percent, sig
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Statistic
from whywrong.report.reports import Reports
from whywrong.report.tables import Names
from whywrong.runs.store.error_tables import CONFIDENT


def headline(
    summary: RunSummary, names: Names, reports: Reports | None = None, *, pairs: bool = True
) -> tuple[str, list[str]]:
    """Write the headline and the sentences under it.

    They only state what was measured.

    Args:
        summary: Counts of the run.
        names: Class names.
        reports: Methods whose sentences are added; None adds no sentences.
        pairs: Whether a sentence names the most frequent confusion.
    """
    if summary.read == 0:
        return "No image has been classified yet.", [f"{count(summary.items, 'image')} are listed."]
    if summary.labelled == 0:
        return (
            f"{count(summary.read, 'image')} were classified; none has a label.",
            ["Without labels, errors cannot be found. Add labels to the data."],
        )
    more: list[str] = []
    if summary.left_out:
        more.append(f"{count(summary.read, 'image')} of {summary.items:,} were drawn at random and classified.")
    if summary.waiting:
        more.append(f"The run is not finished: {summary.waiting:,} of {count(summary.items, 'image')} are still to do.")
    elif not summary.complete:
        more.append("The run is not finished: every image is classified, but evidence is missing for some errors.")
    if summary.errors == 0:
        first = f"The model misclassifies none of {count(summary.labelled, 'image')}."
        more.append(
            f"With no error in {summary.labelled:,} images, the true error rate is probably below"
            f" {percent(1 - summary.accuracy.low)} (95 % interval)."
        )
        return first, more + _unlabelled(summary)
    first = (
        f"The model misclassifies {summary.errors:,} of {count(summary.labelled, 'image')}"
        f" ({percent(summary.errors / summary.labelled)})."
    )
    measured, others = method_leads(summary, reports) if reports is not None else ([], [])
    more += [*measured, *(_pair_sentences(summary, names) if pairs else ()), *others]
    return first, more + _unlabelled(summary)


def _pair_sentences(summary: RunSummary, names: Names) -> list[str]:
    top = summary.pairs[0]
    if top.number == 1:
        if summary.errors == 1:
            return []
        return [f"No confusion occurs twice: the {summary.errors:,} errors are {len(summary.pairs):,} different pairs."]
    return [
        f"Most often, {names[top.label]} is predicted as {names[top.predicted]}: {top.number:,} times"
        f" in {count(top.of, 'image')} of {names[top.label]}."
    ]


def advice(summary: RunSummary) -> str | None:
    """Advise what to look at first.

    Returns None without suspect labels.
    """
    if not summary.suspects:
        return None
    which = "this 1 error" if summary.suspects == 1 else f"these {summary.suspects:,} errors"
    return (
        f"Look at {which} first: at least {percent(CONFIDENT)} confidence, and the label is not among the five best"
        " classes. The label may be wrong, or the image may show something else as well; this was not tested."
    )


def _unlabelled(summary: RunSummary) -> list[str]:
    missing = summary.read - summary.labelled
    if not missing:
        return []
    verb, pronoun = ("has", "it is") if missing == 1 else ("have", "they are")
    return [f"{count(missing, 'image')} {verb} no label, so it is unknown whether {pronoun} wrong."]


def method_leads(summary: RunSummary, reports: Reports) -> tuple[list[str], list[str]]:
    """Collect the sentences of the methods on all errors.

    The sentences of the method that sorts the gallery come first."""
    first = measuring(reports)
    said = {
        report.method: reports.ask(report, "lead", report.lead, summary, otherwise=[])
        for report in reports
        if report.lead is not None
    }
    measured = said.pop(first.method, []) if first is not None else []
    return measured, [sentence for sentences in said.values() for sentence in sentences]


def method_statistics(summary: RunSummary, reports: Reports) -> list[Statistic]:
    """Collect the statistics of the methods, with intervals, and the cost of the run."""
    own = [
        reports.ask(report, "statistic", report.statistic, summary, otherwise=None)
        for report in reports
        if report.statistic is not None
    ]
    forwards = sum(f for f, _ in summary.passes.values())
    backwards = sum(b for _, b in summary.passes.values())
    explaining = sum(f + b for view, (f, b) in summary.passes.items() if view != "predictions")
    cost = Statistic(
        "passes",
        f"{forwards + backwards:,}",
        f"{forwards:,} forward, {backwards:,} backward"
        + (f"; {sig(explaining / summary.errors)} passes per error" if summary.errors and explaining else ""),
        f"{duration(summary.seconds)} of computing" if summary.seconds is not None else "time was not recorded",
    )
    return [*(figure for figure in own if figure is not None), cost]
