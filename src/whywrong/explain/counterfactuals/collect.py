"""Conversion of search results to the result of the method.

It refuses images that no search could change, stores pictures and reports each counterfactual.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.inverted.margin_oracle import MarginOracle
from whywrong.attacks.inverted.rounding import grey_levels, round_fix
from whywrong.core.margins import error_margin
from whywrong.core.status import Status
from whywrong.explain.counterfactuals.metrics import changed_share, mass_inside, pix90
from whywrong.explain.counterfactuals.plan import SearchPlan
from whywrong.explain.counterfactuals.result import SMALLEST, UNCHECKED, CounterfactualBatch, CounterfactualResult
from whywrong.explain.counterfactuals.run import CounterfactualRun
from whywrong.explain.counterfactuals.search import SearchResults
from whywrong.explain.counterfactuals.solvers.lmo import lp_norm

_SAME_ANSWER = 1e-3  # difference of two passes of one image, as a share of the largest logit, that counts as random


def collect(run: CounterfactualRun, rows: Tensor, plan: SearchPlan, found: SearchResults) -> CounterfactualResult:
    """Combine the results of the searches for images ``rows`` (n,)."""
    _judge_rows(run, rows, plan, found)
    z_u8, u8 = _stored(run, plan, found)
    entries = _batch_of(run, plan, found, z_u8, u8)
    return CounterfactualResult(
        predicted_start=run.predicted,
        p=run.config.p,
        temperature=run.objective.temperature,
        guided_by=None,
        x=run.x,
        entries=entries,
        **run.outcome(),
    )


def _judge_rows(run: CounterfactualRun, rows: Tensor, plan: SearchPlan, found: SearchResults) -> None:
    """Refuse images that no search could change, or with nondeterministic scores."""
    stuck: dict[int, set[str]] = {row: set() for row in rows.tolist()}
    random: set[int] = set()
    for entry, row in enumerate(plan.row.tolist()):
        stuck[row].add(found.ending[entry])
        way, target = found.trajectory[entry], int(plan.target[entry])
        if way and run.config.solver == "fw" and not run.config.warm:
            scaled = run.start[row].double() / run.objective.temperature
            first = float(scaled.log_softmax(0)[target])
            if abs(first - way[0]) > _SAME_ANSWER * (1 + float(scaled.abs().max())):
                random.add(row)
    for row, endings in stuck.items():
        if row in random:
            run.mark(row, Status.REFUSED, "the classifier gives different answers to the same image")
        elif endings and endings <= {"no_gradient", "not_found"}:
            run.mark(row, Status.REFUSED, "the gradient is zero: no direction raises the target")
        elif endings and endings <= {"non_finite", "not_found"}:
            run.mark(row, Status.REFUSED, "the gradient is not finite")
    whole = run.x[0].numel() ** (1 / run.config.p) if len(run.x) else 0.0
    if run.config.radii and max(run.config.radii) >= whole:
        note = f"a ball of radius {max(run.config.radii):g} holds every image: only the pixel range is a bound"
        run.mark(run.rows, Status.OK, note)


def _stored(run: CounterfactualRun, plan: SearchPlan, found: SearchResults) -> tuple[Tensor, Tensor]:
    """Return pictures in whole grey levels and their logits.

    Pictures are (E, C, H, W) uint8, logits (E, K).

    The smallest changes are mostly below half a grey level, so they are rounded away from the image.
    """
    levels = grey_levels(found.z)
    small = [e for e, role in enumerate(plan.role) if role == SMALLEST and found.ending[e] == "found"]
    if small:
        at = torch.tensor(small, dtype=torch.int64, device=run.x.device)
        levels[at] = _rounded_away(run, plan, found, at)
    if not len(plan):
        return levels, run.start[:0]
    logits = run.classifier.logits(levels.float() / 255)
    run.count(plan.row, forwards=1)
    return levels, logits


def _rounded_away(run: CounterfactualRun, plan: SearchPlan, found: SearchResults, at: Tensor) -> Tensor:
    x = run.x[plan.row[at]]
    oracle = MarginOracle(run.classifier, plan.target[at], 1e-5)
    own = torch.arange(len(at), device=run.x.device)
    points = oracle.linearise(own, found.z[at])
    margin = error_margin(run.start[plan.row[at]], plan.target[at])
    assert points.grad is not None
    levels, _ = round_fix(oracle, own, x, found.z[at] - x, points.grad, margin, run.keys[plan.row[at]])
    run.count(plan.row[at], oracle.forwards, oracle.backwards)
    return levels


def _batch_of(
    run: CounterfactualRun, plan: SearchPlan, found: SearchResults, z_u8: Tensor, u8: Tensor
) -> CounterfactualBatch:
    """Build the reported values of all counterfactuals.

    Args:
        run: The images, their start and their masks.
        plan: The searches, E entries.
        found: Their results.
        z_u8: (E, C, H, W), uint8, the stored pictures.
        u8: (E, K), logits of the stored pictures.
    """
    rows, target = plan.row, plan.target
    x = run.x[rows]
    stored = z_u8.float() / 255
    start, end, after = (
        (logits.double() / run.objective.temperature).softmax(1).float()
        for logits in (run.start[rows], found.logits, u8)
    )
    source, true = run.predicted[rows], run.y[rows]
    share = torch.full_like(plan.eps, torch.nan).float()
    if run.masks is not None and len(plan):
        share = mass_inside(x, found.z, run.masks[rows])
    finite = found.logits.isfinite().all(1)
    return CounterfactualBatch(
        row=rows,
        role=plan.role,
        target=target,
        eps=plan.eps,
        z=found.z,
        z_u8=z_u8,
        predicted_end=found.logits.argmax(1).where(finite, -1) if len(plan) else target,
        valid=(found.logits.argmax(1) == target) & finite if len(plan) else target.bool(),
        valid_u8=(u8.argmax(1) == target) & u8.isfinite().all(1) if len(plan) else target.bool(),
        probability_target_start=_pick(start, target),
        probability_source_start=_pick(start, source),
        probability_true_start=_pick(start, true),
        probability_target_end=_pick(end, target),
        probability_source_end=_pick(end, source),
        probability_true_end=_pick(end, true),
        probability_target_u8=_pick(after, target),
        margin_end=-error_margin(found.logits, target) if len(plan) else share,
        norm=lp_norm((found.z - x).flatten(1), run.config.p),
        norm_u8=lp_norm((stored - x).flatten(1), run.config.p),
        pix90=pix90(x, found.z),
        l0=changed_share(x, found.z),
        object_share=share,
        gap=found.gap,
        steps=found.steps,
        ending=found.ending,
        trajectory=found.trajectory,
        trust=(UNCHECKED,) * len(plan),
        trust_score=torch.full_like(share, torch.nan),
        trust_reason=(None,) * len(plan),
        coherence=torch.full_like(share, torch.nan),
        guide=(UNCHECKED,) * len(plan),
    )


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes.clamp_min(0)[:, None])[:, 0] if len(classes) else values.new_zeros(0)
