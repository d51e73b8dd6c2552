"""Section on small sets of patches that are enough for the prediction, or change it when hidden.

The section only reports predictions with hidden patches. Images with random labels give similar results
(docs/methods/patch_groups.md), so it does not state the cause of an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from whywrong.core.status import Status
from whywrong.report.methods.base import COVERED
from whywrong.report.numbers import count, known, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class, wrong_class
from whywrong.report.tables import Row

GROUP = "Patches"
NO_CAUSE = (
    "Patch groups show the prediction with hidden patches, not the cause of the error: in many images, a few patches"
    " have the same effect for a label drawn at random."
)


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row or was not explained in full.
    """
    row = context.row["patch_groups"]
    if row is None or row["status"] == Status.SKIPPED:
        return None
    if row["status"] != "ok":
        reason = shown(row["reason"] or "no reason given")
        return Section(blocks=[Block("Patch groups", "refused", [("refused", "", reason)])])
    return Section(
        sentences=[*_enough(row, context), *_without(row, context)],
        overlays=_overlays(row, context),
        blocks=[_block(row)],
        caveats=_caveats(row),
    )


def _patches(row: Row) -> int:
    return int(row["rows"]) * int(row["cols"])


def _size(row: Row, name: str) -> int | None:
    """Return the number of patches in a group that was found."""
    return int(row[f"{name}_size"]) if row[f"{name}_found"] and known(row[f"{name}_size"]) else None


def _enough(row: Row, context: Context) -> list[Markup]:
    wrong, size = wrong_class(context.wrong), _size(row, "sufficient")
    if size is None:
        if row["sufficient_found"] is None:
            return []
        return [Markup("No small group of patches that alone gives the prediction {} was found.").format(wrong)]
    if size == 0:
        return [Markup("Even with every patch hidden, the model predicts {}.").format(wrong)]
    text = Markup("{} {} enough for the prediction {}: with only {} shown, the model still predicts {}.")
    are, these = ("is", "this patch") if size == 1 else ("are", "these")
    return [text.format(_of(size, _patches(row)), are, wrong, these, wrong)]


def _without(row: Row, context: Context) -> list[Markup]:
    """Say which class wins if a few patches are hidden.

    It is the labelled class or another one.
    """
    n, true = _patches(row), true_class(context.true)
    targeted, breaking = _size(row, "targeted"), _size(row, "breaking")
    into = row["broken_into"]
    right = [size for size in (targeted, breaking if into == context.row["label"] else None) if size is not None]
    if right:
        text = Markup("With {} hidden, the model predicts {}, which is the label").format(_of(min(right), n), true)
        if breaking is not None and breaking < min(right) and known(into) and into >= 0:
            text += Markup("; with {} hidden it predicts {}").format(f"{breaking:,}", context.names[into])
        return [text + Markup(".")]
    if breaking is not None and known(into) and into >= 0:
        text = Markup("With {} hidden, the model no longer predicts {}, but {}.")
        return [text.format(_of(breaking, n), wrong_class(context.wrong), context.names[into])]
    return []


def _of(size: int, n: int) -> str:
    return f"{size:,} of {n:,} patches"


def _overlays(row: Row, context: Context) -> list[Overlay]:
    rows, cols = int(row["rows"]), int(row["cols"])
    found = []

    def add(kind: str, label: str, caption: str, order: Sequence[int] | None, size: int | None, kept: bool) -> None:
        if not order or not size or len(order) < size:
            return
        group = np.zeros(rows * cols, dtype=bool)
        group[np.asarray(order[:size])] = True
        covered = ~group if kept else group
        path = overlays.cells_path(covered.reshape(rows, cols))
        if path:
            grid = {"width": cols, "height": rows, "resolution": f"{rows} × {cols} patches"}
            found.append(
                Overlay(kind, label, caption, path=path, group=GROUP, look="cover", starts=kind == "enough", **grid)
            )

    for kind, label, name, order, caption in (
        ("enough", "Enough", "sufficient", "insertion_order", "With only {} shown, the model predicts {wrong}."),
        ("breaking", "Breaking", "breaking", "deletion_order", "With {} covered, the model predicts {into}."),
        ("targeted", "To the label", "targeted", "targeted_order", "With {} covered, the model predicts {true}."),
    ):
        size = _size(row, name)
        if size is None:
            continue
        many = "this patch" if size == 1 else f"these {size:,} patches"
        classes = {"wrong": context.wrong, "true": context.true, "into": context.names[row["broken_into"]]}
        add(kind, label, caption.format(many, **classes), row[order], size, name == "sufficient")
    heat = context.maps("patch_groups").get("sufficient")
    if heat is not None and heat.any() and found and found[0].kind == "enough":
        caption = (
            f"Order in which patches were revealed until the model predicted {context.wrong}; darker ones came first."
        )
        resolution = f"{heat.shape[0]} × {heat.shape[1]} patches"
        image = overlays.magnitude_png(heat)
        found.append(
            Overlay(
                "order", "Order", caption, image=image, group=GROUP, resolution=resolution, look="blocks", starts=False
            )
        )
    return found


def _block(row: Row) -> Block:
    n = _patches(row)
    value = {"log_odds": "log-odds"}.get(row["value"], str(row["value"] or "value").replace("_", " "))
    rows: list[tuple[str, str, str]] = []
    for name, title, note in (
        (
            "sufficient",
            "enough for the prediction",
            f"shown one by one, each raising its {value} most",
        ),
        ("breaking", "change the prediction", f"hidden one by one, each lowering its {value} most"),
        ("targeted", "change it to the labelled class", f"hidden one by one, by the {value} of both classes"),
        ("support", "patches that then support the labelled class", "hidden as well, until the label loses again"),
    ):
        if row[f"{name}_found"] is None:
            continue
        size = _size(row, name)
        text = "not found within the limit" if size is None else _of(size, n)
        rows.append((title, text, f"{note}; from a greedy search, so a smaller group may exist"))
    for name, title in (("insertion_values", "while showing"), ("deletion_values", "while hiding")):
        values = [v for v in row[name] or () if known(v)]
        if values:
            course = " → ".join(sig(values[i], 2) for i in _spread(len(values)))
            rows.append((f"{value} of the predicted class {title}", course, "from the start to the end of the search"))
    if known(row["near_ties"]):
        rows.append(("near ties", f"{int(row['near_ties']):,}", "steps at which another patch was equally good"))
    rows.append(("cost", count(int(row["forwards"] or 0), "forward pass", "forward passes"), _players(row)))
    size = _size(row, "sufficient")
    return Block("Patch groups", f"{_of(size, n)} enough" if size is not None else "", rows)


def _spread(length: int, most: int = 6) -> list[int]:
    """Choose at most ``most`` evenly spaced positions of ``length``.

    They include the first and the last.
    """
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)}) if length > 1 else [0]


def _players(row: Row) -> str:
    how = "tokens of the model left out" if row["players"] == "tokens" else "squares of pixels covered"
    why = f" ({shown(row['fallback'])})" if row["fallback"] else ""
    return f"{row['rows']} × {row['cols']} patches, {how}{why}"


def _caveats(row: Row) -> list[str]:
    shown_any = any(_size(row, name) is not None for name in ("sufficient", "breaking", "targeted"))
    return [*([COVERED] if row["fallback"] else []), *([NO_CAUSE] if shown_any else [])]
