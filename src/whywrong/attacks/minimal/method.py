"""The smallest fix of each misclassified image in a chosen norm, with its fix of whole grey levels."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box, norm_of
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.inverted.rounding import grey_levels, round_fix
from whywrong.attacks.inverted.steps import STEPS
from whywrong.attacks.minimal.config import SmallestFixConfig
from whywrong.attacks.minimal.geometry import Geometry
from whywrong.attacks.minimal.result import SmallestFixResult
from whywrong.attacks.minimal.search import find_smallest, geometry_of
from whywrong.core.access import Access
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall


@open_inputs
def smallest_fix(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    config: SmallestFixConfig | None = None,
) -> SmallestFixResult:
    """Find the change of least norm with which each image is predicted as its true class.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        keys: Seed of each image's noise, (B,), int64; default derived from ``config.seed`` and the row index. Used only
            if a gradient is zero.
        detail: (B,), bool, rows to fix; default all.
        config: Settings, with the norm and the budget of passes; default :class:`SmallestFixConfig`.

    Returns:
        Fixes, their norms, and the fixes of whole grey levels.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> few = ww.smallest_fix(classifier, x, y, config=ww.SmallestFixConfig(norm="l0", budget=40))
        >>> few.l0.shape
        torch.Size([2])
    """
    config = config or SmallestFixConfig()
    with MethodCall(
        classifier,
        x,
        y,
        method="the smallest fix",
        access=Access.GRADIENTS,
        keys=keys,
        seed=config.seed,
        detail=detail,
        skips=True,
    ) as call:
        return _Fixes(call, config).run()


class _Fixes:
    """State of one call, with one entry per row."""

    def __init__(self, call: MethodCall, config: SmallestFixConfig) -> None:
        self.call, self.x, self.config = call, call.x, config
        self.oracle = MarginOracle(call.classifier, call.y, config.safety)
        self.change, self.change_u8 = (torch.full_like(self.x, torch.nan) for _ in range(2))
        self.u8_fixed, self.unstable = (torch.zeros_like(call.detail) for _ in range(2))
        self.size, self.linear, self.groups, self.margin_before, self.margin_after = (
            self.x.new_full((len(self.x),), torch.nan) for _ in range(5)
        )

    def run(self) -> SmallestFixResult:
        rows = self.call.rows
        if len(rows):
            self._fix(rows)
        return self._result()

    def _fix(self, rows: Tensor) -> None:
        call = self.call
        start = self.oracle.linearise(rows, self.x[rows])
        self.margin_before[rows] = start.margin
        right, silent = start.margin < 0, ~start.margin.isfinite()
        call.mark(rows[right], Status.ALREADY_CORRECT)
        call.mark(rows[silent], Status.REFUSED, NOT_FINITE)
        self.margin_after[rows[right]] = start.margin[right]
        wrong = ~right & ~silent
        rows, start = rows[wrong], start.at(wrong)
        if not len(rows):
            return
        geometry = geometry_of(self.x[rows], self.config)
        self.linear[rows] = linear_estimate(start, Box(self.x[rows], 1.0), geometry)
        found = find_smallest(self.oracle, rows, self.x[rows], geometry, start, call.keys[rows], self.config)
        call.mark(rows[~found.right], Status.NO_ANSWER)
        at = found.right
        rows, start, found, geometry = rows[at], start.at(at), found.at(at), geometry.at(at)
        if len(rows):
            self._keep(rows, start, found, geometry)

    def _keep(self, rows: Tensor, start: Linearization, found: Linearization, geometry: Geometry) -> None:
        """Test the fixes again, measure them, and round them to grey levels."""
        call, x = self.call, self.x[rows]
        call.mark(rows, Status.OK)
        delta = found.pixels - x
        again = self.oracle.test(rows, x + delta)
        self.change[rows], self.size[rows], self.margin_after[rows] = delta, geometry.size(delta), again.margin
        self.unstable[rows] = ~again.right & ~(again.margin < -0.1 * again.slack)
        if geometry.norm == "groups":
            self.groups[rows] = self.size[rows]
        if self.config.quantise:
            assert found.grad is not None
            levels, fixed = round_fix(self.oracle, rows, x, delta, found.grad, start.margin, call.keys[rows])
            change = levels.to(x.dtype) - grey_levels(x).to(x.dtype)
            self.u8_fixed[rows] = fixed
            self.change_u8[rows] = torch.where(fixed.view(-1, 1, 1, 1), change, torch.nan)

    def _result(self) -> SmallestFixResult:
        every = torch.arange(len(self.x), device=self.x.device)
        self.call.count(every, self.oracle.forwards, self.oracle.backwards)
        none, none_u8 = (change[:, 0, 0, 0].isnan() for change in (self.change, self.change_u8))
        return SmallestFixResult(
            norm=self.config.norm,
            size=self.size,
            linear=self.linear,
            groups=self.groups,
            margin_before=self.margin_before,
            margin_after=self.margin_after,
            u8_fixed=self.u8_fixed,
            unstable=self.unstable,
            change=self.change,
            change_u8=self.change_u8,
            **{norm: norm_of(self.change, norm).masked_fill(none, torch.nan) for norm in ("l0", "l1", "l2", "linf")},
            **{
                f"u8_{norm}": norm_of(self.change_u8 / 255, norm).masked_fill(none_u8, torch.nan)
                for norm in ("l0", "l2", "linf")
            },
            **self.call.outcome(),
        )


def linear_estimate(start: Linearization, box: Box, geometry: Geometry) -> Tensor:
    """Estimate the size (n,) of the smallest change by the linearised margin.

    Infinite if no change inside the box reaches the linearised boundary. The box is ignored for ``groups``.
    """
    assert start.grad is not None
    if geometry.norm == "groups":
        slope = geometry.slope(start.grad)
        return (start.margin / slope.clamp_min(1e-12)).where(slope > 0, torch.inf)
    delta, feasible = STEPS[geometry.norm](start.grad, start.margin, *box.room())
    return geometry.size(delta).where(feasible, torch.inf)
