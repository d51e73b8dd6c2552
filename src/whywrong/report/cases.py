"""One error made ready for the template: pictures, overlays, sentences, numbers with their checks, caveats."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from whywrong.report import overlays, words
from whywrong.report.blocks import Block, blocks
from whywrong.report.facts import CONFIDENT
from whywrong.report.numbers import count, grey_levels, known, percent, shown, sig
from whywrong.report.selection import distance
from whywrong.report.tables import Names, Row, Tables


@dataclass(slots=True)
class Overlay:
    """Something to lay on the photograph: a picture or a path, with what it shows and in which unit."""

    kind: str
    label: str
    caption: str
    image: str = ""
    path: str = ""
    resolution: str = ""
    signed: bool = False
    opaque: bool = False


@dataclass(slots=True)
class Case:
    """One error, ready to be shown."""

    number: int
    keys: list[str]
    label: int
    predicted: int
    true_name: str
    wrong_name: str
    photo: str
    tile: str
    width: int
    height: int
    crop: tuple[float, float, float, float] | None
    box: tuple[float, float, float, float] | None
    top: list[tuple[str, float, str, str]]
    sentences: list[Markup]
    overlays: list[Overlay]
    noise: list[Overlay]
    scale: str
    blocks: list[Block]
    caveats: list[str]
    grade: str
    distance: float
    distance_text: str
    confidence: float
    first: str
    search: str
    verdict: str
    suspect: bool
    cause: str
    input_width: int
    input_height: int

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


def build(tables: Tables, row: Row, names: Names, number: int, nearer: float) -> Case:
    """Everything the report shows about one row of :func:`whywrong.report.selection.select`."""
    fix, cam = row["inverted"], row["cam"]
    photo, width, height, crop = _photo(tables, row["item_id"])
    difference = _maps(tables, row, "cam").get("difference")
    stored = _maps(tables, row, "inverted")
    change = _change(stored)
    if cam is not None and difference is not None:
        cam = Row(cam, half_cells=words.half_cells(difference))
    if cam is not None and (cam["status"] != "ok" or difference is None):
        difference = None
    signed = {"evidence": difference, "contribution": stored.get("contribution")}
    drawn = {kind: values for kind, values in signed.items() if values is not None and values.any()}
    main, noise, scale = _overlays(drawn, stored.get("region_mask"), change, fix, names[row["predicted"]])
    keys = [shown(key) for key in [row["key"], *row["copies"]]]
    away = distance(row)
    cause = shown(row["item"]["cause"] or "")
    order = ("evidence", "region", "contribution", "change")
    return Case(
        number=number,
        keys=keys,
        label=row["label"],
        predicted=row["predicted"],
        true_name=names[row["label"]],
        wrong_name=names[row["predicted"]],
        photo=overlays.data_uri(photo, "png" if photo[:4] == b"\x89PNG" else "jpeg") if photo else "",
        tile=overlays.tile(Image.open(io.BytesIO(photo))) if photo else "",
        width=width,
        height=height,
        crop=crop,
        box=_box(row),
        top=_top(row, names),
        sentences=words.reading(row, fix, cam, names, nearer),
        overlays=main,
        noise=noise,
        scale=sig(scale, 2) if scale else "",
        blocks=blocks(row, fix, cam),
        caveats=words.caveats(row, fix, cam),
        grade=(fix["grade"] if fix else None) or "",
        distance=away,
        distance_text=_distance_text(away),
        confidence=row["confidence"] or 0.0,
        first=next((o.kind for kind in order for o in main if o.kind == kind), "photo"),
        search=" ".join([*keys, names.whole(row["label"]), names.whole(row["predicted"]), cause]).lower(),
        verdict=words.GRADE_SENTENCES.get((fix["grade"] if fix else None) or "", ""),
        suspect=known(row["rank_of_true"]) and row["rank_of_true"] > 5 and row["confidence"] >= CONFIDENT,
        cause=cause,
        input_width=_size(stored)[1],
        input_height=_size(stored)[0],
    )


def _photo(tables: Tables, item_id: str) -> tuple[bytes, int, int, tuple[float, float, float, float] | None]:
    thumb = tables.run.thumb(item_id)
    if thumb is None:
        return b"", 320, 320, None
    get: Callable[[str], Any] = thumb.__getitem__ if isinstance(thumb, Mapping) else partial(getattr, thumb)
    x0, y0, x1, y1 = (float(get(name)) for name in ("x0", "y0", "x1", "y1"))
    return bytes(get("jpeg")), int(get("width")), int(get("height")), (x0, y0, x1 - x0, y1 - y0)


def _maps(tables: Tables, row: Row, method: str) -> dict[str, np.ndarray]:
    if row[method] is None:
        return {}
    found = tables.run.maps(method, row["item_id"])
    arrays = {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}
    return {name: values for name, values in arrays.items() if np.isfinite(values).all()}


def _size(stored: dict[str, np.ndarray]) -> tuple[int, int]:
    """Height and width of the classifier's input, as far as a map tells."""
    mask = stored.get("region_mask")
    return (1, 1) if mask is None else (mask.shape[0], mask.shape[1])


def _change(stored: dict[str, np.ndarray]) -> np.ndarray | None:
    """The 8-bit change (C, H, W) in grey levels; None where there is none."""
    if "fix_u8" not in stored or "image_u8" not in stored:
        return None
    return stored["fix_u8"] - stored["image_u8"]


def _overlays(
    drawn: dict[str, np.ndarray],
    region: np.ndarray | None,
    change: np.ndarray | None,
    fix: Row | None,
    wrong: str,
) -> tuple[list[Overlay], list[Overlay], float]:
    """Overlays for the photograph, those that are noise, and the common scale of the signed ones."""
    cells = {kind: overlays.smoothed(v) if kind == "contribution" else v for kind, v in drawn.items()}
    # The contribution of a change to becoming right speaks for the true class, which is the negative side.
    dense = {kind: overlays.density(-v if kind == "contribution" else v) for kind, v in cells.items()}
    scale = overlays.common_scale(list(dense.values()))
    captions = {
        "evidence": ("Evidence", f"Where the evidence for {wrong} lies, compared with the labelled class."),
        "contribution": ("Contribution", "What the change of each place contributes to making the image right."),
    }
    main: list[Overlay] = []
    noise: list[Overlay] = []
    noisy = fix is not None and fix["grade"] == "noise-like"
    for kind in ("evidence", "contribution"):
        if kind in dense:
            size = f"{dense[kind].shape[0]} × {dense[kind].shape[1]} cells"
            label, caption = captions[kind]
            overlay = Overlay(
                kind, label, caption, overlays.signed_png(dense[kind], scale), resolution=size, signed=True
            )
            (noise if noisy and kind == "contribution" else main).append(overlay)
    path = overlays.outline(region) if region is not None and region.any() else ""
    if path and fix is not None and fix["region_fixed"]:
        many, area = int(fix["region_count"]), percent(fix["region_area"])
        caption = f"Changing only inside the {'outline' if many == 1 else 'outlines'} is enough"
        caption += f" ({count(many, 'region')}, {area} of what the model sees)."
        (noise if noisy else main).insert(0 if noisy else 1, Overlay("region", "Region fix", caption, path=path))
    if change is not None and change.any():
        image, factor = overlays.amplified(change)
        most = grey_levels(float(np.abs(change).max()))
        caption = f"8-bit fix × {factor}" + (", otherwise invisible" if factor >= 20 else "")
        caption += f": the true change is at most {most}; mid grey is no change."
        (noise if noisy else main).append(Overlay("change", f"8-bit × {factor}", caption, image, opaque=True))
    return main, noise, scale


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
