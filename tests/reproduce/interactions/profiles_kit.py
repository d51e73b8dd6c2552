"""Groups with profiles that are given, as if they had been measured."""

from __future__ import annotations

import numpy as np
import torch

from whywrong.reproduce.interactions.features import Features
from whywrong.reproduce.interactions.groups import Group
from whywrong.reproduce.interactions.measure_groups import Measured, MeasuredGroups

RATIOS = (0.0, 0.1, 0.5, 0.9, 1.0)
NAMES = ("log_odds_true", "log_odds_target", "log_odds_difference")


def features(A: np.ndarray, *, sign: float = 1.0) -> Features:
    """Features of profiles A (G, R), the same for all three classes, all interactions of one sign."""
    A = np.repeat(np.abs(A)[:, :, None], 3, 2)
    zero = np.zeros_like(A)
    pos, neg = (A, zero) if sign > 0 else (zero, A)
    return Features(
        A=A, M=sign * A, pos=pos, neg=neg, positive=np.full_like(A, sign > 0), U=A**2, raw=1.25 * A**2,
        disentanglement=zero + 1, A_se=zero + 0.1, M_se=zero + 0.1, U_se=zero,
        full=np.full((len(A), 3), 2.0), empty=np.full((len(A), 3), -2.0),
    )  # fmt: skip


def group(name: str, count: int) -> Group:
    none = torch.zeros(count, dtype=torch.int64)
    return Group(name, torch.zeros(count, 1, 8, 8), none, none, none, none, none.double(), none.double(), ("",) * count)


def measured(**groups: tuple[Features, Features | None]) -> MeasuredGroups:
    """Groups of given features and sources."""
    made = {name: Measured(group(name, len(own)), own, source, None) for name, (own, source) in groups.items()}
    return MeasuredGroups(made, NAMES, (0, 1, 7, 13, 14), RATIOS, 16, "pixels", None, (True,) * 5, 6, 20, 100, "", ())


def noisy_profiles(count: int, seed: int, lift: tuple[float, ...] = (0.0,) * 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = rng.lognormal(0.0, 0.3, (count, 1))
    return level * (np.array([1.7, 1.3, 0.9, 0.9, 1.1]) + rng.normal(0, 0.1, (count, 5))) + np.array(lift)
