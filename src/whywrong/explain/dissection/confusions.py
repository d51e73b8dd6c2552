"""Effects of units over many errors, beside the same changes of correct images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from whywrong.core.statistics import holm
from whywrong.explain.dissection.config import DissectionConfig
from whywrong.explain.dissection.pairs import PairEffects
from whywrong.explain.suppression.measures import PROMOTION, effect_types

EPS = 1e-3  # logits, effect below which a unit is neutral
SUSPECT = 0.8  # share of the errors of a confusion that a suspect promotes
_CHANCE = 1 / 3  # of each of the three types


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Effects of units in the errors of one confusion, or in all.

    Attributes:
        label, predicted: The classes; -1 for all.
        errors, controls: Number of errors, and of correct images changed alike.
        s, g: (U,), float64, mean suppression and promotion, logits.
        control_s, control_g: (U,), float64, those of the controls; NaN without any.
        promoted: (U,), float64, share of the errors in which the unit's type is promotion.
        control_promoted: (U,), float64, the same in the controls.
        p: (U,), float64, p-values that ``promoted`` is above chance and above the controls, adjusted by Holm's method.
        suspects: (n,), int64, units that promote more than 80 % of the errors, confirmed by ``p``; none with fewer
            than ``min_errors`` controls.
        residual: Largest difference of a sum over units and its change, logits.
        patched: Share of the strongest units, in all errors, whose patching lowers the margin; NaN without any.
    """

    label: int
    predicted: int
    errors: int
    controls: int
    s: Tensor
    g: Tensor
    control_s: Tensor
    control_g: Tensor
    promoted: Tensor
    control_promoted: Tensor
    p: Tensor
    suspects: Tensor
    residual: float
    patched: float


def confusions(
    errors: Sequence[PairEffects], controls: Sequence[PairEffects], config: DissectionConfig
) -> tuple[Confusion, ...]:
    """Aggregate effects over all errors and over those of each kind.

    Returns:
        All errors first, then those predicted as each class, then confusions by number of errors; only kinds with
            enough errors, and none if no error was explained.
    """
    found = _joined(errors)
    if found is None or not len(found.label):
        return ()
    beside = _joined(controls)
    places = torch.stack([found.label, found.other], 1).unique(dim=0, return_counts=True)
    order = places[1].argsort(descending=True, stable=True).tolist()
    made = [_one(found, beside, (-1, -1), config)]
    for other, number in zip(*(part.tolist() for part in found.other.unique(return_counts=True)), strict=True):
        if number >= config.min_errors:
            made.append(_one(found, beside, (-1, other), config))
    for index in order:
        if int(places[1][index]) >= config.min_errors:
            label, other = places[0][index].tolist()
            made.append(_one(found, beside, (label, other), config))
    return tuple(made)


def _joined(parts: Sequence[PairEffects]) -> PairEffects | None:
    if not parts:
        return None
    return PairEffects(*(torch.cat([getattr(part, name) for part in parts]) for name in PairEffects.__slots__))


def _one(found: PairEffects, beside: PairEffects | None, place: tuple[int, int], config: DissectionConfig) -> Confusion:
    rows = _rows(found, place)
    s, g = found.s[rows], found.g[rows]
    unknown = torch.full_like(s[0], torch.nan)
    control_s = control_g = control_promoted = unknown
    others = 0
    if beside is not None:
        same = _rows(beside, place)
        others = len(same)
        if others:
            control_s, control_g = beside.s[same].mean(0), beside.g[same].mean(0)
            control_promoted = _promoted(beside.s[same], beside.g[same]).double().mean(0)
    hits = _promoted(s, g)
    share = hits.double().mean(0)
    chance = control_promoted.nan_to_num(_CHANCE).clamp(_CHANCE, 0.999)
    raw = [
        binomtest(int(hit), len(rows), float(rate), alternative="greater").pvalue
        for hit, rate in zip(hits.sum(0).tolist(), chance.tolist(), strict=True)
    ]
    p = torch.from_numpy(holm(np.array(raw)))
    judged = place[1] >= 0 and others >= config.min_errors  # without controls, every unit of the class looks guilty
    suspects = ((share > SUSPECT) & (p <= config.level)).nonzero().flatten() if judged else rows.new_zeros(0)
    fall = found.fall[rows]
    return Confusion(
        *place, len(rows), others, s.mean(0), g.mean(0), control_s, control_g, share, control_promoted, p, suspects,
        float(found.residual[rows].max()), float((fall > 0).double().mean()) if fall.numel() else float("nan"),
    )  # fmt: skip


def _rows(effects: PairEffects, place: tuple[int, int]) -> Tensor:
    fits = torch.ones_like(effects.label, dtype=torch.bool)
    if place[0] >= 0:
        fits &= effects.label == place[0]
    if place[1] >= 0:
        fits &= effects.other == place[1]
    return fits.nonzero().flatten()


def _promoted(s: Tensor, g: Tensor) -> Tensor:
    return effect_types(s, g, torch.full_like(s, EPS)) == PROMOTION
