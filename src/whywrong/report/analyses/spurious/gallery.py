"""The page of ``whywrong spurious``, with components, their evidence, and labels set by keyboard.

It is one self-contained HTML file made from the tables of the analysis; torch is not imported.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from whywrong._version import __version__
from whywrong.core.registry import find_analysis
from whywrong.report.analyses.spurious import words
from whywrong.report.analyses.spurious.changes import change_section
from whywrong.report.folders import hide_folders, owner_folders
from whywrong.report.numbers import shown, sig
from whywrong.report.pages import STATIC, template, write_page
from whywrong.report.primitives.overlays import data_uri, density, signed_png
from whywrong.runs.store.results import read_record, read_rows

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tile:
    """An image shown with a component.

    Attributes:
        picture: ``data:`` URI of the model input.
        map: ``data:`` URI of the map drawn over it, or None.
        small: Whether the image is so small that its pixels are shown as squares.
        alt: Alternative text.
        line: Text under it.
        caused: Whether the component causes the misclassification of this image.
        ratio: Width divided by height.
    """

    picture: str
    map: str | None
    small: bool
    alt: str
    line: Markup
    caused: bool
    ratio: str


@dataclass(frozen=True, slots=True)
class Card:
    """Contents of the card of one component.

    Attributes:
        anchor: Id of the HTML element.
        class_name: Name of the class as shown.
        write_as: Name of the class to write in the file of labels.
        component: Number of the component, starting at 1.
        verdict: ``harmful``, ``not confirmed`` or ``too few carriers``.
        label: Label given by a person, or None.
        sentences: The evidence in words.
        numbers: Name, value and note of each number of the evidence.
        tops, carriers: Images with the largest values, and images of other classes with the feature.
        unit: Meaning of the colours of the maps; empty without maps.
    """

    anchor: str
    class_name: str
    write_as: str
    component: int
    verdict: str
    label: str | None
    sentences: Sequence[Markup]
    numbers: Sequence[tuple[str, str, str]]
    tops: Sequence[Tile]
    carriers: Sequence[Tile]
    unit: str


def write_gallery(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a search as one self-contained HTML file.

    Args:
        folder: The folder that ``whywrong spurious --out`` wrote.
        path: File to write, replaced atomically; None writes ``spurious.html`` in the folder.

    Raises:
        RunFolderError: The folder holds no search, or it is damaged.
        EnvironmentFailure: The file cannot be written.
    """
    analysis = find_analysis("spurious")
    record = read_record(folder, analysis, f"`whywrong spurious MODEL DATA --out {folder}`")
    rows, pictures = (read_rows(folder, analysis, table) for table in ("components", "examples"))
    changes = read_rows(folder, analysis, "changes") if record.get("changes") else []
    target = path or folder / "spurious.html"
    script = (STATIC / "spurious.js").read_text(encoding="utf-8")
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("report.css", "spurious.css"))
    cards = _cards(record, rows, pictures)
    pieces = template("spurious.html.j2").generate(
        subject=words.subject(record),
        headline=words.headline(record, rows),
        lead=words.lead(record, rows, len({card.class_name for card in cards})),
        statistics=words.statistics(record, rows),
        repairs=words.repairs(record),
        groups=_groups(cards, rows),
        classes=list(dict.fromkeys(card.class_name for card in cards)),
        total=len(cards),
        basis=record["basis"],
        changes=change_section(record, changes),
        method=words.method(record),
        left_out=[(shown(name), reason) for name, reason in record["left_out"].items()],
        failed=[(shown(key), shown(reason)) for key, reason in record["failed"][:20]],
        failed_more=max(0, len(record["failed"]) - 20),
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
    )
    folders = owner_folders({"data": {"source": record["data"]}, "model": record["model"]}, folder)
    write_page(target, hide_folders(pieces, folders, keep=(style, script)))
    return target


def _cards(record: Row, rows: Sequence[Row], pictures: Sequence[Row]) -> list[Card]:
    names = record["model"]["classes"]
    drawn: dict[tuple[int, int], list[Row]] = {}
    for picture in pictures:
        drawn.setdefault((picture["class"], picture["component"]), []).append(picture)
    by_place = {(row["class"], row["component"]): row for row in rows}
    return [_card(by_place[place], drawn[place], names) for place in drawn]


def _groups(cards: Sequence[Card], rows: Sequence[Row]) -> list[tuple[str, int, list[Card]]]:
    images = {shown(row["class_name"]): row["images"] for row in rows}
    groups: dict[str, list[Card]] = {}
    for card in cards:
        groups.setdefault(card.class_name, []).append(card)
    return [(name, images[name], sorted(some, key=lambda card: card.component)) for name, some in groups.items()]


def _card(row: Row, drawn: Sequence[Row], names: Sequence[str]) -> Card:
    cells = [density(_grid(picture)) for picture in drawn if picture["map"] is not None]
    # One scale for all images of a component, so that they can be compared.
    scale = max((float(np.quantile(np.abs(values), 0.98)) for values in cells), default=0.0)
    tiles = {
        group: [_tile(picture, names, scale) for picture in drawn if picture["group"] == group]
        for group in ("top", "carrier")
    }
    unit = ""
    if cells:
        rows_cols = " × ".join(map(str, cells[0].shape))
        adds = (
            "" if row["map"] == "exact" else " For this model the map is approximate and may not add up to the logit."
        )
        unit = (
            f"{rows_cols} cells. Orange raises the class and blue lowers it; full strength at ± {sig(scale, 2)} logits"
            " per "
            f"1\u00a0% of the area, for all images of this component; small values are faded.{adds}"
        )
    return Card(
        anchor=f"c{row['class']}-{row['component']}",
        class_name=shown(row["class_name"]),
        write_as=_written(row["class"], names),
        component=row["component"],
        verdict=row["verdict"],
        label=row["label"],
        sentences=words.sentences(row),
        numbers=words.numbers(row),
        tops=tiles["top"],
        carriers=tiles["carrier"],
        unit=unit,
    )


def _written(index: int, names: Sequence[str]) -> str:
    """Choose an unambiguous name of this class for the file of labels."""
    name = names[index]
    return name if names.count(name) == 1 and name.strip() == name and name.isprintable() else str(index)


def _grid(picture: Row) -> np.ndarray:
    return np.array(picture["map"], dtype=np.float32).reshape(picture["rows"], picture["cols"])


def _faded(values: np.ndarray, scale: float) -> np.ndarray:
    """Attenuate small values.

    Otherwise the uniform level of a class would veil its images.
    """
    return values * np.minimum(np.abs(values) / scale, 1) if scale > 0 else values


def _tile(picture: Row, names: Sequence[str], scale: float) -> Tile:
    label, predicted = shown(names[picture["label"]]), shown(names[picture["predicted"]])
    kind = "png" if picture["picture"].startswith(b"\x89PNG") else "jpeg"
    adds = f"{'+' if picture['alpha'] > 0 else ''}{sig(picture['alpha'], 2)} logits"
    if picture["group"] == "top":
        line = Markup("<b class='number'>{}</b>").format(adds)
        if picture["predicted"] != picture["label"]:
            line += Markup(" predicted as {}").format(predicted)
    else:
        line = Markup("{} <span class='arrow' aria-label='predicted as'>→</span> {}").format(label, predicted)
        if picture["caused"]:
            line += Markup(" <strong>because of it</strong>")
    return Tile(
        picture=data_uri(picture["picture"], kind),
        map=None if picture["map"] is None else signed_png(_faded(density(_grid(picture)), scale), scale),
        small=max(picture["width"], picture["height"]) <= 64,
        alt=f"{shown(picture['key'])}, labelled {label}, predicted as {predicted}; this component adds {adds}",
        line=line,
        caused=bool(picture["caused"]),
        ratio=f"{picture['width']}/{picture['height']}",
    )
