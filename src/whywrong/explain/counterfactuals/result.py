"""Result of counterfactuals, parallel lists with one entry per target and radius."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from whywrong.core.result import ColumnGroup, MethodResult, column, nested, result_class
from whywrong.core.status import Status

TRUE, WRONG, RUNNER_UP, TARGET, SMALLEST = "true", "wrong", "runner_up", "target", "smallest"
UNCHECKED = "unchecked"
OWN, AUXILIARY, GIVEN, NONE = "own gradient", "auxiliary", "given", "none"


@result_class
class CounterfactualBatch(ColumnGroup):
    """Counterfactuals of a batch; every field has one entry (E,) per target and radius.

    ``row`` (E,) int64 is the image of each entry; ``z`` (E, C, H, W) float32 the counterfactual, ``z_u8`` (E, C, H, W)
    uint8 the same in whole grey levels, as stored.
    """

    row: Tensor
    z: Tensor
    z_u8: Tensor
    role: tuple[str, ...] = column(
        "string",
        "What the target is: the `true` class, the `wrong` (predicted) class, the `runner_up` of an image that is "
        "right, a `target` that was asked for; `smallest` is the first target within the smallest ball found.",
    )
    target: Tensor = column("int64", "Class to reach.")
    eps: Tensor = column("float64", "Radius in the l_p norm, pixels in [0, 1].")
    valid: Tensor = column("bool", "Whether the counterfactual is predicted as the target.")
    valid_u8: Tensor = column("bool", "Whether it still is after rounding to whole grey levels.")
    predicted_end: Tensor = column("int64", "Class predicted for the counterfactual.")
    probability_target_start: Tensor = column("float64", "Probability of the target in the image.")
    probability_target_end: Tensor = column("float64", "Probability of the target in the counterfactual.")
    probability_target_u8: Tensor = column("float64", "Probability of the target after rounding to grey levels.")
    probability_source_start: Tensor = column("float64", "Probability of the class predicted for the image, in it.")
    probability_source_end: Tensor = column("float64", "Probability of that class in the counterfactual.")
    probability_true_start: Tensor = column("float64", "Probability of the true class in the image.")
    probability_true_end: Tensor = column("float64", "Probability of the true class in the counterfactual.")
    margin_end: Tensor = column("float64", "Logits, target minus best other class in the counterfactual.")
    norm: Tensor = column("float64", "l_p norm of the change.")
    norm_u8: Tensor = column("float64", "l_p norm of the change after rounding, which may carry it out of the ball.")
    pix90: Tensor = column("float64", "Least share of pixels with 90 % of the change; null where nothing changed.")
    l0: Tensor = column("float64", "Share of values changed by more than 1/255.")
    object_share: Tensor = column("float64", "Share of the change on the object's mask; null where no mask is known.")
    gap: Tensor = column(
        "float64", "Frank-Wolfe gap, in units of the objective; null for `smallest`, whose aim is another."
    )
    coherence: Tensor = column(
        "float64", "Mean cosine between the gradient at the counterfactual and at noisy copies; null where unchecked."
    )
    steps: Tensor = column("int64", "Steps taken.")
    ending: tuple[str, ...] = column(
        "string",
        "Why the search ended: `steps`, `confident`, `stationary`, `no_gradient`, `non_finite`; `found` or `not_found` "
        "for `smallest`.",
    )
    trajectory: tuple[tuple[float, ...], ...] = column(
        ["float32"], "Log-probabilities of the target along the search; empty for `smallest`."
    )
    trust: tuple[str, ...] = column(
        "string", "`semantic`, `adversarial`, `undecided`, or `unchecked` where no evaluator model was asked."
    )
    trust_score: Tensor = column(
        "float64", "How far the least convinced evaluator model is beyond the controls; null without any."
    )
    trust_reason: tuple[str | None, ...] = column("string", "Why, in words; null where unchecked.")
    guide: tuple[str, ...] = column(
        "string",
        "What led the search: `own gradient`, which keeps its direction under small noise; `auxiliary`, a robust "
        "classifier; `given`, an objective of the caller; `none`, gradients without a direction, so that the "
        "counterfactual is noise and no explanation; `unchecked` where the gradients were not tried.",
    )

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """Return values by name of the column, one per entry.

        Unknown numbers are None.
        """
        found = ColumnGroup.columns(self)
        return {name: [_known(v) for v in _listed(values)] for name, values in found.items()}

    def __len__(self) -> int:
        return len(self.row)

    def of(self, row: int, role: str) -> int | None:
        """Return the entry of an image with this role and the largest radius, or None."""
        found = [i for i in (self.row == row).nonzero().flatten().tolist() if self.role[i] == role]
        return max(found, key=lambda i: float(self.eps[i])) if found else None


@result_class
class CounterfactualResult(MethodResult):
    """Counterfactuals of a batch with their cost; ``x`` (B, C, H, W) float32 are the images.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.CounterfactualConfig(radii=(2.0,), steps=3, trust=False)
        >>> ww.counterfactual(classifier, x, y, config=config).entries.z.shape
        torch.Size([4, 3, 64, 64])
    """

    status: Sequence[Status] = column(
        "string",
        "`ok`; `skipped`; `bad_input`; `refused` where no search could move, or the model gives different answers to "
        "the same image or scores that are not finite.",
    )
    reason: Sequence[str | None] = column("string", "Why not, or what to know; null otherwise.")
    predicted_start: Tensor = column("int64", "Class predicted for the image; -1 if unknown.")
    p: float = column("float64", "Exponent of the norm.")
    temperature: float = column("float64", "Divides the logits wherever a probability is reported.")
    guided_by: str | None = column("string", "The auxiliary classifier and how it guided, in words; null without one.")
    entries: CounterfactualBatch = nested(CounterfactualBatch, as_rows=True)
    x: Tensor
    forwards: Tensor
    backwards: Tensor

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """``gap``: the largest Frank-Wolfe gap of an image's searches; NaN if there is none."""
        gap = torch.full((len(self.status),), -math.inf, dtype=torch.float64, device=self.entries.gap.device)
        known = ~self.entries.gap.isnan()
        gap.scatter_reduce_(0, self.entries.row[known], self.entries.gap[known], "amax")
        return {"gap": gap.where(gap > -math.inf, torch.nan)}

    def maps(self) -> Mapping[str, Tensor]:
        """Return pictures and changes at the largest radius, NaN if missing.

        ``true_u8``, ``wrong_u8`` (B, C, H, W): counterfactuals into the true class, and into the predicted one (the
        runner-up if the image is correctly classified), grey levels 0..255. ``true_change``, ``wrong_change`` (B, H,
        W): the change, channels summed; both maps of an image share one colour scale. ``image_u8``: the image itself.
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


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _listed(values: Tensor | Sequence[Any]) -> Sequence[Any]:
    return values.tolist() if isinstance(values, Tensor) else values
