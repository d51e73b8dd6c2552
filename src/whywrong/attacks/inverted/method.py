"""The inverted attack: the smallest change that makes each misclassified image correct.

Source: Haffar, Jebreel, Domingo-Ferrer and Sanchez 2021, "Explaining Image Misclassification in Deep Learning via
Adversarial Examples", MDAI 2021. Only its abstract could be read; search, shrinking and rounding are our completion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box, norm_of
from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.explain import explain_fix
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.inverted.newton import newton_search
from whywrong.attacks.inverted.result import ExplainedFix, InvertedResult
from whywrong.attacks.inverted.rounding import grey_levels, round_fix
from whywrong.attacks.inverted.shrink import close_in, polish
from whywrong.attacks.inverted.sign import growing_sign, iterative_sign
from whywrong.attacks.inverted.steps import l2_step, linf_step
from whywrong.core.access import Access
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall


@open_inputs
def invert(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    masks: Tensor | None = None,
    config: InvertedConfig | None = None,
) -> InvertedResult:
    """Find the smallest change with which each image is predicted as its true class.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        keys: Seed of each image's noise, (B,), int64; default derived from ``config.seed`` and the row index.
        detail: (B,), bool, rows to explain in full once fixed; default all.
        masks: (B, H, W), bool, the object, all False if unknown; default unknown.
        config: Settings; None uses the defaults of :class:`InvertedConfig`.

    Returns:
        Fixes, distances, the fix of whole grey levels, and for the rows of ``detail`` the explanation.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> fixed = ww.invert(classifier, x[:1], y[:1])
        >>> bool(fixed.margin_after < fixed.margin_before)
        True
    """
    config = config or InvertedConfig()
    with MethodCall(
        classifier,
        x,
        y,
        method="the inverted attack with gradients",
        access=Access.GRADIENTS,
        keys=keys,
        seed=config.seed,
        detail=detail,
        masks=masks,
    ) as call:
        return _Attack(call, config).run()


class _Attack:
    """State of one attack, with one entry per row."""

    def __init__(self, call: MethodCall, config: InvertedConfig) -> None:
        self.call, self.x, self.config = call, call.x, config
        self.oracle = MarginOracle(call.classifier, call.y, config.safety)
        self.fix = self.x.clone()
        self.image_u8 = grey_levels(torch.nan_to_num(self.x, 0.0, 0.0, 0.0))
        self.fix_u8 = self.image_u8.clone()
        self.u8_fixed, self.unstable = (torch.zeros_like(call.detail) for _ in range(2))
        self.q_candidates, self.q_shrink = torch.zeros_like(call.y), torch.zeros_like(call.y)
        nothing = self.x.new_full((len(self.x),), torch.nan)
        self.rho = {"l2": nothing.clone(), "linf": nothing.clone()}
        self.rho_lin = {"l2": nothing.clone(), "linf": nothing.clone()}
        self.margin_before, self.margin_after = nothing.clone(), nothing.clone()

    def run(self) -> InvertedResult:
        rows = self.call.rows
        if len(rows):
            self._attack(rows)
        return self._result()

    def _attack(self, rows: Tensor) -> None:
        config = self.config
        entropy = config.attack != "newton"
        rivals = config.rivals if config.norm == "l2" and not entropy else 1
        start = self.oracle.linearise(rows, self.x[rows], rivals, entropy=entropy)
        self.margin_before[rows] = start.margin
        right, silent = start.margin < 0, ~start.margin.isfinite()
        self.call.mark(rows[right], Status.ALREADY_CORRECT)
        self.call.mark(rows[silent], Status.REFUSED, NOT_FINITE)
        self.margin_after[rows[right]] = start.margin[right]
        wrong = ~right & ~silent
        start, rows = start.at(wrong), rows[wrong]
        if not len(rows):
            return
        if not entropy:
            self._first_order(rows, start)
        found = self._search(rows, start)
        right = found.right
        self.call.mark(rows[~right], Status.NO_ANSWER)
        rows, start, found = rows[right], start.at(right), found.at(right)
        if not len(rows):
            return
        self.call.mark(rows, Status.OK)
        if not entropy:
            found = self._shrink(rows, start, found)
        self._finish(rows, start, found)

    def _first_order(self, rows: Tensor, start: Linearization) -> None:
        assert start.grad is not None
        grad = start.grad if start.rival_margins is None else start.grad[:, 0]
        low, high = Box(self.x[rows], self.config.radius).room()
        for norm, step in (("l2", l2_step), ("linf", linf_step)):
            delta, feasible = step(grad, start.margin, low, high)
            self.rho_lin[norm][rows] = norm_of(delta, norm).where(feasible, torch.inf)

    # Search.

    def _search(self, rows: Tensor, start: Linearization) -> Linearization:
        config, box = self.config, Box(self.x[rows], self.config.radius)
        budget = config.rounds + config.steps if config.budget is None else config.budget
        if config.attack != "newton":
            walk = iterative_sign if config.attack == "sign" else growing_sign
            steps = min(config.steps, budget)
            found, sent = walk(self.oracle, rows, start, box, config.step_size, steps, self.call.keys[rows])
        else:
            found, sent = newton_search(self.oracle, rows, start, box, min(config.rounds, budget), config)
            left = (~found.right).nonzero().flatten()
            if len(left) and budget > config.rounds and config.steps:
                rescued, more = self._rescue(rows[left], box.at(left), min(config.steps, budget - config.rounds))
                found.put(left, rescued)
                sent[left] += more
        self.q_candidates[rows] = sent
        return found

    def _rescue(self, rows: Tensor, box: Box, steps: int) -> tuple[Linearization, Tensor]:
        """Run the sign attack from the original image for rows that Newton's method did not fix."""
        start = self.oracle.linearise(rows, box.x, entropy=True)
        found, sent = iterative_sign(
            self.oracle, rows, start, box, self.config.fallback_step, steps, self.call.keys[rows]
        )
        right = found.right.nonzero().flatten()
        if len(right):  # the next steps need the gradient of the margin at the fix
            found.put(right, self.oracle.linearise(rows[right], found.pixels[right]))
        return found, sent

    # Shrink.

    def _shrink(self, rows: Tensor, start: Linearization, found: Linearization) -> Linearization:
        """Shrink the fix in the configured norm and, for the distances, in l2 and linf."""
        config, box = self.config, Box(self.x[rows], self.config.radius)
        answer = self._nearest(rows, box, found, config.norm, config.polish)
        nearest = [answer]
        for norm in ("l2", "linf"):
            if norm != config.norm and config.polish_other:
                nearest.append(self._nearest(rows, box, found, norm, config.polish_other))
        for norm, rho in self.rho.items():
            rho[rows] = torch.stack([norm_of(points.pixels - box.x, norm) for points in nearest]).amin(0)
        return answer

    def _nearest(self, rows: Tensor, box: Box, found: Linearization, norm: str, steps: int) -> Linearization:
        best, refinements = polish(self.oracle, rows, box, found, norm, steps)
        best, tests = close_in(self.oracle, rows, box.x, self.margin_before[rows], best, self.config.tighten)
        self.q_shrink[rows] += refinements + tests
        return best

    # Round and test again.

    def _finish(self, rows: Tensor, start: Linearization, found: Linearization) -> None:
        x = self.x[rows]
        delta = found.pixels - x
        again = self.oracle.test(rows, x + delta)
        self.fix[rows] = x + delta
        self.margin_after[rows] = again.margin
        self.unstable[rows] = ~again.right & ~(again.margin < -0.1 * again.slack)
        for norm, rho in self.rho.items():
            rho[rows] = torch.fmin(rho[rows], norm_of(delta, norm))
        if self.config.quantise:
            grad = found.grad if found.grad is not None else start.grad
            assert grad is not None
            levels, fixed = round_fix(self.oracle, rows, x, delta, grad, start.margin, self.call.keys[rows])
            self.fix_u8[rows], self.u8_fixed[rows] = levels, fixed

    # Result.

    def _result(self) -> InvertedResult:
        call, fixed = self.call, self.call.having(Status.OK)
        every = torch.arange(len(self.x), device=self.x.device)
        call.count(every, self.oracle.forwards, self.oracle.backwards)
        delta = torch.where(fixed.view(-1, 1, 1, 1), self.fix - self.x, 0.0)
        detailed = call.detail & fixed
        explained: ExplainedFix | None = None
        if bool(detailed.any()):
            rows = detailed.nonzero().flatten()
            explained = explain_fix(
                call.classifier,
                self.x[rows],
                call.y[rows],
                delta[rows],
                rows=rows,
                masks=None if call.masks is None else call.masks[rows],
                config=self.config,
            )
            call.count(rows, explained.forwards, explained.backwards)
        u8_delta = torch.where(self.u8_fixed.view(-1, 1, 1, 1), self.fix_u8.to(delta.dtype) / 255 - self.x, torch.nan)
        return InvertedResult(
            delta=delta,
            fix_u8=self.fix_u8,
            image_u8=self.image_u8,
            u8_fixed=self.u8_fixed,
            q_candidates=self.q_candidates,
            q_shrink=self.q_shrink,
            rho_l2=self.rho["l2"],
            rho_linf=self.rho["linf"],
            l0=norm_of(delta, "l0").long(),
            l1=norm_of(delta, "l1"),
            l2=norm_of(delta, "l2"),
            linf=norm_of(delta, "linf"),
            rho_lin_l2=self.rho_lin["l2"],
            rho_lin_linf=self.rho_lin["linf"],
            margin_before=self.margin_before,
            margin_after=self.margin_after,
            u8_l2=norm_of(u8_delta, "l2"),
            u8_linf=norm_of(u8_delta, "linf"),
            unstable=self.unstable,
            detailed=detailed,
            explained=explained,
            **call.outcome(),
        )
