"""What is reported of each counterfactual: probabilities, validity, sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whywrong.core.margins import error_margin
from whywrong.explain.counterfactuals.metrics import changed_share, mass_inside, pix90
from whywrong.explain.counterfactuals.plan import Found, Plan
from whywrong.explain.counterfactuals.result import UNCHECKED, Entries
from whywrong.explain.counterfactuals.solvers.lmo import lp_norm

if TYPE_CHECKING:
    from whywrong.explain.counterfactuals.session import Session


def entries_of(session: Session, plan: Plan, found: Found, z_u8: Tensor, u8: Tensor) -> Entries:
    """Everything that is reported of each counterfactual.

    Args:
        session: The images, their start and their masks.
        plan: What was searched, E entries.
        found: What was found.
        z_u8: (E, C, H, W), uint8, the stored pictures.
        u8: (E, K), their logits.
    """
    rows, target = plan.row, plan.target
    x = session.x[rows]
    stored = z_u8.float() / 255
    start, end, after = (
        (logits.double() / session.objective.temperature).softmax(1).float()
        for logits in (session.start[rows], found.logits, u8)
    )
    source, true = session.predicted[rows], session.y[rows]
    share = torch.full_like(plan.eps, torch.nan).float()
    if session.masks is not None and len(plan):
        share = mass_inside(x, found.z, session.masks[rows])
    finite = found.logits.isfinite().all(1)
    return Entries(
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
        norm=lp_norm((found.z - x).flatten(1), session.config.p),
        norm_u8=lp_norm((stored - x).flatten(1), session.config.p),
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
