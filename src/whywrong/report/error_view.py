"""One error made ready for the template: pictures, and the parts of every method that the run holds of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup
from PIL import Image

from whywrong.core.registry import Method
from whywrong.report import answer, plug_ins
from whywrong.report.facets import enough_of, trust_of
from whywrong.report.methods import parts
from whywrong.report.numbers import known, percent, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.sections import Block, Context, Overlay, Panel
from whywrong.report.selection import distance
from whywrong.report.summary import CONFIDENT
from whywrong.report.tables import Names, Row, Tables

# Switches in the order in which they stand; the first that there is, photograph aside, is shown at the start.
KINDS = (
    "place",
    "evidence",
    "region",
    "contribution",
    "change",
    "enough",
    "breaking",
    "targeted",
    "order",
    *plug_ins.KINDS,
)
STARTS = tuple(kind for kind in KINDS if kind not in ("breaking", "targeted", "order", *plug_ins.KINDS))


@dataclass(slots=True)
class Case:
    """One error, ready to be shown.

    ``tile`` is its picture in the gallery, ``mark`` the one in lists; ``trust``, ``enough`` and ``patches`` are as of
    :mod:`whywrong.report.facets`.
    """

    number: int
    keys: list[str]
    label: int
    predicted: int
    true_name: str
    wrong_name: str
    photo: str
    tile: str
    mark: str
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
    distance: float
    distance_text: str
    confidence: float
    first: str
    search: str
    suspect: bool
    place: bool
    cause: str
    trust: str
    enough: str
    patches: int

    @property
    def anchor(self) -> str:
        """Its place in the page."""
        return f"e{self.number}"

    @property
    def measured(self) -> bool:
        """Whether its distance to right is known."""
        return 0 <= self.distance < float("inf")

    @property
    def small(self) -> bool:
        """Whether the photograph has so few pixels that they are shown as squares."""
        return max(self.width, self.height) <= 64

    @property
    def groups(self) -> list[tuple[str, list[Overlay]]]:
        """The overlays by rows of switches."""
        names = dict.fromkeys(overlay.group for overlay in self.overlays)
        return [(name, [overlay for overlay in self.overlays if overlay.group == name]) for name in names]


def build(tables: Tables, row: Row, names: Names, number: int, nearer: float, others: Sequence[Method] = ()) -> Case:
    """Everything the report shows about one row of :func:`whywrong.report.selection.select`.

    ``others`` are methods of plug-ins that have a view.
    """
    shares = parts(Context(tables=tables, row=row, names=names, nearer=nearer), others)
    found, scale = _overlays([overlay for share in shares for overlay in share.overlays])
    photo, width, height, crop = _photo(tables, row["item_id"])
    keys = [shown(key) for key in [row["key"], *row["copies"]]]
    away = distance(row)
    cause = shown(row["item"]["cause"] or "")
    enough, patches = enough_of(row)
    return Case(
        number=number,
        keys=keys,
        label=row["label"],
        predicted=row["predicted"],
        true_name=names[row["label"]],
        wrong_name=names[row["predicted"]],
        photo=overlays.data_uri(photo, "png" if photo[:4] == b"\x89PNG" else "jpeg") if photo else "",
        tile=overlays.tile(Image.open(io.BytesIO(photo))) if photo else "",
        mark=overlays.tile(Image.open(io.BytesIO(photo)), 72) if photo else "",
        width=width,
        height=height,
        crop=crop,
        box=_box(row),
        top=_top(row, names),
        sentences=[*answer.sentences(row, names), *(line for share in shares for line in share.sentences)],
        overlays=found,
        scale=sig(scale, 2) if scale else "",
        panels=[panel for share in shares for panel in share.panels],
        blocks=[*(block for share in shares for block in share.blocks), answer.block(row)],
        caveats=list(
            dict.fromkeys([*answer.caveats(row), *(text for share in shares for text in share.caveats)])
        ),  # two methods may have the same one
        distance=away,
        distance_text=_distance_text(away),
        confidence=row["confidence"] or 0.0,
        first=next((o.kind for kind in STARTS for o in found if o.kind == kind), "photo"),
        search=" ".join([*keys, names.whole(row["label"]), names.whole(row["predicted"]), cause]).lower(),
        place=bool(row["covering"] and row["covering"]["place_confirmed"]),
        suspect=known(row["rank_of_true"]) and row["rank_of_true"] > 5 and row["confidence"] >= CONFIDENT,
        cause=cause,
        trust=trust_of(row),
        enough=enough,
        patches=patches,
    )


def _overlays(found: list[Overlay]) -> tuple[list[Overlay], float]:
    """Draw the signed ones on a common scale, which is returned with all of them in the order of their switches."""
    scale = overlays.common_scale([overlay.cells for overlay in found if overlay.cells is not None])
    for overlay in found:
        if overlay.cells is not None:
            overlay.image = overlays.signed_png(overlay.cells, scale)
    found.sort(key=lambda overlay: KINDS.index(overlay.kind))
    return found, scale


def _photo(tables: Tables, item_id: str) -> tuple[bytes, int, int, tuple[float, float, float, float] | None]:
    thumb = tables.run.thumb(item_id)
    if thumb is None:
        return b"", 320, 320, None
    get: Callable[[str], Any] = thumb.__getitem__ if isinstance(thumb, Mapping) else partial(getattr, thumb)
    x0, y0, x1, y1 = (float(get(name)) for name in ("x0", "y0", "x1", "y1"))
    return bytes(get("jpeg")), int(get("width")), int(get("height")), (x0, y0, x1 - x0, y1 - y0)


def _box(row: Row) -> tuple[float, float, float, float] | None:
    """The owner's box as left, top, width, height in shares of the photograph; its corners are inclusive pixels."""
    corners = [row["item"][name] for name in ("x_min", "y_min", "x_max", "y_max")]
    width, height = row["width"], row["height"]
    if not all(map(known, [*corners, width, height])):
        return None
    x0, y0, x1, y1 = (float(value) for value in corners)
    return x0 / width, y0 / height, (x1 - x0 + 1) / width, (y1 - y0 + 1) / height


def _top(row: Row, names: Names) -> list[tuple[str, float, str, str]]:
    """The best classes, the labelled one added if it is not among them: name, confidence, text, role."""
    best = list(zip(row["top5"] or (), row["top5_confidence"] or (), strict=False))
    if row["label"] not in [index for index, _ in best] and known(row["true_confidence"]):
        best.append((row["label"], row["true_confidence"]))
    role = {row["label"]: "true", row["predicted"]: "wrong"}
    return [(names[i], float(c), percent(float(c)), role.get(i, "")) for i, c in best if known(c)]


def _distance_text(away: float) -> str:
    if away < 0:
        return "not measured"
    return "no fix known" if away == float("inf") else sig(away)
