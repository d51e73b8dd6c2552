"""Section of the page of ``whywrong spurious`` on counterfactuals, with common features of changes into a class.

Changes that only this model reacts to are noise. The page then draws no pictures of them and says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from whywrong.core.statistics import Interval
from whywrong.report.numbers import count, interval, known, listed, percent, shown, sig
from whywrong.report.primitives import overlays

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Crop:
    """Window with the strongest change in an image, as an example of a group of similar changes.

    Attributes:
        before, after: ``data:`` URIs of the whole image.
        crop_before, crop_after: ``data:`` URIs of the window.
        window: Left, top, width and height of the window, in percent of the image.
        small: Whether the window is so small that its pixels are shown as squares.
        title: Number of similar changes in the group, in words.
        lines: Measurements as texts.
        alt: Alternative text.
        confirmed: Whether the change works on other images; None if that was not tested.
        ratio: Width divided by height of the image.
    """

    before: str
    after: str
    crop_before: str
    crop_after: str
    window: tuple[str, str, str, str]
    small: bool
    title: str
    lines: Sequence[Markup]
    alt: str
    confirmed: bool | None
    ratio: str


@dataclass(frozen=True, slots=True)
class ChangeCard:
    """The changes into one class.

    Attributes:
        anchor: Id of the HTML element.
        class_name: Displayed name of the class.
        sentences: Results in words.
        mean: ``data:`` URI of the mean change; empty if nothing changed.
        unit: Meaning of the colours of the mean change.
        ratio: Width divided by height of the mean change.
        crops: One example for each group of changes.
    """

    anchor: str
    class_name: str
    sentences: Sequence[Markup]
    mean: str
    unit: str
    ratio: str
    crops: Sequence[Crop]


@dataclass(frozen=True, slots=True)
class ChangeSection:
    """Contents of the section on changes.

    Attributes:
        readable: Whether pictures are drawn.
        headline: One sentence on what the changes show, or why they show nothing.
        sentences: How the changes were made, and for how many classes.
        cards: One per class; none if the changes are noise.
        table: If the changes are noise, one row per class: name, share of images that reach it, shares of change and
            area outside the object, and cosine of gradients.
        left_out: Classes without changes, each with the reason.
    """

    readable: bool
    headline: str
    sentences: Sequence[str]
    cards: Sequence[ChangeCard]
    table: Sequence[tuple[str, ...]]
    left_out: Sequence[tuple[str, str]]


def change_section(record: Row, rows: Sequence[Row]) -> ChangeSection | None:
    """Build the section on changes into a class.

    Returns None if the search made no changes.

    Args:
        record: Record of the search.
        rows: Rows of ``changes.parquet``.
    """
    facts: Row | None = record.get("changes")
    if facts is None:
        return None
    names, readable = record["model"]["classes"], facts["readable"]
    scale = max((float(np.quantile(np.array(row["mean_change"]), 0.995)) for row in rows), default=0.0)
    return ChangeSection(
        readable=readable,
        headline=_headline(facts, rows),
        sentences=_how(facts, rows),
        cards=[_card(row, names, facts, scale) for row in rows] if readable else [],
        table=[] if readable else [_line(row) for row in rows],
        left_out=[(shown(name), reason) for name, reason in facts["left_out"].items()],
    )


def _headline(facts: Row, rows: Sequence[Row]) -> str:
    if not facts["readable"]:
        return "Only this model reacts to these changes; to others they are noise, so they are not drawn."
    hits = [shown(row["class_name"]) for row in rows if any(crop["confirmed"] for crop in row["crops"])]
    if not hits:
        return "No recurring change was confirmed to work on other images."
    if len(hits) > 6:
        hits = [*hits[:5], f"{len(hits) - 5:,} other classes"]
    return f"Recurring changes that work on other images were found for {listed(hits)}."


def _how(facts: Row, rows: Sequence[Row]) -> list[str]:
    images, p = sum(row["images"] for row in rows), facts["p"]
    norm = "∞" if p in (None, math.inf) else sig(p)
    sentences = [
        f"{count(images, 'image')} of other classes {'was' if images == 1 else 'were'} changed into "
        f"{count(facts['classes'], 'class', 'classes')} of {facts['of_classes']:,}, each by at most "
        f"{sig(facts['eps'], 2)} in the l{norm} norm, to maximise the probability of the class.",
        f"Guidance of the search: {shown(facts['guide'])}.",
    ]
    if facts["readable"] and facts["crops_tested"]:
        sentences.append(
            "Test: the change inside each window was applied at the same place to other images; the control was the"
            " same "
            f"change with shuffled pixels. {facts['crops_confirmed']:,} of {count(facts['crops_tested'], 'window')}"
            " passed, "
            "corrected for the number of tests."
        )
    return sentences


def _line(row: Row) -> tuple[str, ...]:
    outside, area = (percent(row[name]) if row["known"] else "n/a" for name in ("outside", "area_outside"))
    reached = f"{round(row['valid'] * row['images']):,} of {row['images']:,}"
    return shown(row["class_name"]), reached, outside, area, sig(row["coherence"], 2)


def _card(row: Row, names: Sequence[str], facts: Row, scale: float) -> ChangeCard:
    values = np.array(row["mean_change"], dtype=np.float64)
    unit = (
        f"Mean of {count(row['images'], 'change')}; the darkest shade is {sig(255 * scale, 2)} grey levels per pixel"
        " or "
        "more, summed over colours, for all classes."
    )
    return ChangeCard(
        anchor=f"into-{row['class']}",
        class_name=shown(row["class_name"]),
        sentences=_sentences(row, facts),
        mean=overlays.magnitude_png(_at_most(values / scale)) if scale > 0 else "",
        unit=unit,
        ratio=f"{row['width']}/{row['height']}",
        crops=[_crop(crop, row, names) for crop in row["crops"]],
    )


def _at_most(values: np.ndarray, longest: int = 224) -> np.ndarray:
    """Average over blocks, so that the longer side is at most ``longest``."""
    block = -(-max(values.shape) // longest)
    rows, cols = values.shape[0] // block, values.shape[1] // block
    return values[: rows * block, : cols * block].reshape(rows, block, cols, block).mean((1, 3))


def _sentences(row: Row, facts: Row) -> list[Markup]:
    name = shown(row["class_name"])
    said = [
        Markup("After the change, {} of {} are predicted as <em class='wrong'>{}</em>.").format(
            f"{round(row['valid'] * row['images']):,}", count(row["images"], "image"), name
        )
    ]
    if facts["rung"] == "robust copy":
        said.append(
            Markup(
                "These are predictions of the robust copy; the model itself predicts the class for {} of them."
            ).format(f"{row['read_as']:,}")
        )
    if row["known"]:
        span = interval(Interval(row["outside"], row["outside_low"], row["outside_high"]))
        share = Markup("{} of the change lies outside the object ({}); {} of the area does").format(
            percent(row["outside"]), span, percent(row["area_outside"])
        )
        said.append(
            share
            + (f" (the object is known in {count(row['known'], 'image')})." if row["known"] < row["images"] else ".")
        )
    if known(row["coherence"]):
        said.append(
            Markup("Gradients agree under small noise with a cosine of {}; a robust model has 0.6 or more.").format(
                sig(row["coherence"], 2)
            )
        )
    return said


def _crop(crop: Row, row: Row, names: Sequence[str]) -> Crop:
    label = shown(names[crop["label"]])
    height, width = row["height"], row["width"]
    box = (crop["col"] / width, crop["row"] / height, crop["side"] / width, crop["side"] / height)
    lines = [
        Markup("In an image of {}, the probability of {} is {} before and {} after the change.").format(
            label, shown(row["class_name"]), percent(crop["start"]), percent(crop["end"])
        )
    ]
    if crop["tried_on"]:
        rise = f"95 % interval {sig(crop['rise_low'], 2)} to {sig(crop['rise_high'], 2)}"
        lines.append(
            Markup(
                "Applied to {}, it changes {} predictions to this class; with shuffled pixels, {}. It raises the"
                " log-probability"
                " by {} nats more ({})."
            ).format(
                count(crop["tried_on"], "other image"),
                f"{crop['reads']:,}",
                f"{crop['shuffled_reads']:,}",
                sig(crop["rise"], 2),
                rise,
            )
        )
    title = f"{crop['members']:,} of {row['images']:,} {'is' if crop['members'] == 1 else 'are'} like this"
    return Crop(
        before=_uri(crop["before"]),
        after=_uri(crop["after"]),
        crop_before=_uri(crop["crop_before"]),
        crop_after=_uri(crop["crop_after"]),
        window=tuple(f"{100 * value:.4g}%" for value in box),  # type: ignore[arg-type]
        small=crop["side"] <= 64,
        title=title,
        lines=lines,
        alt=f"{shown(crop['key'])}, labelled {label}",
        confirmed=crop["confirmed"],
        ratio=f"{width}/{height}",
    )


def _uri(data: bytes) -> str:
    return overlays.data_uri(data, "png" if data.startswith(b"\x89PNG") else "jpeg")
