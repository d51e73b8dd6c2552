"""What counterfactuals return: one entry a target and radius, as parallel lists of its image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from whywrong.core.result import MethodResult
from whywrong.core.status import Status

if TYPE_CHECKING:
    import pyarrow as pa

TRUE, WRONG, RUNNER_UP, TARGET, SMALLEST = "true", "wrong", "runner_up", "target", "smallest"
UNCHECKED = "unchecked"
OWN, AUXILIARY, GIVEN, NONE = "own gradient", "auxiliary", "given", "none"

_TEXTS = ("role", "ending", "trust", "trust_reason", "guide")
_CLASSES = ("target", "predicted_end", "steps")
_FLAGS = ("valid", "valid_u8")
_NUMBERS = (
    "eps",
    "probability_target_start",
    "probability_target_end",
    "probability_target_u8",
    "probability_source_start",
    "probability_source_end",
    "probability_true_start",
    "probability_true_end",
    "margin_end",
    "norm",
    "norm_u8",
    "pix90",
    "l0",
    "object_share",
    "gap",
    "coherence",
    "trust_score",
)
LISTS = (
    "role",
    "target",
    "eps",
    "valid",
    "valid_u8",
    "predicted_end",
    *_NUMBERS[1:-1],
    "steps",
    "ending",
    "trajectory",
    "trust",
    "trust_score",
    "trust_reason",
    "guide",
)


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Counterfactuals of a batch, one after the other; every field has one entry (E,) a target and radius.

    Attributes:
        row: (E,), int64, the image.
        role: What the target is: ``true`` class, ``wrong`` (predicted) class, ``runner_up`` of an image that is right,
            a ``target`` that was asked for; ``smallest`` is the first target within the smallest ball found.
        target: (E,), int64, class to reach.
        eps: (E,), float64, radius in the l_p norm, pixels in [0, 1].
        z: (E, C, H, W), float32, the counterfactual.
        z_u8: (E, C, H, W), uint8, the same in whole grey levels, as it is stored.
        predicted_end: (E,), int64, class read from ``z``.
        valid: (E,), bool, whether that is the target.
        valid_u8: (E,), bool, whether ``z_u8 / 255`` is read as the target.
        probability_target_start, probability_source_start, probability_true_start: (E,), of the target, of the class
            predicted for the image, and of the true class, in the image.
        probability_target_end, probability_source_end, probability_true_end: (E,), in ``z``.
        probability_target_u8: (E,), in ``z_u8 / 255``.
        margin_end: (E,), logits, target minus best other class in ``z``.
        norm: (E,), float64, l_p norm of the change.
        norm_u8: (E,), float64, that of the change to ``z_u8 / 255``; rounding may carry it out of the ball.
        pix90: (E,), least share of pixels with 90 % of the change; NaN where nothing changed.
        l0: (E,), share of values changed by more than 1/255.
        object_share: (E,), share of the change on the object's mask; NaN where no mask is known.
        gap: (E,), float64, Frank-Wolfe gap, in units of the objective; NaN for ``smallest``, whose aim is another.
        steps: (E,), int64, steps taken.
        ending: Why the search ended: ``steps``, ``confident``, ``stationary``, ``no_gradient``, ``non_finite``;
            ``found`` or ``not_found`` for ``smallest``.
        trajectory: Log-probabilities of the target along the search; empty for ``smallest``.
        trust: ``semantic``, ``adversarial``, ``undecided``, or ``unchecked`` where nobody was asked.
        trust_score: (E,), how far the least convinced judge is beyond the controls; NaN without judges.
        trust_reason: Why, in words; None where unchecked.
        coherence: (E,), mean cosine between the gradient at ``z`` and at noisy copies; NaN where unchecked.
        guide: What led the search: ``own gradient``, which keeps its direction under small noise; ``auxiliary``, a
            robust classifier; ``given``, an objective of the caller; ``none``, gradients without a direction, so that
            ``z`` is noise and no explanation; ``unchecked`` where the gradients were not tried.
    """

    row: Tensor
    role: tuple[str, ...]
    target: Tensor
    eps: Tensor
    z: Tensor
    z_u8: Tensor
    predicted_end: Tensor
    valid: Tensor
    valid_u8: Tensor
    probability_target_start: Tensor
    probability_source_start: Tensor
    probability_true_start: Tensor
    probability_target_end: Tensor
    probability_source_end: Tensor
    probability_true_end: Tensor
    probability_target_u8: Tensor
    margin_end: Tensor
    norm: Tensor
    norm_u8: Tensor
    pix90: Tensor
    l0: Tensor
    object_share: Tensor
    gap: Tensor
    steps: Tensor
    ending: tuple[str, ...]
    trajectory: tuple[tuple[float, ...], ...]
    trust: tuple[str, ...]
    trust_score: Tensor
    trust_reason: tuple[str | None, ...]
    coherence: Tensor
    guide: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row)

    def of(self, row: int, role: str) -> int | None:
        """The entry of an image with this role and the largest radius; None where there is none."""
        found = [i for i in (self.row == row).nonzero().flatten().tolist() if self.role[i] == role]
        return max(found, key=lambda i: float(self.eps[i])) if found else None


@dataclass(frozen=True, slots=True, eq=False)
class CounterfactualResult(MethodResult):
    """Counterfactuals of a batch, with what they cost.

    Attributes:
        status: ``ok``; ``skipped`` for rows that were not to be explained; ``refused`` where no search could move or
            the classifier gives different answers to the same image or scores that are not finite;
            ``bad_input`` where the pixels are not finite or outside [0, 1].
        reason: Why not, or what to know; None otherwise.
        predicted_start: (B,), int64, class read from the image; -1 where there is none.
        p: Exponent of the norm.
        temperature: Of all probabilities.
        guided_by: The auxiliary classifier and how it guided, in words; None without one.
        x: (B, C, H, W), float32, the images.
        entries: The counterfactuals, grouped by image in the order of the batch.
        forwards: (B,), int64, times each image went through the classifier.
        backwards: (B,), int64, times it was differentiated through it.
    """

    status: tuple[str, ...]
    reason: tuple[str | None, ...]
    predicted_start: Tensor
    p: float
    temperature: float
    guided_by: str | None
    x: Tensor
    entries: Entries
    forwards: Tensor
    backwards: Tensor

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """``gap``: the largest Frank-Wolfe gap of an image's searches; NaN where there is none."""
        gap = torch.full((len(self.status),), -math.inf, dtype=torch.float64, device=self.entries.gap.device)
        known = ~self.entries.gap.isnan()
        gap.scatter_reduce_(0, self.entries.row[known], self.entries.gap[known], "amax")
        return {"gap": gap.where(gap > -math.inf, torch.nan)}

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """The columns of view ``counterfactuals``; those of :data:`LISTS` hold one value an entry."""
        columns: dict[str, Tensor | Sequence[Any]] = {
            "status": list(self.status),
            "reason": list(self.reason),
            "predicted_start": self.predicted_start,
            "p": [self.p] * len(self.status),
            "temperature": [self.temperature] * len(self.status),
            "guided_by": [self.guided_by] * len(self.status),
        }
        rows = self.entries.row.tolist()
        for name in LISTS:
            values = getattr(self.entries, name)
            plain = [_known(value) for value in values.tolist()] if isinstance(values, Tensor) else list(values)
            lists: list[list[Any]] = [[] for _ in self.status]
            for row, value in zip(rows, plain, strict=True):
                lists[row].append(list(value) if isinstance(value, tuple) else value)
            columns[name] = lists
        return columns

    def maps(self) -> Mapping[str, Tensor]:
        """Pictures and changes at the largest radius, NaN where there is none.

        ``true_u8``, ``wrong_u8`` (B, C, H, W): counterfactuals into the true class, and into the predicted one (the
        runner-up of an image that is right), grey levels 0..255. ``true_change``, ``wrong_change`` (B, H, W): what was
        added, channels summed; colours of one image share a scale. ``image_u8``: the image itself.
        """
        batch, _, height, width = self.x.shape
        maps = {
            "image_u8": torch.full_like(self.x, torch.nan),
            **{f"{side}_u8": torch.full_like(self.x, torch.nan) for side in ("true", "wrong")},
            **{f"{side}_change": self.x.new_full((batch, height, width), torch.nan) for side in ("true", "wrong")},
        }
        sides = {"true": (TRUE,), "wrong": (WRONG, RUNNER_UP)}
        for row in range(batch):
            for side, roles in sides.items():
                entry = next((e for role in roles if (e := self.entries.of(row, role)) is not None), None)
                if entry is None or self.status[row] != Status.OK or self.entries.norm[entry] == 0:
                    continue
                maps["image_u8"][row] = (self.x[row] * 255).round()
                maps[f"{side}_u8"][row] = self.entries.z_u8[entry].to(self.x.dtype)
                maps[f"{side}_change"][row] = (self.entries.z[entry] - self.x[row]).sum(0)
        return maps

    @staticmethod
    def schema() -> pa.Schema:
        """Types of the columns, which stay the same where every list is empty."""
        import pyarrow as pa

        from whywrong.core.columns import rows_field

        kinds = {
            **dict.fromkeys(_TEXTS, pa.string()),
            **dict.fromkeys(_CLASSES, pa.int64()),
            **dict.fromkeys(_FLAGS, pa.bool_()),
            **dict.fromkeys(_NUMBERS, pa.float64()),
            "trajectory": pa.list_(pa.float32()),
        }
        fields = [
            ("status", pa.string()),
            ("reason", pa.string()),
            ("predicted_start", pa.int64()),
            ("p", pa.float64()),
            ("temperature", pa.float64()),
            ("guided_by", pa.string()),
            *(rows_field(name, kinds[name]) for name in LISTS),
            ("forwards", pa.int64()),
            ("backwards", pa.int64()),
        ]
        return pa.schema(fields)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
