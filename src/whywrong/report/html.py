"""The report of a run, finished or not, as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

from whywrong._version import __version__
from whywrong.report import confusions as figures
from whywrong.report import facets, headline, run_text
from whywrong.report.analyses.base import analysis_sections
from whywrong.report.analyses.spurious.harmful import harmful_components
from whywrong.report.analyses.verdict.stored import read_verdicts
from whywrong.report.causes import cause_titles, planted_causes
from whywrong.report.doubts import find_doubts
from whywrong.report.error_view import ErrorView, build
from whywrong.report.folders import hide_folders, owner_folders
from whywrong.report.methods.base import Chart
from whywrong.report.overview import answer
from whywrong.report.overview.attractors import Attractors, add_links, attractors
from whywrong.report.overview.classes import COLUMNS, class_table
from whywrong.report.overview.confidence import confidence_chart
from whywrong.report.overview.strip import strip
from whywrong.report.pages import STATIC, template, write_page
from whywrong.report.primitives.pictures import Pictures
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.reports import Reports, find_reports
from whywrong.report.selection import select
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Names, Run, Tables

ROOTED = r"^(/|\\|[A-Za-z]:)"  # how an absolute path begins, for DuckDB


def write_report(run: Run, path: Path | str | None = None, *, limit: int = 200) -> Path:
    """Write the report of a run as one self-contained HTML file.

    Args:
        run: The run folder, finished or not.
        path: File to write, replaced atomically; None writes ``report.html`` in the run folder.
        limit: Largest number of errors shown in full, at least 1.

    Returns:
        Path of the written file.

    Raises:
        ValueError: ``limit`` is below 1.
        InputError: ``path`` is an existing file that is not a report.
        RunFolderError: A file of the run is missing or damaged.
        EnvironmentFailure: The file cannot be written.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    target = Path(path) if path is not None else Path(run.path) / "report.html"
    write_page(target, _pieces(run, limit, target))
    return target


def _pieces(run: Run, limit: int, target: Path) -> Iterator[str]:
    with Tables(run) as tables:
        names = Names((tables.meta.get("model") or {}).get("classes"))
        reports = find_reports(tables.meta)
        summary = summarize_run(tables, reports)
        chosen, distinct = select(tables, reports, limit)
        description = run_text.describe(tables, summary, reports)
        verdicts = read_verdicts(tables)
        cases = [
            build(tables, reports, summary, row, names, number, verdicts) for number, row in enumerate(chosen, start=1)
        ]
        pictures = Pictures()
        for case in cases:
            case.picture = pictures.add(case.photo)
        causes = planted_causes(tables, reports, cases)
        charts = _charts(tables, reports, summary)
        keys = tables.rows(
            f"select min(key) as first, max(key) as last from items where regexp_matches(key, '{ROOTED}')"
        )
        classes = class_table(tables, summary, names)
        confidence = confidence_chart(tables, summary)
        harmful = harmful_components(tables)
    first, lead = headline.headline(summary, names, pairs=verdicts is None)
    doubts = find_doubts(run.meta, summary)
    cards = answer.cards(verdicts, cases)
    if verdicts is not None:
        lead = [*lead, *answer.cause_sentences(verdicts)] if summary.errors else lead
    confusions, attracting = figures.confusions(summary, names), attractors(summary, names)
    _illustrate(confusions, attracting, cases)
    shared = [(c.predicted, c.group.size, c.group.name, c.group.anchor) for c in cards if c.predicted is not None]
    add_links(attracting, harmful, _beside(run, target, "spurious.html"), shared)
    if verdicts is None and attracting.shown:
        lead = [*lead, attracting.reading]
    script = (STATIC / "report.js").read_text(encoding="utf-8")
    style = (STATIC / "report.css").read_text(encoding="utf-8") + _slots(cases)
    controls = facets.controls(reports, chosen)
    measured, others = headline.method_leads(summary, reports) if summary.errors else ([], [])
    description.numbers = headline.method_statistics(summary, reports)
    description.not_shown = run_text.not_shown(reports)
    pieces = template("report.html.j2").generate(
        summary=summary,
        names=names,
        cases=cases,
        controls=controls,
        causes=causes,
        cause_titles=cause_titles(reports),
        distinct=distinct,
        headline=first,
        lead=lead,
        advice=headline.advice(summary) if verdicts is None else None,
        doubts=doubts,
        verdicts=verdicts,
        cards=cards,
        step=answer.next_step(summary, verdicts, cards, doubts),
        groups_reading=answer.groups_reading(cards),
        causes_shown=answer.causes_shown(cases),
        statistics=strip(summary, verdicts.numbers if verdicts is not None else None),
        leads=[*measured, *others],
        attractors=attracting,
        families=_families(cards, summary, names),
        classes=classes,
        columns=COLUMNS,
        confidence=confidence,
        charts=charts,
        confusions=confusions,
        matrix=figures.matrix(summary, names),
        order_reading=_order_reading(reports, cases),
        method=description,
        analyses=analysis_sections(Path(run.path)),
        subject=run_text.subject(run.meta),
        style=style,
        pictures=pictures.style(),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
    )
    folders = owner_folders(run.meta, Path(run.path), [key for row in keys for key in row.values() if key])
    yield from hide_folders(pieces, folders, keep=(style, script, pictures.style()))


def _charts(tables: Tables, reports: Reports, summary: RunSummary) -> dict[str, list[Chart]]:
    """Collect the charts of all methods over all errors, by the kind of chart."""
    found: dict[str, list[Chart]] = {"panel": [], "bars": [], "histogram": []}
    for report in reports:
        if report.overview is not None:
            for chart in reports.ask(report, "overview", report.overview, tables, summary, otherwise=[]):
                found[chart.shape].append(chart)
    return found


def _slots(cases: list[ErrorView]) -> str:
    """Write the style that shows an overlay and its legend while its switch is on.

    There are as many slots as one error has overlays.
    """
    most = max((len(case.overlays) for case in cases), default=0)
    shown = [
        f'.view > [data-layer="{n}"]:checked ~ {place}[data-layer="{n}"]'
        for n in range(most)
        for place in (".stage > ", ".legend")
    ]
    return ",\n".join(shown) + " { display: block; }\n" if shown else ""


def _beside(run: Run, target: Path, name: str) -> str:
    """Return the address of another page of the run; empty if it does not lie beside this one."""
    page = target.parent / name
    return name if page.is_file() and page.parent.resolve() == Path(run.path).resolve() else ""


def _families(cards: list[answer.Card], summary: RunSummary, names: Names) -> list[answer.Card]:
    """Return the groups of class families, if the pairs of many classes mostly occur once."""
    single = sum(pair.number == 1 for pair in summary.pairs)
    scattered = len(names) > figures.MATRIX_LIMIT and 2 * single > len(summary.pairs)
    return [card for card in cards if card.group.kind == "family"] if scattered else []


def _order_reading(reports: Reports, cases: list[ErrorView]) -> str:
    """Say what "hardest first" means; empty if nothing was measured."""
    report = facets.measuring(reports)
    measured = report is not None and any(case.difficulty >= 0 for case in cases)
    return report.measure.reading if measured and report is not None and report.measure is not None else ""


def _illustrate(confusions: figures.Confusions, attracting: Attractors, cases: list[ErrorView], most: int = 4) -> None:
    """Add to each ranked pair and attractor the pictures of its errors."""
    by_pair: dict[tuple[int, int], list[ErrorView]] = {}
    by_prediction: dict[int, list[ErrorView]] = {}
    for case in cases:
        by_pair.setdefault((case.label, case.predicted), []).append(case)
        by_prediction.setdefault(case.predicted, []).append(case)
    for row in [*confusions.first, *confusions.rest]:
        row.tiles += _tiles(by_pair.get((row.label, row.predicted), [])[:most])
    for attractor in [*attracting.shown, *attracting.rest]:
        attractor.tiles += _tiles(by_prediction.get(attractor.predicted, [])[:most])


def _tiles(cases: list[ErrorView]) -> list[tuple[str, str, str]]:
    return [(case.anchor, case.picture, case.keys[0]) for case in cases]
