"""Section on the smallest change that corrects the prediction, and on the sensitivity of the model.

The place of a fix says nothing about the cause of the error, since fixes for other classes lie at similar places. Maps
and regions are therefore shown with numbers only.
"""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from whywrong.core.status import Status
from whywrong.report.methods.inverted.overview import distance, nearer
from whywrong.report.numbers import count, grey_levels, known, percent, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class
from whywrong.report.tables import Row


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row.
    """
    fix = context.row["inverted"]
    if fix is None:
        return None
    found = Section(
        sentences=[*_distance(fix, context.true, nearer(context.summary, distance(context.row))), *_eight_bit(fix)],
        overlays=_overlays(fix, context.maps("inverted")),
        caveats=_caveats(fix),
    )
    if fix["status"] == Status.OK:
        found.blocks = [_distance_block(fix), *_fix_blocks(fix)]
    return found


def _overlays(fix: Row, stored: dict[str, np.ndarray]) -> list[Overlay]:
    """Collect region, contribution and amplified change, as far as they are stored."""
    found = []
    region = stored.get("region_mask")
    if region is not None and region.any() and fix["region_fixed"]:
        many, area = int(fix["region_count"]), percent(fix["region_area"])
        caption = f"A change only inside the {'outline' if many == 1 else 'outlines'} makes the prediction correct"
        caption += (
            f" ({count(many, 'region')}, {area} of the input). It shows where the model is sensitive to any class."
        )
        height, width = region.shape
        path = overlays.outline(region)
        if path:
            found.append(
                Overlay(
                    "region", "Region change", caption, path=path, width=width, height=height, look="outline", rank=30
                )
            )
    contribution = stored.get("contribution")
    if contribution is not None and contribution.any():
        # The contribution of a correcting change supports the true class, which is the negative side.
        cells = -overlays.density(overlays.smoothed(contribution))
        caption = (
            "How much each place contributes to the smallest correcting change. It shows where the model is sensitive."
        )
        size = f"{cells.shape[0]} × {cells.shape[1]} cells"
        found.append(Overlay("contribution", "Sensitivity", caption, cells=cells, resolution=size, rank=40))
    change = stored["fix_u8"] - stored["image_u8"] if {"fix_u8", "image_u8"} <= stored.keys() else None
    if change is not None and change.any():
        image, factor = overlays.amplified(change, 1024)
        most = grey_levels(float(np.abs(change).max()))
        caption = f"8-bit change × {factor}" + (", otherwise invisible" if factor >= 20 else "")
        caption += f": the real change is at most {most}; mid grey means no change."
        found.append(Overlay("change", f"8-bit × {factor}", caption, image=image, look="opaque", rank=50))
    return found


def _distance(fix: Row, true: str, share: float) -> list[Markup]:
    if fix["status"] == Status.NO_ANSWER:
        tried = int(fix["q_candidates"])
        return [Markup("No correcting change was found with {}.").format(
            count(tried, "changed image")
        )]  # fmt: skip
    if fix["status"] != Status.OK:
        return [Markup("The smallest change was not computed: {}.").format(fix["status"].replace("_", " "))]
    grey = 255 * fix["rho_linf"]
    sentence = Markup("Changing each colour value by at most {} turns the prediction into {}").format(
        grey_levels(grey), true_class(true)
    )
    if known(share) and 0.05 <= share <= 0.95:
        sentence += Markup("; that is less than for {} of the corrected errors").format(percent(round(share, 2)))
    elif known(share):
        sentence += Markup("; that is among the {} of all corrected errors").format(
            "smallest" if share > 0.95 else "largest"
        )
    return [sentence + Markup(".")]


def _eight_bit(fix: Row) -> list[Markup]:
    if fix["status"] != Status.OK or fix["u8_fixed"] is None:
        return []
    if fix["u8_fixed"]:
        return []
    return [Markup("No 8-bit change was found: the change is lost if the image is saved as an ordinary 8-bit file.")]


def _caveats(fix: Row) -> list[str]:
    found = []
    if fix["unstable"]:
        found.append(
            "The changed image was classified correctly when found, but not when tested again among other images."
        )
    residual = fix["contribution_residual"]
    if known(residual) and abs(residual) > 0.02:
        found.append(
            f"The contribution map misses {percent(abs(residual))} of the change in margin. This is more than 2 %, so"
            " read it with care."
        )
    if fix["status"] == Status.OK and not fix["detailed"]:
        found.append(
            "This error has no regions and no map, because it is beyond the limit of errors explained in full."
        )
    return found


def _distance_block(fix: Row) -> Block:
    rows = [
        (
            "largest change of a colour value",
            grey_levels(255 * fix["rho_linf"]),
            f"linf; smallest found. First-order estimate {grey_levels(255 * fix['rho_lin_linf'])}",
        ),
        (
            "size in the l2 norm",
            sig(fix["rho_l2"]),
            f"pixels in [0, 1]; smallest found. First-order estimate {sig(fix['rho_lin_l2'])}",
        ),
        ("margin", f"{sig(fix['margin_before'])} to {sig(fix['margin_after'])} logits", "negative is correct"),
        (
            "correct when tested again",
            "no" if fix["unstable"] else "yes",
            "in a batch with other images, in the same process",
        ),
    ]
    if fix["u8_fixed"] is not None:
        value = f"yes, {grey_levels(255 * fix['u8_linf'])}" if fix["u8_fixed"] else "not found"
        rows.append(("8-bit change", value, "whole grey levels; tested after rounding"))
    queries = (
        f"{count(int(fix['q_candidates']), 'changed image')} to the first fix, {int(fix['q_shrink']):,} to shrink it"
    )
    passes = f"{int(fix['forwards']):,} forward and {int(fix['backwards']):,} backward passes in all"
    rows.append(("cost", queries, passes))
    return Block("Smallest change", grey_levels(255 * fix["rho_linf"]), rows)


def _fix_blocks(fix: Row) -> list[Block]:
    if not fix["detailed"]:
        return []
    blocks = []
    if fix["region_fixed"]:
        rows = [
            (
                "regions changed",
                f"{int(fix['region_count']):,}",
                f"{percent(fix['region_area'])} of what the model sees",
            ),
            (
                "size",
                f"{sig(fix['region_l2'])} (l2), {grey_levels(255 * fix['region_linf'])}",
                "predicted as the labelled class",
            ),
        ]
        blocks.append(Block("Region change", f"{count(int(fix['region_count']), 'region')}", rows))
    regions = fix["regions"] or []
    if regions:
        rows = [
            (f"region {region['segment']}", f"{percent(region['share'])} of the change", _region_note(region))
            for region in regions
        ]
        residual = fix["contribution_residual"]
        if known(residual):
            rows.append(
                (
                    "residual",
                    percent(abs(residual)),
                    "share of the change in margin that the map misses; under 2 % is good",
                )
            )
        blocks.append(
            Block("Where the model is sensitive", f"{percent(regions[0]['share'])} in the strongest region", rows)
        )
    return blocks


def _region_note(region: Row) -> str:
    notes = [f"{percent(region['area'])} of the area"]
    if known(region["lift"]):
        notes.append(f"lift {sig(region['lift'], 2)}")
    notes.append("sufficient" if region["sufficient"] else "not sufficient")
    notes.append("necessary" if region["necessary"] else "not necessary")
    return ", ".join(notes)
