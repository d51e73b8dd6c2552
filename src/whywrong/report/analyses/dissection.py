"""The page of ``whywrong dissect``: units, their concepts, examples and effects on errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whywrong._version import __version__
from whywrong.core.registry import find_analysis
from whywrong.report.folders import hide_folders, owner_folders
from whywrong.report.numbers import count, known, percent, shown, sig
from whywrong.report.pages import STATIC, template, write_page
from whywrong.report.primitives.overlays import magnitude_png, photograph
from whywrong.runs.store.results import read_record, read_rows

Row = Mapping[str, Any]
MOST_CONFUSIONS = 20
SOURCES = {
    "planted": "exact masks of the drawn pictures",
    "masks": "objects of the data by class",
    "painted": "concepts painted on the images",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """An example image, overlaid with the activation map of a unit."""

    picture: str
    map: str
    alt: str
    line: str


@dataclass(frozen=True, slots=True)
class Card:
    """Contents of the page about one unit."""

    unit: int
    title: str
    marked: bool
    numbers: Sequence[tuple[str, str]]
    tiles: Sequence[Tile]


def write_dissection(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a dissection as one self-contained HTML file.

    Args:
        folder: The folder that ``whywrong dissect --out`` wrote.
        path: File to write, replaced atomically; None writes ``dissection.html`` in the folder.

    Raises:
        RunFolderError: The folder holds no dissection, or it is damaged.
        EnvironmentFailure: The file cannot be written.
    """
    analysis = find_analysis("dissection")
    record = read_record(folder, analysis, f"`whywrong dissect MODEL DATA --out {folder}`")
    units, effects, examples = (read_rows(folder, analysis, table) for table in analysis.tables)
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("report.css", "spurious.css"))
    detectors = [row for row in units if row["detects"]]
    pieces = template("dissection.html.j2").generate(
        subject=(shown(record["model"]["source"] or "the model"), shown(record["title"])),
        headline=f"{len(detectors):,} of {count(record['units'], 'unit')} of {shown(record['layer'])} detect a concept",
        lead=_lead(record, detectors),
        cards=_cards(units, examples, record["model"]["classes"]),
        suspects=_suspects(effects, units),
        failed=[(shown(key), shown(reason)) for key, reason in record["failed"][:20]],
        source=SOURCES[record["concepts"]["source"]],
        config=record["config"],
        style=style,
        version=__version__,
    )
    target = path or folder / "dissection.html"
    folders = owner_folders({"data": {"source": record["data"]}, "model": record["model"]}, folder)
    write_page(target, hide_folders(pieces, folders, keep=(style,)))
    return target


def _lead(record: Row, detectors: Sequence[Row]) -> list[str]:
    names = len({row["concept"] for row in detectors})
    lines = [
        f"{count(len(record['concepts']['names']), 'concept')} ({SOURCES[record['concepts']['source']]}) were compared "
        f"with the units on {count(record['images'], 'image')}; {names:,} concepts have a detector."
    ]
    if record["explained"]:
        lines.append(
            f"For {count(record['explained'], 'error')}, the change of logits by the smallest fix was split over the"
            " units; "
            f"the control is {count(record['controls'], 'correct image')} changed into the same classes."
        )
        if known(record["patched"]):
            lines.append(
                f"For {percent(record['patched'])} of the strongest units, replacing the activation of the error by"
                " that of "
                "the fix lowers the margin of the error."
            )
    else:
        lines.append("No error was explained, so no unit has an effect on errors.")
    if record["silenced"]:
        found, other = record["silenced"]
        lines.append(
            f"Without the {count(found['units'], 'suspect unit')}, {found['corrected']:.0f} errors become correct and "
            f"{found['broken']:.0f} correct images become errors; without as many random units, "
            f"{other['corrected']:.1f} and {other['broken']:.1f} do."
        )
    return lines


def _cards(units: Sequence[Row], examples: Sequence[Row], names: Sequence[str]) -> list[Card]:
    drawn: dict[int, list[Row]] = {}
    for one in examples:
        drawn.setdefault(one["unit"], []).append(one)
    by_unit = {row["unit"]: row for row in units}
    return [_card(by_unit[unit], tiles, names) for unit, tiles in drawn.items()]


def _card(row: Row, drawn: Sequence[Row], names: Sequence[str]) -> Card:
    numbers = [
        ("intersection over union", f"{sig(row['iou'])} (at most {sig(row['reachable'])})"),
        (
            "the same, on the images of the permutation test",
            f"{sig(row['iou_null_images'])}, by chance {sig(row['iou_chance'])}",
        ),
        ("p-value", sig(row["p"])),
    ]
    if known(row["promoted"]):
        numbers += [
            ("raises the predicted class by", f"{sig(row['promoted'])} logits"),
            ("lowers the label by", f"{sig(row['suppressed'])} logits"),
        ]
    title = shown(row["concept"]) if row["detects"] else "no concept"
    return Card(row["unit"], title, row["suspect"], numbers, [_tile(one, names) for one in drawn])


def _tile(row: Row, names: Sequence[str]) -> Tile:
    values = np.clip(np.array(row["map"], dtype=float), 0, None)
    label = shown(names[row["label"]]) if row["label"] >= 0 else "no label"
    predicted = shown(names[row["predicted"]])
    line = label if row["label"] == row["predicted"] else f"{label}, predicted as {predicted}"
    peak = max(float(values.max()), 1e-12)
    return Tile(photograph(row["picture"]), magnitude_png(values / peak), f"Image of {label}", line)


def _suspects(effects: Sequence[Row], units: Sequence[Row]) -> list[tuple[str, ...]]:
    concept = {row["unit"]: shown(row["concept"]) if row["detects"] else "" for row in units}
    rows = [row for row in effects if row["suspect"]]
    rows.sort(key=lambda row: (-row["errors"], -row["promotion"]))
    return [
        (
            f"{shown(row['label_name'] or 'any class')} predicted as {shown(row['predicted_name'])} "
            f"({row['errors']:,})",
            str(row["unit"]),
            concept[row["unit"]],
            f"{sig(row['promotion'])} ({sig(row['control_promotion'])})",
            f"{percent(row['promoted_share'])} "
            f"({percent(row['control_promoted_share']) if known(row['control_promoted_share']) else 'n/a'})",
        )
        for row in rows[:MOST_CONFUSIONS]
    ]
