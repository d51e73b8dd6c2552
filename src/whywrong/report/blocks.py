"""The numbers of one error, each with its unit and its check, in folded blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

from whywrong.report import words
from whywrong.report.numbers import count, grey_levels, known, percent, shown, sig
from whywrong.report.tables import Row


@dataclass(slots=True)
class Block:
    """A folded block of numbers: name, value, and what was checked or how to read it."""

    title: str
    summary: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)


def blocks(row: Row, fix: Row | None, cam: Row | None) -> list[Block]:
    """All blocks of one error, from its rows of views ``errors``, ``inverted`` and ``cam``."""
    found = []
    if fix is not None and fix["status"] == "fixed":
        found += [_distance_block(fix), *_fix_blocks(fix)]
    if cam is not None:
        found.append(_cam_block(cam))
    margin = row["margin"]
    facts = [
        ("margin", f"{sig(margin)} logits", "best other class minus the labelled one; positive is wrong"),
        ("image", f"{row['width']} × {row['height']} pixels", f"image_id {(row['image_id'] or '')[:16]}…"),
        ("item", row["item_id"], "item_id"),
    ]
    found.append(Block("Image and margin", f"margin {sig(margin)} logits" if known(margin) else "", facts))
    return found


def _distance_block(fix: Row) -> Block:
    rows = [
        (
            "distance to right, any colour value",
            grey_levels(255 * fix["rho_linf"]),
            f"linf; smallest found. First-order estimate {grey_levels(255 * fix['rho_lin_linf'])}",
        ),
        (
            "distance to right, l2",
            sig(fix["rho_l2"]),
            f"pixels in [0, 1]; smallest found. First-order estimate {sig(fix['rho_lin_l2'])}",
        ),
        ("margin", f"{sig(fix['margin_before'])} to {sig(fix['margin_after'])} logits", "negative is right"),
        ("right when tested again", "no" if fix["unstable"] else "yes", "among other images, in the same process"),
    ]
    if fix["u8_fixed"] is not None:
        value = f"yes, {grey_levels(255 * fix['u8_linf'])}" if fix["u8_fixed"] else "not found"
        rows.append(("8-bit fix", value, "whole grey levels; tested after rounding"))
    queries = (
        f"{count(int(fix['q_candidates']), 'changed image')} to the first fix, {int(fix['q_shrink']):,} to shrink it"
    )
    passes = f"{int(fix['forwards']):,} forward and {int(fix['backwards']):,} backward passes in all"
    rows.append(("cost", queries, passes))
    return Block("Distance to right", grey_levels(255 * fix["rho_linf"]), rows)


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
                "read as the labelled class",
            ),
        ]
        blocks.append(Block("Region fix", f"{count(int(fix['region_count']), 'region')}", rows))
    regions = fix["regions"] or []
    if regions and fix["grade"] != "noise-like":
        rows = [
            (f"region {region['segment']}", f"{percent(region['share'])} of the fix", _region_note(region))
            for region in regions
        ]
        residual = fix["contribution_residual"]
        if known(residual):
            rows.append(
                ("residual", percent(abs(residual)), "of the change in margin is missed by the map; under 2 % is good")
            )
        blocks.append(Block("Where the fix acts", f"{percent(regions[0]['share'])} in the strongest region", rows))
    ran, passed = fix["checks_ran"] or [], fix["checks_passed"] or []
    if ran:
        values = {
            "class": _class_control(fix),
            "random": f"fixes in {percent(fix['random_rate'])} of the draws",
            "small_noise": f"survives {percent(fix['small_noise_rate'])} of the draws",
        }
        rows = [
            (
                words.check_name(name),
                ("✓ passed" if name in passed else "✗ failed"),
                "; ".join(filter(None, (values.get(name, ""), words.CHECKS.get(name, ("", ""))[1]))),
            )
            for name in ran
        ]
        blocks.append(Block("Controls", f"{fix['grade']}: {len(passed)} of {len(ran)} passed", rows))
    return blocks


def _region_note(region: Row) -> str:
    notes = [f"{percent(region['area'])} of the area"]
    if known(region["lift"]):
        notes.append(f"lift {sig(region['lift'], 2)}")
    notes.append("sufficient" if region["sufficient"] else "not sufficient")
    notes.append("necessary" if region["necessary"] else "not necessary")
    return ", ".join(notes)


def _class_control(fix: Row) -> str:
    if not known(fix["rank_of_true_label"]):
        return ""
    text = f"{int(fix['rank_of_true_label']):,} of {int(fix['rank_of']):,} by first-order distance"
    ratio = fix["distance_ratio"]
    return text + (f", {sig(ratio)} × the distance to the others" if known(ratio) else "")


def _cam_block(cam: Row) -> Block:
    if cam["status"] != "ok":
        return Block("Evidence map", "refused", [("refused", "", shown(cam["reason"] or "no reason given"))])
    kind = {"cam": "class activation map", "hirescam": "HiResCAM"}.get(cam["kind"], cam["kind"])
    due = "must sum to the logit difference" if cam["exact"] else "does not have to sum to the logit difference here"
    rows = [
        (
            "evidence for the predicted class",
            f"{sig(cam['evidence'])} logits",
            "sum of the map; predicted minus labelled",
        ),
        ("map", f"{cam['rows']} × {cam['cols']} cells", f"{kind} at layer {cam['layer']}; {due}"),
        ("residual", sig(cam["residual"], 2), "missing from the sum, as a share of all absolute values"),
    ]
    return Block("Evidence map", f"{sig(cam['evidence'])} logits for the predicted class", rows)
