"""Part of view ``covering``: the place that accounts for an error, if one is confirmed, and what it was tested with."""

from __future__ import annotations

from markupsafe import Markup

from whywrong.core.discoveries import LEAST_CONTROLS, LEVEL
from whywrong.report.facts import SKIPPED
from whywrong.report.numbers import count, known, percent, shown, sig
from whywrong.report.parts.pieces import Block, Context, Overlay, Part, true_class
from whywrong.report.tables import Row

NONE_FOUND = (
    "No single place was found to account for this error; the map shows where the model is sensitive, for any class."
)
UNIT = 1000  # the window is drawn in a box of so many units a side


def part(context: Context) -> Part | None:
    """What covering shows of one error; None where there is no row of it or it was not to be explained in full."""
    row = context.row["covering"]
    if row is None or row["status"] == SKIPPED:
        return None
    if row["status"] != "ok":
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Part(blocks=[Block("Covering", "refused", [("refused", "", reason)])])
    if not row["place_confirmed"]:
        return Part(sentences=[_not_confirmed(row)], blocks=[_block(row, context)])
    caption = Markup("Hidden here, the image is read as {}: a place confirmed.").format(context.true)
    return Part(
        sentences=[_confirmed(row, context)],
        overlays=[Overlay("place", "Place", str(caption), path=_path(row), width=UNIT, height=UNIT)],
        blocks=[_block(row, context)],
    )


def _confirmed(row: Row, context: Context) -> Markup:
    area = percent(round(row["width"] * row["height"], 2))
    controls = int(row["controls"])
    as_much = round(row["p"] * (controls + 1)) - 1
    do = "does" if as_much == 1 else "do"
    return Markup(
        "Hiding this place ({} of the image) brings out {}, and no other class as much; of {} read right, asked for"
        " their runner-up, {} {} as well. Of the places confirmed in this run about one in ten may be chance."
    ).format(area, true_class(context.true), count(controls, "image"), f"{as_much:,}" if as_much else "none", do)


def _not_confirmed(row: Row) -> Markup:
    if row["place_confirmed"] is None:
        return Markup(
            "Whether one place accounts for this error was not tested: that takes at least {} that the model reads"
            " right to compare with."
        ).format(count(LEAST_CONTROLS, "image"))
    return Markup(NONE_FOUND)


def _path(row: Row) -> str:
    """The window as an SVG path."""
    x, y, width, height = (round(UNIT * row[name], 1) for name in ("left", "top", "width", "height"))
    return f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z"


def _block(row: Row, context: Context) -> Block:
    verdict = {True: "place confirmed", False: "no place confirmed", None: "not tested"}[row["place_confirmed"]]
    rows = [
        ("brought out of the labelled class", percent(row["p_true"]), "largest probability with one window hidden"),
        (
            "brought out of any other class",
            percent(row["p_rival"]),
            f"largest with one window hidden: {context.names[row['rival']]}",
        ),
        ("V", sig(row["v"]), "the difference of the two"),
        (
            "best window",
            "turns the answer into the labelled class" if row["turned"] else "does not turn the answer",
            "",
        ),
        (
            "windows that turn the answer",
            f"{int(row['turned_windows']):,}",
            "no evidence by itself: it also happens to most images read right, asked for their runner-up",
        ),
    ]
    if known(row["p"]):
        level = f"confirmed by Benjamini-Hochberg at {percent(LEVEL)} over all errors asked"
        against = f"share of {count(int(row['controls']), 'image')} read right with a V as large; {level}"
        rows.append(("P", sig(row["p"], 2), against))
    rows.append(("cost", count(int(row["forwards"] or 0), "forward pass", "forward passes"), ""))
    return Block("Covering", verdict, rows)
