"""The inverted attack: for every misclassified image the smallest change that makes it right.

Source: Haffar, Jebreel, Domingo-Ferrer and Sanchez 2021, "Explaining Image Misclassification in Deep Learning via
Adversarial Examples", MDAI 2021. Only its abstract could be read; search, shrinking and rounding are our completion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box, norm_of
from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.explain import explain_fix
from whywrong.attacks.inverted.ledger import Ledger, Points
from whywrong.attacks.inverted.newton import newton_search
from whywrong.attacks.inverted.result import ExplainedFix, InvertedResult
from whywrong.attacks.inverted.rounding import grey_levels, round_fix
from whywrong.attacks.inverted.shrink import close_in, polish
from whywrong.attacks.inverted.sign import growing_sign, iterative_sign
from whywrong.attacks.inverted.steps import l2_step, linf_step
from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_classes, check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.models.classifier import Classifier

STATUSES = tuple(Status)


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
    """Find the smallest change that makes the classifier read each image as its true class.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); grants gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64, in 0..K-1.
        keys: Seed of each image's noise, (B,), int64; default (config.seed, row).
        detail: (B,), bool, rows to explain in full once fixed; default all.
        masks: (B, H, W), bool, the object, all False where unknown; default unknown.
        config: Settings; default :class:`InvertedConfig`.

    Returns:
        Fixes, distances, the fix of whole grey levels, and for the rows of ``detail`` the explanation.

    Raises:
        InputError: A shape, type or class breaks the contract above.
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
    classifier.require(Access.GRADIENTS, "the inverted attack with gradients")
    check_images(x)
    with classifier:
        known = classifier.num_classes if classifier.classes is not None else None  # else the first pass tells
        if known is not None:
            check_classes(known)
        check_labels(y, len(x), known)
        x, y = x.detach().float(), y.to(x.device)
        keys = row_keys(config.seed, len(x), x.device) if keys is None else keys.to(x.device)
        detail = torch.ones_like(y, dtype=torch.bool) if detail is None else detail.to(x.device)
        _check_rows(x, keys, detail, masks)
        return _Attack(classifier, x, y, keys, config).run(detail, masks)


def _check_rows(x: Tensor, keys: Tensor, detail: Tensor, masks: Tensor | None) -> None:
    for name, values, shape, kind in (
        ("keys", keys, (len(x),), torch.int64),
        ("detail", detail, (len(x),), torch.bool),
        ("masks", masks, (len(x), *x.shape[2:]), torch.bool),
    ):
        if values is not None and (values.shape != shape or values.dtype != kind):
            raise InputError(f"{name} must be {kind} {shape}, got {values.dtype} {tuple(values.shape)}")


class _Attack:
    """One call of :func:`invert`: the batch, and what is known of each of its rows so far."""

    def __init__(self, classifier: Classifier, x: Tensor, y: Tensor, keys: Tensor, config: InvertedConfig) -> None:
        self.classifier, self.x, self.y, self.keys, self.config = classifier, x, y, keys, config
        self.ledger = Ledger(classifier, y, config.safety)
        batch = len(x)
        self.status = torch.full_like(y, STATUSES.index(Status.NO_ANSWER))
        self.fix = x.clone()
        self.image_u8 = grey_levels(torch.nan_to_num(x, 0.0, 0.0, 0.0))
        self.fix_u8 = self.image_u8.clone()
        self.u8_fixed = torch.zeros_like(y, dtype=torch.bool)
        self.unstable = torch.zeros_like(self.u8_fixed)
        self.q_candidates, self.q_shrink = torch.zeros_like(y), torch.zeros_like(y)
        nothing = torch.full((batch,), torch.nan, dtype=x.dtype, device=x.device)
        self.rho = {"l2": nothing.clone(), "linf": nothing.clone()}
        self.rho_lin = {"l2": nothing.clone(), "linf": nothing.clone()}
        self.margin_before, self.margin_after = nothing.clone(), nothing.clone()

    def run(self, detail: Tensor, masks: Tensor | None) -> InvertedResult:
        bad = bad_rows(self.x)
        self.status[bad] = STATUSES.index(Status.BAD_INPUT)
        rows = (~bad).nonzero().flatten()
        if len(rows):
            self._attack(rows)
        return self._result(detail, masks)

    def _attack(self, rows: Tensor) -> None:
        config = self.config
        entropy = config.attack != "newton"
        rivals = config.rivals if config.norm == "l2" and not entropy else 1
        start = self.ledger.linearise(rows, self.x[rows], rivals, entropy=entropy)
        self.margin_before[rows] = start.margin
        wrong = ~(start.margin < 0)
        self.status[rows[~wrong]] = STATUSES.index(Status.ALREADY_CORRECT)
        self.margin_after[rows[~wrong]] = start.margin[~wrong]
        start, rows = start.at(wrong), rows[wrong]
        if not len(rows):
            return
        if not entropy:
            self._first_order(rows, start)
        found = self._search(rows, start)
        right = found.right
        rows, start, found = rows[right], start.at(right), found.at(right)
        if not len(rows):
            return
        self.status[rows] = STATUSES.index(Status.OK)
        if not entropy:
            found = self._shrink(rows, start, found)
        self._finish(rows, start, found)

    def _first_order(self, rows: Tensor, start: Points) -> None:
        assert start.grad is not None
        grad = start.grad if start.rival_margins is None else start.grad[:, 0]
        low, high = Box(self.x[rows], self.config.radius).room()
        for norm, step in (("l2", l2_step), ("linf", linf_step)):
            delta, feasible = step(grad, start.margin, low, high)
            self.rho_lin[norm][rows] = norm_of(delta, norm).where(feasible, torch.inf)

    # Search.

    def _search(self, rows: Tensor, start: Points) -> Points:
        config, box = self.config, Box(self.x[rows], self.config.radius)
        budget = config.rounds + config.steps if config.budget is None else config.budget
        if config.attack != "newton":
            walk = iterative_sign if config.attack == "sign" else growing_sign
            steps = min(config.steps, budget)
            found, sent = walk(self.ledger, rows, start, box, config.step_size, steps, self.keys[rows])
        else:
            found, sent = newton_search(self.ledger, rows, start, box, min(config.rounds, budget), config)
            left = (~found.right).nonzero().flatten()
            if len(left) and budget > config.rounds and config.steps:
                rescued, more = self._rescue(rows[left], box.at(left), min(config.steps, budget - config.rounds))
                found.put(left, rescued)
                sent[left] += more
        self.q_candidates[rows] = sent
        return found

    def _rescue(self, rows: Tensor, box: Box, steps: int) -> tuple[Points, Tensor]:
        """The sign attack from the original image, where Newton's method found nothing."""
        start = self.ledger.linearise(rows, box.x, entropy=True)
        found, sent = iterative_sign(self.ledger, rows, start, box, self.config.fallback_step, steps, self.keys[rows])
        right = found.right.nonzero().flatten()
        if len(right):  # what follows starts from the gradient of the margin at the fix
            found.put(right, self.ledger.linearise(rows[right], found.pixels[right]))
        return found, sent

    # Shrink.

    def _shrink(self, rows: Tensor, start: Points, found: Points) -> Points:
        """Nearer fixes in the norm asked for and, for the distances, in l2 and linf."""
        config, box = self.config, Box(self.x[rows], self.config.radius)
        answer = self._nearest(rows, box, found, config.norm, config.polish)
        nearest = [answer]
        for norm in ("l2", "linf"):
            if norm != config.norm and config.polish_other:
                nearest.append(self._nearest(rows, box, found, norm, config.polish_other))
        for norm, rho in self.rho.items():
            rho[rows] = torch.stack([norm_of(points.pixels - box.x, norm) for points in nearest]).amin(0)
        return answer

    def _nearest(self, rows: Tensor, box: Box, found: Points, norm: str, steps: int) -> Points:
        best, refinements = polish(self.ledger, rows, box, found, norm, steps)
        best, tests = close_in(self.ledger, rows, box.x, self.margin_before[rows], best, self.config.tighten)
        self.q_shrink[rows] += refinements + tests
        return best

    # Round, test again.

    def _finish(self, rows: Tensor, start: Points, found: Points) -> None:
        x = self.x[rows]
        delta = _exact_change(x, found.pixels)
        again = self.ledger.test(rows, x + delta)
        self.fix[rows] = x + delta
        self.margin_after[rows] = again.margin
        self.unstable[rows] = ~again.right & ~(again.margin < -0.1 * again.slack)
        for norm, rho in self.rho.items():
            rho[rows] = torch.fmin(rho[rows], norm_of(delta, norm))
        if self.config.quantise:
            grad = found.grad if found.grad is not None else start.grad
            assert grad is not None
            levels, fixed = round_fix(self.ledger, rows, x, delta, grad, start.margin, self.keys[rows])
            self.fix_u8[rows], self.u8_fixed[rows] = levels, fixed

    # Answer.

    def _result(self, detail: Tensor, masks: Tensor | None) -> InvertedResult:
        fixed = self.status == STATUSES.index(Status.OK)
        delta = torch.where(fixed.view(-1, 1, 1, 1), self.fix - self.x, 0.0)
        detailed = detail & fixed
        explained: ExplainedFix | None = None
        if bool(detailed.any()):
            explained = explain_fix(
                self.classifier,
                self.x[detailed],
                self.y[detailed],
                delta[detailed],
                rows=detailed.nonzero().flatten(),
                masks=None if masks is None else masks.to(self.x.device)[detailed],
                config=self.config,
            )
            self.ledger.forwards[detailed] += explained.forwards
            self.ledger.backwards[detailed] += explained.backwards
        u8_delta = torch.where(self.u8_fixed.view(-1, 1, 1, 1), self.fix_u8.to(delta.dtype) / 255 - self.x, torch.nan)
        return InvertedResult(
            status=[STATUSES[i] for i in self.status.tolist()],
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
            forwards=self.ledger.forwards,
            backwards=self.ledger.backwards,
        )


def _exact_change(x: Tensor, pixels: Tensor) -> Tensor:
    """``pixels - x``, nudged toward zero where rounding would carry ``x + delta`` out of [0, 1]."""
    delta = pixels - x
    outside = (x + delta > 1) | (x + delta < 0)
    return torch.where(outside, torch.nextafter(delta, torch.zeros_like(delta)), delta)
