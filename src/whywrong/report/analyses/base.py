"""Sections of the report on analyses whose results are in the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.core.registry import Analysis, analyses, resolve
from whywrong.report.numbers import shown
from whywrong.runs.store.layout import results_folder
from whywrong.runs.store.results import read_record, read_rows

MOST_ROWS, MOST_SENTENCES, LONGEST = 50, 12, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSection:
    """The section of one analysis.

    Attributes:
        title: Heading of the section.
        sentences: Results as sentences; the report shows the first 12.
        header: Column names of the table; empty without a table.
        rows: Rows of the table as texts; the report shows the first 50.
    """

    title: str
    sentences: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def analysis_sections(folder: Path) -> list[AnalysisSection]:
    """Collect the sections of all analyses that have results in a run folder.

    The report function of an analysis gets its record and the rows of its first table. If the function raises, its
    section names the error and the other sections are unaffected.

    Raises:
        RunFolderError: The stored results are damaged.
    """
    found = []
    for analysis in analyses().values():
        if analysis.report is not None and os.path.lexists(results_folder(folder, analysis) / analysis.record):
            record = read_record(folder, analysis, f"the {analysis.name} analysis")
            rows = read_rows(folder, analysis, next(iter(analysis.tables), ""))
            found.append(_section(analysis, record, rows))
    return found


def _section(analysis: Analysis, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> AnalysisSection:
    try:
        made: AnalysisSection = resolve(str(analysis.report))(record, rows)
        return AnalysisSection(
            title=_line(made.title),
            sentences=[_line(text) for text in made.sentences[:MOST_SENTENCES]],
            header=[_line(name) for name in made.header],
            rows=[[_line(value) for value in row] for row in made.rows[:MOST_ROWS]],
        )
    except (RunFolderError, EnvironmentFailure):
        raise
    except Exception as error:  # noqa: BLE001 - the report of an analysis may fail in any way; the page is written without it
        reason = _line(f"{type(error).__name__}: {error}")
        return AnalysisSection(title=_line(analysis.title), sentences=[f"Its section could not be made ({reason})."])


def _line(text: Any) -> str:
    line = shown(str(text))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
