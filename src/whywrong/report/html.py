"""The report: one self-contained HTML file, made from a run folder, finished or not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from whywrong._version import __version__
from whywrong.report import figures, headline, plug_ins, run_text
from whywrong.report import summary as counted
from whywrong.report.causes import planted_causes
from whywrong.report.doubts import find_doubts
from whywrong.report.error_view import Case, build
from whywrong.report.facets import filters
from whywrong.report.folders import hide_folders, owner_folders
from whywrong.report.methods import PARTS
from whywrong.report.numbers import count
from whywrong.report.overview import together
from whywrong.report.pages import write_page
from whywrong.report.selection import distance, select
from whywrong.report.tables import Names, Run, Tables

STATIC = Path(__file__).parent / "static"
ROOTED = r"^(/|\\|[A-Za-z]:)"  # how an absolute path begins, for DuckDB


def write_report(run: Run, path: Path | str | None = None, *, limit: int = 200) -> Path:
    """Write the report of a run as one HTML file that refers to nothing outside itself.

    Args:
        run: The run folder, finished or not.
        path: The file to write; default ``report.html`` in the run folder. It is replaced in one step.
        limit: Most errors shown in full, at least 1.

    Returns:
        The path written.

    Raises:
        ValueError: ``limit`` is below 1.
        InputError: There is a file at ``path`` that is no report.
        RunFolderError: A file of the run is missing or damaged.
        EnvironmentFailure: The file cannot be written.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    target = Path(path) if path is not None else Path(run.path) / "report.html"
    write_page(target, _pieces(run, limit))
    return target


def _pieces(run: Run, limit: int) -> Iterator[str]:
    with Tables(run) as tables:
        names = Names((tables.meta.get("model") or {}).get("classes"))
        facts = counted.gather(tables)
        chosen, distinct = select(tables, limit)
        method = run_text.describe(tables, facts)
        others = plug_ins.guests(tables, PARTS)
        cases = [
            build(tables, row, names, number, _nearer(facts, distance(row)), others)
            for number, row in enumerate(chosen, start=1)
        ]
        causes = planted_causes(tables, cases)
        common = together(tables, facts)
        keys = tables.rows(
            f"select min(key) as first, max(key) as last from items where regexp_matches(key, '{ROOTED}')"
        )
    first, lede = headline.headline(facts, names)
    confusions = figures.confusions(facts, names)
    _illustrate(confusions, cases)
    script = (STATIC / "report.js").read_text(encoding="utf-8")
    style = (STATIC / "report.css").read_text(encoding="utf-8")
    pieces = _template().generate(
        facts=facts,
        names=names,
        cases=cases,
        menus=filters(cases),
        causes=causes,
        distinct=distinct,
        headline=first,
        lede=lede,
        advice=headline.advice(facts),
        doubts=find_doubts(run.meta, facts),
        suspect_confidence=counted.CONFIDENT,
        strip=headline.strip(facts),
        histogram=figures.distances(facts),
        confusions=confusions,
        matrix=figures.matrix(facts, names),
        together=common,
        full_bar=_full_bar(facts),
        method=method,
        subject=run_text.subject(run.meta),
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
    )
    folders = owner_folders(run.meta, Path(run.path), [key for row in keys for key in row.values() if key])
    yield from hide_folders(pieces, folders, keep=(style, script))


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("whywrong.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["count"] = count
    return environment.get_template("report.html.j2")


def _nearer(facts: counted.Facts, away: float) -> float:
    """Share of the fixed errors that are farther from right than ``away`` grey levels; NaN for fewer than 20."""
    values = facts.distances
    if values is None or len(values) < 20 or not np.isfinite(away):
        return float("nan")
    return float((values > away).mean())


def _full_bar(facts: counted.Facts) -> float:
    """The distance, in grey levels, at which a tile's bar is full: the 95th percentile."""
    values = facts.distances
    return float(np.quantile(values, 0.95)) if values is not None and len(values) else 1.0


def _illustrate(confusions: figures.Confusions, cases: list[Case], most: int = 6) -> None:
    """Give each ranked pair the pictures of its errors."""
    by_pair: dict[tuple[int, int], list[Case]] = {}
    for case in cases:
        by_pair.setdefault((case.label, case.predicted), []).append(case)
    for row in [*confusions.first, *confusions.rest]:
        for case in by_pair.get((row.label, row.predicted), [])[:most]:
            row.tiles.append((case.anchor, case.mark, case.keys[0]))
