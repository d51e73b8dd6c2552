"""The page of ``whywrong robustness``, one self-contained HTML file made from the tables of the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whywrong._version import __version__
from whywrong.core.registry import find_analysis
from whywrong.report.analyses.robustness import words
from whywrong.report.folders import hide_folders, owner_folders
from whywrong.report.numbers import known, percent, shown
from whywrong.report.pages import STATIC, template, write_page
from whywrong.runs.store.results import read_record, read_rows

Row = Mapping[str, Any]
GROUPS = {
    "clean": "Unchanged images",
    "affine": "Affine transforms",
    "corruption": "Corruptions",
    "attack": "Attacks on the whole image, beside random noise",
    "patch": "One patch",
}
MOST_FAILED = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the comparison table, with a share and its interval.

    Attributes:
        value: The share; empty if it was not measured.
        note: The interval as text, or why there is none.
        left, width, at: Start and length of the interval, and position of the share, in percent of the line; None
            without an interval.
        more: Further numbers as text; empty if there are none.
    """

    value: str
    note: str
    left: str | None = None
    width: str | None = None
    at: str | None = None
    more: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the comparison, with one cell per model."""

    name: str
    title: str
    cells: Sequence[Cell]


def write_comparison(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a comparison as one self-contained HTML file.

    Args:
        folder: The folder that ``whywrong robustness --out`` wrote.
        path: File to write, replaced atomically; None writes ``robustness.html`` in the folder.

    Raises:
        RunFolderError: The folder holds no comparison, or it is damaged.
        EnvironmentFailure: The file cannot be written.
    """
    analysis = find_analysis("robustness")
    record = read_record(folder, analysis, f"`whywrong robustness MODEL... DATA --out {folder}`")
    rows, trials, tests = (read_rows(folder, analysis, table) for table in ("rows", "trials", "tests"))
    target = path or folder / "robustness.html"
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("report.css", "robustness.css"))
    models: list[str] = record["models"]
    pieces = template("robustness.html.j2").generate(
        subject=words.subject(record),
        headline=words.headline(record, rows, tests),
        lead=words.lead(record, rows),
        statistics=words.statistics(record, rows),
        models=[shown(name) for name in models],
        groups=[(title, lines) for group, title in GROUPS.items() if (lines := _lines(rows, group, models))],
        transfers=[_transfer(row) for row in rows if row["row"] == "patch_transfer"],
        attention=[_attention(row) for row in rows if known(row["mass"])],
        tests=[words.test_line(one) for one in tests if one["kind"] == "models"],
        controls=[words.test_line(one) for one in tests if one["kind"] == "control"],
        trials=_trials(trials),
        method=words.method(record),
        failed=[(shown(key), shown(reason)) for key, reason in record["failed"][:MOST_FAILED]],
        failed_more=max(0, len(record["failed"]) - MOST_FAILED),
        style=style,
        version=__version__,
    )
    folders = owner_folders({"data": {"source": record["data"]}, "model": {}}, folder)
    write_page(target, hide_folders(pieces, folders, keep=(style,)))
    return target


def _lines(rows: Sequence[Row], group: str, models: Sequence[str]) -> list[Line]:
    """Build the lines of a group; transfer between models has a table of its own."""
    own = [row for row in rows if row["group"] == group and row["row"] != "patch_transfer"]
    found = []
    for name in dict.fromkeys(row["row"] for row in own):
        by_model = {row["model"]: row for row in own if row["row"] == name}
        title = next(iter(by_model.values()))["title"]
        cells = [_cell(by_model[model]) if model in by_model else Cell("", "not measured") for model in models]
        found.append(Line(shown(name), shown(title), cells))
    return found


def _cell(row: Row) -> Cell:
    if row["reason"]:
        return Cell("", shown(row["reason"]))
    name = "fooled" if known(row["fooled"]) else "accuracy"
    if not known(row[name]):
        return Cell("n/a", "no unchanged image is right")
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    word = "fooled" if name == "fooled" else "right"
    more = ""
    if name == "fooled" and row["trials"] > 1:
        more = f"any of {row['trials']:,} trials: {percent(row['any'])} ({words.span(row, 'any')})"
    if not (known(low) and known(high)):
        return Cell(f"{percent(row[name])} {word}", "no interval", more=more)
    ends = f"{100 * low:.4g}%", f"{100 * (high - low):.4g}%", f"{100 * row[name]:.4g}%"
    return Cell(f"{percent(row[name])} {word}", words.span(row, name), *ends, more=more)


def _transfer(row: Row) -> tuple[str, ...]:
    value = percent(row["fooled"]) if known(row["fooled"]) else "n/a"
    return shown(row["source"]), shown(row["model"]), value, words.span(row, "fooled")


def _attention(row: Row) -> tuple[str, ...]:
    low, high = row["mass_change_low"], row["mass_change_high"]
    change = f"{100 * row['mass_change']:+.2f} points" if known(row["mass_change"]) else "n/a"
    interval = f"{100 * low:+.2f} to {100 * high:+.2f}" if known(low) and known(high) else "no interval"
    return shown(row["row"]), shown(row["model"]), percent(row["mass_before"]), percent(row["mass"]), change, interval


def _trials(trials: Sequence[Row]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Group the single trials by row and model."""
    groups: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for one in trials:
        if one["model"] != one["source"]:
            continue
        fooled = percent(one["fooled"]) if known(one["fooled"]) else "n/a"
        groups.setdefault((one["row"], one["model"]), []).append(
            (shown(one["trial"]), percent(one["accuracy"]), fooled)
        )
    return [(shown(row), shown(model), lines) for (row, model), lines in groups.items() if len(lines) > 1]
