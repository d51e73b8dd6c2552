"""Method and limits of a run, with settings, refusals and citations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whywrong.core.registry import methods
from whywrong.core.status import Status
from whywrong.report.numbers import count, listed, shown
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Statistic
from whywrong.report.reports import Reports
from whywrong.report.tables import Tables

INTERVALS = (
    "Wilson interval: E. B. Wilson, “Probable Inference, the Law of Succession, and Statistical Inference”, JASA 22"
    " (1927), pp. 209–212."
)
NOT_TESTED = (
    "Causes were not tested, so this report does not distinguish wrong or ambiguous labels, damaged images, misleading"
    " cues, occlusion and unfamiliar images.",
    "Changes, evidence and regions are computed on the model input, after resizing and cropping, and drawn on the"
    " photograph.",
    "A smallest change is the smallest one found. It is an upper bound: a smaller one may exist.",
    "Maps are drawn smooth or coarse for reading; the exact values are in the folder “maps” of the run.",
)


@dataclass(slots=True)
class Ran:
    """A method of the run, with title, number of results, and settings."""

    name: str
    title: str
    rows: str
    settings: list[tuple[str, str]]


@dataclass(slots=True)
class Description:
    """Contents of the last section of the report; ``numbers`` are statistics of the methods and the cost."""

    ran: list[Ran] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: list[tuple[str, str]] = field(default_factory=list)
    run: list[tuple[str, str]] = field(default_factory=list)
    numbers: list[Statistic] = field(default_factory=list)
    health: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    unlisted: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=lambda: list(NOT_TESTED))
    papers: list[str] = field(default_factory=list)
    glossary: list[tuple[str, str]] = field(
        default_factory=lambda: [("error", "an image whose predicted class differs from its label")]
    )


def subject(meta: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return short names of model, data and date of a run."""
    given = meta.get("given") or {}
    model = shown((meta.get("model") or {}).get("source") or given.get("model") or "a classifier in memory")
    source = (meta.get("data") or {}).get("source")
    path = source.get("path") if isinstance(source, Mapping) else source
    if isinstance(source, Mapping) and source.get("kind") == "planted":
        path = f"planted:{path}"
    elif isinstance(source, Mapping) and source.get("kind") == "object":
        path = given.get("data")
    data = shown(path or "images in memory")
    return model.rsplit("/", 1)[-1], data.rstrip("/").rsplit("/", 1)[-1], shown(meta.get("created") or "")[:10]


def describe(tables: Tables, summary: RunSummary, reports: Reports, most: int = 200) -> Description:
    """Describe methods, settings, limits and citations of a run."""
    meta = tables.meta
    text = Description(run=_identities(meta))
    asked, refused = meta.get("methods") or {}, meta.get("refused") or {}
    for name, method in methods().items():
        if name in refused:
            text.stopped.append((name, shown(refused[name])))
        elif name not in asked and not tables.has(name):
            text.missing.append(f"{name} ({method.title})")
        if name not in asked and not tables.has(name):
            continue
        entry = asked.get(name) or {}
        n = _treated(tables, name)
        settings = [(shown(key), shown(_setting(value))) for key, value in _flat(entry.get("config") or {})]
        rows = f"{count(n, 'error')} explained" if n else "nothing stored yet"
        text.ran.append(Ran(name, method.title, rows, settings))
    by_name = {report.method: report for report in reports}
    for report in (by_name[ran.name] for ran in text.ran if ran.name in by_name):
        text.papers += report.papers
        text.limits += report.limits
        text.glossary += report.glossary
        if report.limits_of_run is not None:
            text.limits += reports.ask(report, "limits", report.limits_of_run, summary, otherwise=[])
    text.papers.append(INTERVALS)
    text.health = [(shown(finding["level"]), shown(finding["text"])) for finding in meta.get("health") or ()]
    data = meta.get("data") or {}
    text.warnings = [shown(warning) for warning in [*(data.get("warnings") or ()), *(meta.get("notes") or ())]]
    ignored = data.get("ignored") or {}
    if sum(ignored.values()):
        kinds = ", ".join(f"{shown(name)} ({n:,})" for name, n in ignored.items())
        text.warnings.append(f"Left out of the data: {kinds}.")
    text.warnings += _fallbacks(tables, reports)
    if summary.duplicates:
        text.warnings.append(
            f"{count(summary.duplicates, 'item')} repeat an earlier image with the same label; each was computed once"
            " and counted under every name."
        )
    if summary.near_ties:
        text.warnings.append(
            f"{count(summary.near_ties, 'image')} have a difference below 1e-5 between the two best classes, so"
            " rounding may decide the prediction."
        )
    if tables.has("failed_items"):
        total = tables.value("select count(*) from failed_items")
        rows = tables.rows(f"select key, stage, reason from failed_items order by stage, key limit {most}")
        text.failed = [(shown(r["key"]), shown(r["stage"]), shown(r["reason"])) for r in rows]
        text.unlisted = total - len(rows)
    nouns = {report.method: report.nouns or (report.method,) for report in reports}
    text.refused = [(count(n, *nouns[method]), shown(reason)) for (method, reason), n in summary.refused.most_common()]
    return text


def not_shown(reports: Reports) -> list[str]:
    """List the parts of the report that could not be shown.

    Call it after all other parts were built.
    """
    return [
        f"{shown(method)}: its {what} failed{f' {n:,} times' if n > 1 else ''} ({error})"
        for (method, what, error), n in sorted(reports.failures.items())
    ]


def _fallbacks(tables: Tables, reports: Reports) -> list[str]:
    """List the reasons why patches were covered with pixels, each once."""
    found: dict[str, list[str]] = {}
    for view in (report.method for report in reports):
        if tables.has(view, "fallback"):
            rows = tables.rows(f"select distinct fallback from {view} where fallback is not null order by 1")
            for row in rows:
                found.setdefault(row["fallback"], []).append(view)
    return [f"{listed(views)}: {shown(reason)}." for reason, views in found.items()]


def _treated(tables: Tables, view: str) -> int:
    """Count the errors that a method processed.

    Errors that were not to be explained in full are excluded.
    """
    if not tables.has(view):
        return 0
    kept = f" where status is null or status <> '{Status.SKIPPED}'" if tables.has(view, "status") else ""
    return tables.value(f"select count(distinct item_id) from {view}{kept}")


def _identities(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, data, given = meta.get("model") or {}, meta.get("data") or {}, meta.get("given") or {}
    rows = {
        "model": model.get("source"),
        "model given as": given.get("model"),
        "model identity": model.get("identity"),
        "access": model.get("access"),
        "input": model.get("input"),
        "classes": f"{len(model.get('classes') or ()):,}",
        "data": data.get("source"),
        "data given as": given.get("data"),
        "items": data.get("items"),
        "depth": meta.get("depth"),
        "explained in full": f"at most {meta['limit']:,} errors" if isinstance(meta.get("limit"), int) else None,
        "seed": meta.get("seed"),
        "created": meta.get("created"),
        "whywrong": meta.get("whywrong") or meta.get("version"),
        "versions": meta.get("versions"),
        "machine": meta.get("machine"),
    }
    return [(name, shown(_setting(value))) for name, value in rows.items() if value not in (None, "", {}, [])]


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_setting(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return (
            " × ".join(map(str, value))
            if all(isinstance(item, int) for item in value)
            else ", ".join(map(_setting, value))
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in config.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows
