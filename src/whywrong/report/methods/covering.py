"""Report of ``covering``, with the confirmed region that accounts for an error, and its test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.core.discoveries import LEAST_CONTROLS, LEVEL
from whywrong.core.statistics import wilson
from whywrong.core.status import Status
from whywrong.report.methods.base import CauseColumn, Choice, Facet, MethodReport
from whywrong.report.numbers import count, interval, known, percent, shown, sig
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class
from whywrong.report.tables import Row, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

NONE_FOUND = (
    "No single place was found that accounts for this error; the map shows where the model is sensitive to any class."
)
UNIT = 1000  # units per side of the box in which the window is drawn


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not explained in full.
    """
    row = context.row["covering"]
    if row is None or row["status"] == Status.SKIPPED:
        return None
    if row["status"] != "ok":
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Section(blocks=[Block("Covering", "refused", [("refused", "", reason)])])
    if not row["place_confirmed"]:
        return Section(sentences=[_not_confirmed(row)], blocks=[_block(row, context)])
    caption = Markup("Confirmed place: if it is hidden, the image is predicted as {}.").format(context.true)
    return Section(
        sentences=[_confirmed(row, context)],
        overlays=[
            Overlay("place", "Place", str(caption), path=_path(row), width=UNIT, height=UNIT, look="outline", rank=10)
        ],
        blocks=[_block(row, context)],
    )


def _confirmed(row: Row, context: Context) -> Markup:
    area = percent(round(row["width"] * row["height"], 2))
    controls = int(row["controls"])
    as_much = round(row["p"] * (controls + 1)) - 1
    return Markup(
        "Hiding this place ({} of the image) raises the probability of {} more than that of any other class. Of {} that"
        " are classified correctly and were tested with their runner-up as the label, {} {} as large an effect. About"
        " one"
        " in ten of the places confirmed in this run may be a chance finding."
    ).format(
        area,
        true_class(context.true),
        count(controls, "image"),
        f"{as_much:,}" if as_much else "none",
        "shows" if as_much <= 1 else "show",
    )


def _not_confirmed(row: Row) -> Markup:
    if row["place_confirmed"] is None:
        return Markup(
            "Whether one place accounts for this error was not tested: the test compares with at least {} that the"
            " model"
            " classifies correctly."
        ).format(count(LEAST_CONTROLS, "image"))
    return Markup(NONE_FOUND)


def _path(row: Row) -> str:
    """Draw the window as an SVG path."""
    x, y, width, height = (round(UNIT * row[name], 1) for name in ("left", "top", "width", "height"))
    return f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z"


def _block(row: Row, context: Context) -> Block:
    verdict = {True: "place confirmed", False: "no place confirmed", None: "not tested"}[row["place_confirmed"]]
    rows = [
        ("probability of the labelled class", percent(row["p_true"]), "largest probability with one window hidden"),
        (
            "probability of any other class",
            percent(row["p_rival"]),
            f"largest with one window hidden: {context.names[row['rival']]}",
        ),
        ("V", sig(row["v"]), "the difference of the two"),
        (
            "hiding the best window",
            "gives the labelled class" if row["turned"] else "does not give the labelled class",
            "",
        ),
        (
            "windows that give the labelled class when hidden",
            f"{int(row['turned_windows']):,}",
            "no evidence by itself: most correctly classified images have such windows for their runner-up",
        ),
    ]
    if known(row["p"]):
        level = f"confirmed by Benjamini-Hochberg at {percent(LEVEL)} over all errors tested"
        against = (
            f"share of {count(int(row['controls']), 'image')} classified correctly with a V at least as large; {level}"
        )
        rows.append(("P", sig(row["p"], 2), against))
    rows.append(("cost", count(int(row["forwards"] or 0), "forward pass", "forward passes"), ""))
    return Block("Covering", verdict, rows)


@dataclass(frozen=True, slots=True)
class Places:
    """Counts of confirmed regions in a run.

    Attributes:
        asked: Number of distinct errors that were tested.
        confirmed: Number of these errors with a confirmed region.
        controls: Number of correctly classified images in the comparison; with too few, nothing can be confirmed.
        held_out: Number of correctly classified images that were held out and tested in the same way.
        called: Number of held-out images with P at or below 0.1, compared with the other controls.
    """

    asked: int
    confirmed: int
    controls: int
    held_out: int
    called: int


def summarize(tables: Tables) -> Places | None:
    """Count the confirmed regions of a run.

    Returns None if the method did not run.
    """
    if not tables.has("covering", "place_confirmed") or not tables.has("covering_controls", "held_out", "p"):
        return None
    found = tables.rows(
        "select count(*) as asked, count_if(place_confirmed) as confirmed, max(controls) as controls"
        " from covering join items using (item_id) where status = 'ok' and same_as is null"
    )[0]
    apart = tables.rows(
        "select count(*) as held_out, count_if(p <= 0.1) as called from covering_controls"
        " where status = 'ok' and held_out"
    )[0]
    numbers = {**found, **apart}
    return Places(**{name: int(value or 0) for name, value in numbers.items()})


def lead(summary: RunSummary) -> list[str]:
    """Count the errors with a confirmed region."""
    places: Places | None = summary.numbers.get("covering")
    if places is None or not places.confirmed:
        return []
    return [
        f"In {places.confirmed:,} of {count(places.asked, 'error')} tested, one small place of the image is confirmed"
        " to account for the error; about one in ten of these places may be a chance finding."
    ]


def held_out_rate(places: Places) -> str:
    """State how often a region is confirmed in correctly classified images."""
    if not places.held_out or not places.controls:
        return "The test of places could not be checked on correctly classified images: there are too few of them."
    rate = wilson(places.called, places.held_out)
    return (
        f"Of {count(places.held_out, 'held-out image')} that are classified correctly and were tested with their"
        f" runner-up as the label, {percent(rate.value)} (95 % interval {interval(rate)}) have P at or below 0.1; 10 %"
        f" are expected. Errors were compared with {count(places.controls, 'correctly classified image')}."
    )


def _limits(summary: RunSummary) -> list[str]:
    places = summary.numbers.get("covering")
    return [] if places is None else [held_out_rate(places)]


def _confirmed_of(row: Row) -> bool:
    return bool(row["covering"] and row["covering"]["place_confirmed"])


def _choices(rows: Sequence[Row]) -> list[Choice]:
    number = sum(map(_confirmed_of, rows))
    return [Choice("1", f"Place confirmed ({number})", number)] if number else []


def _by_cause(tables: Tables) -> dict[str, str]:
    """Count confirmed regions among the tested errors, by planted cause."""
    if not tables.has("covering", "place_confirmed"):
        return {}
    rows = tables.rows(
        "select split_part(i.cause, ' ', 1) as cause, count(v.place_confirmed) as asked,"
        " count_if(v.place_confirmed)::bigint as confirmed"
        " from covering v join items i using (item_id) where i.cause is not null group by 1"
    )
    return {row["cause"]: f"{row['confirmed']:,} of {row['asked']:,}" for row in rows if row["asked"]}


def draw_covering(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the best window on the photograph, and the probability by window.

    The figure does not confirm a region, because that needs the other images of a run.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns, cover = result.columns(), result.maps()["cover"].cpu().numpy()
    figure = Figure(figsize=(2.7 * 2, 3.0 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), row in zip(axes, rows, strict=True):
        photo = np.moveaxis(np.clip(x[row].detach().cpu().float().numpy(), 0, 1), 0, -1)
        left.imshow(photo.squeeze(-1) if photo.shape[-1] == 1 else photo, cmap="gray", vmin=0, vmax=1)
        for axis in (left, right):
            axis.set_xticks([])
            axis.set_yticks([])
        if columns["status"][row] != "ok":
            reason = columns["reason"][row] or ""
            left.set_title("image", fontsize=9)
            right.set_title(f"{columns['status'][row]}: {reason}".replace("_", " ").strip(": ")[:60], fontsize=9)
            right.set_frame_on(False)
            continue
        x0, y0, width, height = (float(columns[name][row]) for name in ("left", "top", "width", "height"))
        down, across = photo.shape[:2]
        corner = (x0 * across - 0.5, y0 * down - 0.5)
        for colour, line in (("black", 3.0), ("white", 1.5)):
            left.add_patch(
                Rectangle(corner, width * across, height * down, fill=False, edgecolor=colour, linewidth=line)
            )
        turned = "becomes the labelled class" if columns["turned"][row] else "keeps another class"
        left.set_title(f"covered here, the image {turned}", fontsize=8)
        left.set_xlabel(f"V = {float(columns['v'][row]):.2g}", fontsize=8)
        shown = right.imshow(cover[row], cmap="viridis", vmin=0)
        right.set_title("where the model is sensitive", fontsize=9)
        right.set_xlabel("probability of the labelled class, by covered window", fontsize=8)
        figure.colorbar(shown, ax=right, shrink=0.8)
    return figure


COVERING = MethodReport(
    method="covering",
    order=20,
    section=section,
    figure=draw_covering,
    further_views=("covering_controls",),
    summarize=summarize,
    lead=lead,
    facets=(
        Facet(
            key="place",
            title="Place confirmed",
            value=lambda row: "1" if _confirmed_of(row) else "0",
            choices=_choices,
        ),
    ),
    badge=lambda row: "place confirmed" if _confirmed_of(row) else "",
    cause_column=CauseColumn(title="place confirmed", texts=_by_cause),
    nouns=("search for a place", "searches for a place"),
    papers=(
        "Covering: M. D. Zeiler, R. Fergus, “Visualizing and Understanding Convolutional Networks”, ECCV 2014,"
        " arXiv:1311.2901. Rivals, controls in role play and the test are ours.",
        "False discovery rate: Y. Benjamini, Y. Hochberg, “Controlling the False Discovery Rate”, JRSS B 57 (1995),"
        " pp. 289–300.",
    ),
    limits=(
        "A place is confirmed only if it is small and hiding it brings back the label. An error without a confirmed"
        " place may still have a local cause: occluders and causes that are spread out are missed.",
    ),
    limits_of_run=_limits,
    glossary=(
        (
            "place confirmed",
            "hiding this place raises the true class more than any other class, and more than in correctly classified"
            " images",
        ),
        ("role play", "a correctly classified image, tested with its runner-up as the label"),
    ),
)
