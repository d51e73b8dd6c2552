"""Report of ``black_box``, a correcting change found without gradients, and the cost of finding it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from whywrong.core.statistics import Interval, wilson
from whywrong.core.status import Status
from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import count, grey_levels, interval, known, percent, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.axes import grid, photo_of, row_of, show, to_numpy
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Block, Context, Overlay, Section, true_class
from whywrong.report.tables import Row, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

READ = {"scores": "scores", "top": "the scores of the best classes", "labels": "labels"}
TIERS = {
    "own": "a model that you trained on the same data",
    "bank": "a bank of other models",
    "distilled": "a surrogate trained on answers of this black box",
    "none": "no surrogate",
}
STEPS = {
    "direction": "length of a direction of the surrogate",
    "corrected": "the same, after correcting the surrogate by the answers",
    "square": "Square attack, without the surrogate",
    "labels": "patterns and HopSkipJump, by labels and without the surrogate",
}


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no row.
    """
    row = context.row["black_box"]
    if row is None:
        return None
    if row["status"] not in (Status.OK, Status.NO_ANSWER):
        reason = shown(row["reason"] or row["status"].replace("_", " "))
        return Section(blocks=[Block("Black box", "refused", [("refused", "", reason)])])
    return Section(
        sentences=[_sentence(row, context)],
        overlays=_overlays(context.maps("black_box")),
        blocks=[_block(row)],
    )


def _sentence(row: Row, context: Context) -> Markup:
    asked = count(int(row["queries"]), "changed image")
    if row["status"] == Status.NO_ANSWER:
        return Markup("Queries of the black box with {} found no change that corrects the prediction.").format(asked)
    return Markup("Queries of the black box with {} found a change of at most {} after which it predicts {}.").format(
        asked, grey_levels(255 * row["linf"]), true_class(context.true)
    )


def _overlays(stored: dict[str, np.ndarray]) -> list[Overlay]:
    """Draw the amplified change, if it is stored."""
    change = stored["fix_u8"] - stored["image_u8"] if {"fix_u8", "image_u8"} <= stored.keys() else None
    if change is None or not np.isfinite(change).all() or not change.any():
        return []
    image, factor = overlays.amplified(change, 1024)
    most = grey_levels(float(np.abs(change).max()))
    caption = (
        f"Change found behind the black box × {factor}: the real change is at most {most}; mid grey means no change."
    )
    return [Overlay("black-box", f"Black box × {factor}", caption, image=image, look="opaque", rank=55)]


def _block(row: Row) -> Block:
    found = row["status"] == Status.OK
    rows = []
    if found:
        rows = [
            ("largest change of a colour value", grey_levels(255 * row["linf"]), "linf, whole grey levels"),
            ("size in the l2 norm", sig(row["l2"]), "pixels in [0, 1]"),
        ]
    rows.append(
        ("queries", f"{int(row['queries']):,}", f"changed images sent to the model; {READ[row['access']]} were used")
    )
    for part in row["path"] or []:
        rows.append((f"– {STEPS[part['step']]}", f"{int(part['queries']):,}", ""))
    rows.append(("surrogate", TIERS[row["tier"]], ""))
    if row["training_queries"]:
        rows.append(("queries to train it", f"{int(row['training_queries']):,}", "once, for all errors"))
    if row["surrogate_passes"]:
        rows.append(("passes of the surrogate", f"{int(row['surrogate_passes']):,}", "no queries"))
    if known(row["margin_before"]):
        change = f"{sig(row['margin_before'])} to {sig(row['margin_after'])}"
        rows.append(("margin", change, "differences of scores; negative is correct"))
    if row["reason"]:
        rows.append(("why it ended", "", shown(row["reason"])))
    return Block("Black box", "changed image found" if found else "no changed image found", rows)


@dataclass(frozen=True, slots=True)
class Costs:
    """Success and cost of the black-box searches of a run with one tier of surrogates.

    Attributes:
        tier: Tier of the surrogate.
        errors: Distinct errors that were searched.
        fixed: Number of these errors for which a change was found.
        mean: Mean number of queries over all these errors.
        training: Number of queries used to train the surrogate.
    """

    tier: str
    errors: int
    fixed: int
    mean: float
    training: int

    @property
    def success(self) -> Interval:
        """Share of the errors for which a change was found, with its interval."""
        return wilson(self.fixed, self.errors)


def summarize(tables: Tables) -> list[Costs] | None:
    """Count the searches of a run per tier.

    Returns None if the method did not run.
    """
    if not tables.has("black_box", "tier", "queries", "training_queries"):
        return None
    rows = tables.rows(
        "select tier, count(*) as errors, count_if(v.status = 'ok') as fixed, avg(queries) as mean,"
        " max(training_queries) as training from black_box v join items using (item_id)"
        " where v.status in ('ok', 'no_answer') and same_as is null group by tier order by tier"
    )
    return [
        Costs(row["tier"], int(row["errors"]), int(row["fixed"]), float(row["mean"]), int(row["training"] or 0))
        for row in rows
    ]


def lead(summary: RunSummary) -> list[str]:
    """State how many errors were corrected with queries alone, and at what cost."""
    found: list[Costs] = summary.numbers.get("black_box") or []
    return [_lead(costs) for costs in found if costs.errors]


def _lead(costs: Costs) -> str:
    text = (
        f"With predictions alone and {TIERS[costs.tier]}, a correcting change was found for"
        f" {costs.fixed:,} of {count(costs.errors, 'error')} ({percent(costs.success.value)}, 95 % interval"
        f" {interval(costs.success)}), with {sig(costs.mean)} queries each"
    )
    if costs.training:
        text += f", and {sig(costs.training / costs.errors)} more to train the surrogate"
    return f"{text}."


def draw_black_box(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the photograph and the amplified change."""
    columns, maps = result.columns(), {name: to_numpy(values) for name, values in result.maps().items()}
    figure, axes = grid(len(rows), 2)
    for line, row in zip(axes, rows, strict=True):
        show(line[0], photo_of(x, row), "image")
        line[0].set_xlabel(
            f"{count(int(columns['queries'][row]), 'query', 'queries')}, {columns['tier'][row]} surrogate"
        )
        fixed, start = row_of(maps, "fix_u8", row), row_of(maps, "image_u8", row)
        if fixed is None or start is None:
            show(line[1], None, str(columns["status"][row]).replace("_", " "))
            continue
        change = fixed - start
        factor = overlays.amplification(change)
        show(line[1], np.clip(0.5 + factor * np.moveaxis(change, 0, -1) / 255, 0, 1), f"change × {factor}")
        line[1].set_xlabel(f"true change at most {grey_levels(float(np.abs(change).max()))}")
    return figure


BLACK_BOX = MethodReport(
    method="black_box",
    order=15,
    section=section,
    figure=draw_black_box,
    answered=("ok", "no_answer", "already_correct"),
    summarize=summarize,
    lead=lead,
    nouns=("search behind the black box", "searches behind the black box"),
    papers=(
        "Black-box inverted attack: R. Haffar, N. Jebreel, J. Domingo-Ferrer, D. Sánchez, “Explaining Image"
        " Misclassification in Deep Learning via Adversarial Examples”, MDAI 2021, LNAI 12898, pp. 323–334,"
        " doi:10.1007/978-3-030-85529-1_26. Directions computed in advance and their correction are ours.",
        "MI-FGSM: Y. Dong et al., “Boosting Adversarial Attacks with Momentum”, CVPR 2018, arXiv:1710.06081.",
        "Square: M. Andriushchenko et al., “Square Attack”, ECCV 2020, arXiv:1912.00049.",
        "HopSkipJump: J. Chen, M. I. Jordan, M. J. Wainwright, “HopSkipJumpAttack”, IEEE S&P 2020, arXiv:1904.02144.",
    ),
    limits=(
        "A change found without gradients corrects the error but is not the smallest one; its place depends on the"
        " surrogate.",
    ),
    glossary=(
        ("query", "one changed image sent to the black box"),
        ("surrogate", "a model with gradients that stands in for the black box"),
    ),
)
