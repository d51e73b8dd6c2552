"""Calls and answers of the rows of a comparison of robustness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.core.errors import ModelError
from whywrong.models.classifier import Classifier


class RowMissing(ModelError):
    """A row cannot be measured for this model; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowCall:
    """Arguments of the function of a row.

    Attributes:
        models: All models that are compared.
        own: Index of the model that the row is measured for.
        x: (B, C, H, W), float32, in [0, 1].
        y: (B,) int64, true classes.
        keys: (B,) int64, seed of each image, the same for all models.
        config: The settings.
        side: Side of the patch in pixels.
        token: Side of the patch tokens of the first transformer in pixels; 0 without one.
    """

    models: Sequence[Classifier]
    own: int
    x: Tensor
    y: Tensor
    keys: Tensor
    config: Any
    side: int
    token: int

    @property
    def classifier(self) -> Classifier:
        """The model that the row is measured for."""
        return self.models[self.own]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Answers of one model to T trials of each image.

    Attributes:
        name: Name of the row in the tables.
        model: Index of the model that answered.
        source: Index of the model that the change was made for.
        trials: Names of the trials.
        predicted: (B, T) int64.
        fooled: (B, T) bool, trials that reach their goal: for a targeted attack the target, otherwise any wrong class.
        base: Row with the answers to the unchanged images.
        clean_mass, mass: (B, T) float32, share of the attention rollout on the patch before and after; NaN if unknown,
            (B, 0) in rows without a patch.
    """

    name: str
    model: int
    source: int
    trials: tuple[str, ...]
    predicted: Tensor
    fooled: Tensor
    base: str
    clean_mass: Tensor
    mass: Tensor


def part(
    call: RowCall,
    name: str,
    trials: Sequence[str],
    predicted: Sequence[Tensor],
    *,
    model: int | None = None,
    fooled: Tensor | None = None,
    base: str = "clean",
    mass: tuple[Tensor, Tensor] | None = None,
) -> Part:
    """Build a part from the predictions (B,) of each trial.

    Args:
        call: The call that is answered.
        name, trials: Names of the row and of the trials.
        predicted: Predictions of each trial.
        model: Index of the model that answered; None for the one of the call.
        fooled: (B, T) bool, trials that reach their goal; None for those with a wrong class.
        base: Row with the answers to the unchanged images.
        mass: Shares (B, T) of the attention on the patch, before and after.
    """
    answers = torch.stack([one.cpu() for one in predicted], 1)
    before, after = mass or (torch.zeros(len(answers), 0), torch.zeros(len(answers), 0))
    return Part(
        name=name,
        model=call.own if model is None else model,
        source=call.own,
        trials=tuple(trials),
        predicted=answers,
        fooled=answers != call.y.cpu()[:, None] if fooled is None else fooled,
        base=base,
        clean_mass=before,
        mass=after,
    )


def joined(parts: Sequence[Part]) -> Part:
    """Concatenate the images of parts of the same row and model."""
    first = parts[0]
    columns = ("predicted", "fooled", "clean_mass", "mass")
    merged = {name: torch.cat([getattr(one, name) for one in parts]) for name in columns}
    return Part(name=first.name, model=first.model, source=first.source, trials=first.trials, base=first.base, **merged)
