"""Part of view ``cam``: where the evidence for the predicted class lies, compared with the labelled one."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from whywrong.report.numbers import known, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.sections import Block, Context, Overlay, Part, true_class, wrong_class
from whywrong.report.tables import Row


def part(context: Context) -> Part | None:
    """What the evidence map shows of one error; None where there is no row of it."""
    cam = context.row["cam"]
    if cam is None:
        return None
    difference = context.maps("cam").get("difference")
    found = Part(blocks=[_block(cam)])
    if cam["status"] != "ok":
        return found
    if difference is not None and difference.any():
        cells = overlays.density(difference)
        found.overlays.append(
            Overlay(
                "evidence",
                "Evidence",
                f"Where the evidence for {context.wrong} lies, compared with the labelled class.",
                cells=cells,
                resolution=f"{cells.shape[0]} × {cells.shape[1]} cells",
            )
        )
    if known(cam["evidence"]):
        found.sentences.append(sentence(cam, half_cells(difference), context.wrong, context.true))
    if not cam["exact"]:
        found.caveats.append(
            "The evidence map is approximate for this architecture: it does not have to sum to the logits."
        )
    return found


def sentence(cam: Row, half: int, wrong: str, true: str) -> Markup:
    """How the evidence for the two classes compares; ``half`` is as of :func:`half_cells`."""
    cells = int(cam["rows"]) * int(cam["cols"])
    evidence = float(cam["evidence"])
    if evidence <= 0:
        return Markup("The evidence map alone favours {} by {} logits; what tips the balance is outside it.").format(
            true_class(true), sig(-evidence)
        )
    text = Markup("The evidence for {} exceeds that for {} by {} logits").format(
        wrong_class(wrong), true_class(true), sig(evidence)
    )
    if half:
        text += Markup("; {} of {} cells hold half of what speaks for {}").format(
            f"{half:,}", f"{cells:,}", wrong_class(wrong)
        )
    return text + Markup(".")


def half_cells(difference: np.ndarray | None) -> int:
    """The fewest cells that together hold half of the positive sum of a map (h, w); 0 where nothing is positive."""
    if difference is None:
        return 0
    positive = np.sort(np.clip(difference, 0, None), axis=None)[::-1]
    total = positive.sum()
    if total <= 0:
        return 0
    return int(np.searchsorted(np.cumsum(positive), total / 2) + 1)


def _block(cam: Row) -> Block:
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
