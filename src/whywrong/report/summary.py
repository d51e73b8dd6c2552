"""Counts and measurements of a run as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from whywrong.report.methods.base import MethodReport
from whywrong.report.primitives.run_summary import Pair, RunSummary
from whywrong.report.reports import Reports
from whywrong.report.tables import Tables
from whywrong.runs.store.error_tables import CONFIDENT


def summarize_run(tables: Tables, reports: Reports) -> RunSummary:
    """Compute all counts and measurements of the whole run for the report."""
    summary = RunSummary(
        items=tables.value("select count(*) from items"), complete=bool(tables.meta.get("complete", True))
    )
    summary.duplicates = tables.value("select count(*) from items where same_as is not null")
    if tables.has("predictions"):
        row = tables.rows(
            "select coalesce(sum(images) filter (status = 'ok'), 0)::bigint as read,"
            " coalesce(sum(images) filter (status = 'ok' and label is not null), 0)::bigint as labelled,"
            " coalesce(sum(near_ties) filter (status = 'ok'), 0)::bigint as ties,"
            " coalesce(sum(images) filter (status <> 'ok'), 0)::bigint as failed"
            f" from {tables.counts('pairs')}"
        )[0]
        summary.read, summary.labelled, summary.near_ties = row["read"], row["labelled"], row["ties"]
        summary.passes["predictions"] = (summary.read - (_repeated(tables) if summary.duplicates else 0), 0)
        summary.failed = row["failed"]
    if tables.has("errors"):
        _errors(tables, summary)
    summary.waiting = max(0, summary.items - summary.read - summary.failed)
    if tables.meta.get("images") and tables.has("predictions"):
        sample = f"select item_id from items where same_as is null order by item_id limit {int(tables.meta['images'])}"
        asked = tables.value(f"select count(*) from ({sample}) s anti join predictions p using (item_id)")
        summary.waiting, summary.left_out = asked, summary.waiting - asked
    for report in reports:
        if report.summarize is not None:
            numbers = reports.ask(report, "numbers of the run", report.summarize, tables, otherwise=None)
            if numbers is not None:
                summary.numbers[report.method] = numbers
        for reason, number in _refusals(tables, report):
            summary.refused[report.method, reason] += number
        for view in (report.method, *report.further_views):
            if tables.has(view, "forwards", "backwards"):
                summary.passes[view] = _passes(tables, view)
    summary.seconds = tables.seconds()
    return summary


def _repeated(tables: Tables) -> int:
    """Count duplicates, which were not computed again."""
    return tables.value(
        "select count(*) from predictions p join items i using (item_id)"
        " where p.status = 'ok' and i.same_as is not null"
    )


def _refusals(tables: Tables, report: MethodReport) -> Iterator[tuple[str, int]]:
    """Count the errors that a method refused, by reason."""
    if tables.has(report.method, "item_id", "status", "reason"):
        answered = ", ".join(f"'{status}'" for status in report.answered)
        for row in tables.rows(
            f"select reason, count(distinct item_id) as n from {report.method}"
            f" where status not in ({answered}) group by reason order by n desc, reason"
        ):
            yield row["reason"] or "no reason given", row["n"]


def _passes(tables: Tables, view: str) -> tuple[int, int]:
    row = tables.rows(
        "select sum(f) as f, sum(b) as b from (select any_value(forwards) as f, any_value(backwards) as b"
        f" from {view} join items using (item_id)"
        " where same_as is null group by item_id)"  # duplicates were not computed again
    )[0]
    return int(row["f"] or 0), int(row["b"] or 0)


def _errors(tables: Tables, summary: RunSummary) -> None:
    summary.errors = tables.value("select count(*) from errors")
    labelled = {
        row["label"]: row["n"]
        for row in tables.rows(
            f"select label, sum(images)::bigint as n from {tables.counts('pairs')}"
            " where status = 'ok' and label is not null group by label"
        )
    }
    summary.pairs = [
        Pair(row["label"], row["predicted"], row["n"], labelled.get(row["label"], row["n"]))
        for row in tables.rows(
            "select label, predicted, count(*) as n from errors group by label, predicted"
            " order by n desc, label, predicted"
        )
    ]
    row = tables.rows(
        f"select count_if(confidence >= {CONFIDENT}) as confident,"
        f" count_if(confidence >= {CONFIDENT} and rank_of_true > 5) as suspects from errors"
    )[0]
    summary.confident, summary.suspects = row["confident"] or 0, row["suspects"] or 0
