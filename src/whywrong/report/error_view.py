"""Contents of the page about one error, with pictures and the sections of all methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from whywrong.report import answer
from whywrong.report.analyses.verdict.one_error import Why, why
from whywrong.report.analyses.verdict.stored import Verdicts
from whywrong.report.facets import badges, facet_numbers, facet_values
from whywrong.report.numbers import NBSP, known, percent, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Block, Context, Overlay, Panel
from whywrong.report.reports import Reports
from whywrong.report.selection import difficulty
from whywrong.report.tables import Names, Row, Tables
from whywrong.runs.store.error_tables import CONFIDENT


@dataclass(slots=True)
class ErrorView:
    """Everything that the template needs to show one error.

    Attributes:
        photo: ``data:`` URI of the photograph; empty if none is stored.
        picture: CSS class that shows the photograph; empty if none is stored.
        scale: Value at which the colours of the signed maps saturate, as text.
        difficulty: Difficulty of the error, see :class:`whywrong.report.methods.base.Measure`.
        items: Ids of its item and of all items with the same image.
        why: Its verdict, or None. ``groups_in`` are the numbers of the groups that contain it.
        start: Number of the overlay shown initially; None for the photograph alone.
        facets, numbers, badges: Filter values, sort values, and texts under the tile.
    """

    number: int
    keys: list[str]
    label: int
    predicted: int
    true_name: str
    wrong_name: str
    photo: str
    width: int
    height: int
    crop: tuple[float, float, float, float] | None
    box: tuple[float, float, float, float] | None
    top: list[tuple[str, float, str, str]]
    sentences: list[Markup]
    overlays: list[Overlay]
    scale: str
    panels: list[Panel]
    blocks: list[Block]
    caveats: list[str]
    difficulty: float
    confidence: float
    start: int | None
    search: str
    suspect: bool
    cause: str
    facets: dict[str, str]
    numbers: dict[str, float]
    badges: list[str]
    items: list[str]
    why: Why | None
    groups_in: list[int]
    picture: str = ""

    @property
    def anchor(self) -> str:
        """Anchor of the error in the page."""
        return f"e{self.number}"

    @property
    def confidence_text(self) -> str:
        """Confidence of the prediction, rounded to whole percent."""
        return f"{self.confidence:.0%}".replace("%", f"{NBSP}%")

    @property
    def small(self) -> bool:
        """Whether the photograph has so few pixels that they are shown as squares."""
        return max(self.width, self.height) <= 64

    @property
    def groups(self) -> list[tuple[str, list[tuple[int, Overlay]]]]:
        """Overlays and their numbers, grouped by row of switches."""
        numbered = list(enumerate(self.overlays))
        names = dict.fromkeys(overlay.group for overlay in self.overlays)
        return [(name, [(n, overlay) for n, overlay in numbered if overlay.group == name]) for name in names]


def build(
    tables: Tables,
    reports: Reports,
    summary: RunSummary,
    row: Row,
    names: Names,
    number: int,
    verdicts: Verdicts | None = None,
) -> ErrorView:
    """Collect everything that the report shows about one error.

    ``row`` comes from :func:`whywrong.report.selection.select`.
    """
    items = [row["item_id"], *(row["same"] or ())]
    groups = [] if verdicts is None else verdicts.groups_of(items)
    sections = reports.sections(Context(tables=tables, row=row, names=names, summary=summary))
    found, scale = _overlays([overlay for section in sections for overlay in section.overlays])
    photo, width, height, crop = _photo(tables, row["item_id"])
    keys = [shown(key) for key in [row["key"], *row["copies"]]]
    away = difficulty(reports, row)
    cause = shown(row["item"]["cause"] or "")
    return ErrorView(
        number=number,
        keys=keys,
        label=row["label"],
        predicted=row["predicted"],
        true_name=names[row["label"]],
        wrong_name=names[row["predicted"]],
        photo=overlays.photograph(photo) if photo else "",
        width=width,
        height=height,
        crop=crop,
        box=_box(row),
        top=_top(row, names),
        sentences=[*answer.sentences(row, names), *(line for section in sections for line in section.sentences)],
        overlays=found,
        scale=sig(scale, 2) if scale else "",
        panels=[panel for section in sections for panel in section.panels],
        blocks=[*(block for section in sections for block in section.blocks), answer.block(row)],
        caveats=list(
            dict.fromkeys([*answer.caveats(row), *(text for section in sections for text in section.caveats)])
        ),  # two methods may have the same one
        difficulty=away,
        confidence=row["confidence"] or 0.0,
        start=next((n for n, overlay in enumerate(found) if overlay.starts), None),
        search=" ".join([*keys, names.whole(row["label"]), names.whole(row["predicted"]), cause]).lower(),
        suspect=known(row["rank_of_true"]) and row["rank_of_true"] > 5 and row["confidence"] >= CONFIDENT,
        cause=cause,
        facets=facet_values(reports, row),
        numbers=facet_numbers(reports, row),
        badges=badges(reports, row),
        items=items,
        why=why(row["verdict"], row["tests"] or [], groups) if row["verdict"] is not None else None,
        groups_in=[group.number for group in groups],
    )


def _overlays(found: list[Overlay]) -> tuple[list[Overlay], float]:
    """Draw the overlays, signed ones on a common scale.

    Returns the scale and all overlays in the order of their switches.
    """
    scale = overlays.common_scale([overlay.cells for overlay in found if overlay.cells is not None])
    for overlay in found:
        if overlay.cells is not None:
            overlay.image = overlays.signed_png(overlay.cells, scale)
    return sorted(found, key=lambda overlay: overlay.rank), scale


def _photo(tables: Tables, item_id: str) -> tuple[bytes, int, int, tuple[float, float, float, float] | None]:
    thumb = tables.run.thumb(item_id)
    if thumb is None:
        return b"", 320, 320, None
    get: Callable[[str], Any] = thumb.__getitem__ if isinstance(thumb, Mapping) else partial(getattr, thumb)
    x0, y0, x1, y1 = (float(get(name)) for name in ("x0", "y0", "x1", "y1"))
    return bytes(get("jpeg")), int(get("width")), int(get("height")), (x0, y0, x1 - x0, y1 - y0)


def _box(row: Row) -> tuple[float, float, float, float] | None:
    """Return the owner's box as left, top, width, height in shares of the photograph.

    Its corners are inclusive pixels.
    """
    corners = [row["item"][name] for name in ("x_min", "y_min", "x_max", "y_max")]
    width, height = row["width"], row["height"]
    if not all(map(known, [*corners, width, height])):
        return None
    x0, y0, x1, y1 = (float(value) for value in corners)
    return x0 / width, y0 / height, (x1 - x0 + 1) / width, (y1 - y0 + 1) / height


def _top(row: Row, names: Names) -> list[tuple[str, float, str, str]]:
    """Return the best classes as name, confidence, text and role.

    The labelled class is added if it is not among them.
    """
    best = list(zip(row["top5"] or (), row["top5_confidence"] or (), strict=False))
    if row["label"] not in [index for index, _ in best] and known(row["true_confidence"]):
        best.append((row["label"], row["true_confidence"]))
    role = {row["label"]: "true", row["predicted"]: "wrong"}
    return [(names[i], float(c), percent(float(c)), role.get(i, "")) for i, c in best if known(c)]
