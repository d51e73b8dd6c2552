"""Measurements that the claims of patches share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys
from whywrong.core.registry import resolve
from whywrong.explain.robustness.config import RobustnessConfig
from whywrong.explain.robustness.kinds import chosen_rows
from whywrong.explain.robustness.parts import Part, RowCall, joined
from whywrong.explain.robustness.patches import patch_side, token_side
from whywrong.reproduce.protocol import ClaimContext


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchClaimConfig:
    """Settings of the claims of patches.

    Attributes:
        limit: Most images to use, the first in the order of the data.
        positions: Places of the patch for each image.
        patch: Side of the patch in pixels; None is about a seventh of the image's side, in whole patch tokens.
        patch_steps: Steps of the adversarial patch.
        draws: Random affine transforms per image (A1).
        temperature: Temperature of smoothed attention, above 1 (P4).
        loss: Loss of accuracy that still counts as small, a share in (0, 1) (P4).
        seed: Seed of all draws.
    """

    limit: int = 100
    positions: int = 4
    patch: int | None = None
    patch_steps: int = 30
    draws: int = 5
    temperature: float = 2.0
    loss: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        if not (0 < self.loss < 1 and math.isfinite(self.loss)):
            raise InputError(f"loss must be a share in (0, 1), got {self.loss}")
        _ = self.rows  # checks itself

    @property
    def rows(self) -> RobustnessConfig:
        """Settings of the rows."""
        return RobustnessConfig(
            positions=self.positions,
            patch=self.patch,
            patch_steps=self.patch_steps,
            draws=self.draws,
            temperatures=(self.temperature,),
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RowAnswers:
    """Answers of one model to a row.

    Attributes:
        parts: Parts by name.
        label: (N,) int64.
    """

    parts: dict[str, Part]
    label: Tensor

    def right(self, name: str) -> Tensor:
        """Return which images (N,) bool the model classifies correctly in a row of one trial."""
        return self.parts[name].predicted[:, 0] == self.label

    def fooled(self, name: str) -> Tensor:
        """Return the share (N,) of the trials of a row that fool the model."""
        return self.parts[name].fooled.double().mean(1)


def answers(context: ClaimContext[PatchClaimConfig], name: str, own: int) -> RowAnswers:
    """Measure a row of one model, once for all claims of a call.

    Args:
        context: The call.
        name: Name of the row.
        own: Index of the model.

    Raises:
        InputError: The patch does not fit into the images.
        ModelError: The row cannot be measured for the model.
    """
    key: Any = ("patches", name, own, tuple(model.identity for model in context.models), context.config)
    if key not in context.cache:
        context.cache[key] = _measure(context, name, own)
    return context.cache[key]


def _measure(context: ClaimContext[PatchClaimConfig], name: str, own: int) -> RowAnswers:
    config, model = context.config.rows, context.models[own]
    kind = next(one for one in chosen_rows(()) if one.name == name)
    model.require(kind.access, kind.title)
    token = max(token_side(one) for one in context.models)
    found: list[tuple[Part, ...]] = []
    labels: list[Tensor] = []
    taken = 0
    for x, y, ids in context.data.batches(context.models[0]):
        here = min(len(x), context.config.limit - taken)
        if here <= 0:
            break
        x, y, ids = x[:here], y[:here], ids[:here]
        call = RowCall(
            models=[model],
            own=0,
            x=x,
            y=y,
            keys=item_keys(config.seed, ids, f"robustness.{name}").to(x.device),
            config=config,
            side=patch_side(config.patch, x.shape[2], x.shape[3], token),
            token=token,
        )
        found.append(resolve(kind.function)(call))
        labels.append(y.cpu())
        taken += here
        context.report_progress(f"{kind.title}, model {own + 1}", taken, context.config.limit)
    parts = {same[0].name: joined(same) for same in zip(*found, strict=True)}
    return RowAnswers(parts, torch.cat([torch.zeros(0).long(), *labels]))
