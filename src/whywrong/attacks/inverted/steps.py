"""Smallest changes that make a linearised margin negative, inside the box of allowed pixels.

Every function solves, for each row of a batch at once,

    minimise ||delta||_p   subject to   g . delta <= -need   and   low <= delta <= high,   with low <= 0 <= high,

where ``g`` (B, C, H, W) is the gradient of the margin, ``need`` (B,) the required decrease of the margin, and ``low``
and ``high`` broadcast against ``g``. All return ``delta`` (B, C, H, W) and ``feasible`` (B,) bool. A row whose need is
not positive gets no change. An infeasible row gets the change that lowers the margin most.

The dual problems have one unknown per image. It is found by Newton's method on a concave, piecewise linear function,
which ends at the exact solution after a few steps, or by sorting; sums are taken in float64.

Source: the projections of FAB (Croce and Hein 2020, arXiv 1907.02044).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_NEWTON_STEPS = 40
_QP_STEPS = 20


def l2_step(g: Tensor, need: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Compute clip(-lambda g, low, high) with the smallest lambda that meets the need."""
    room, slope = _room(g, low, high)
    weight = slope.square()
    multiplier, feasible = _smallest_multiplier(weight, room / slope.clamp_min(_tiny(g)), need)
    delta = torch.minimum(_column(multiplier, g) * slope, room)
    return torch.copysign(delta, -g), feasible


def linf_step(g: Tensor, need: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Compute -sign(g) min(eps, room) with the smallest eps that meets the need.

    Zero where g is zero.
    """
    room, slope = _room(g, low, high)
    eps, feasible = _smallest_multiplier(slope, room, need)
    delta = torch.minimum(_column(eps, g), room)
    return torch.copysign(delta, -g), feasible


def l1_step(g: Tensor, need: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Move coordinates to their bounds in order of slope until the need is met.

    The steepest move first, and the last one moves only in part.
    """
    room, slope = _room(g, low, high)
    slopes, order = slope.flatten(1).sort(dim=1, descending=True, stable=True)
    rooms = room.flatten(1).gather(1, order)
    gain = (slopes * rooms).double()
    before = gain.cumsum(1) - gain
    used = (need.double()[:, None] - before).clamp_min(0).minimum(gain)  # (B, D), decrease of the margin by coordinate
    moves = (used / slopes.double().clamp_min(_tiny(g))).to(g.dtype).minimum(rooms)
    delta = torch.zeros_like(moves).scatter_(1, order, moves).view_as(g)
    return torch.copysign(delta, -g), _reaches(gain.sum(1), need)


def l0_step(g: Tensor, need: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Change the fewest pixels that can meet the need, with the least l2 norm.

    All channels of a pixel count as one.
    """
    room, slope = _room(g, low, high)
    gain = (slope * room).double().sum(1).flatten(1)  # (B, H * W), largest decrease of the margin by each pixel
    gains, order = gain.sort(dim=1, descending=True, stable=True)
    before = gains.cumsum(1) - gains
    wanted = (before < need.double()[:, None]) & (gains > 0)
    chosen = torch.zeros_like(wanted).scatter_(1, order, wanted).view(len(g), 1, *g.shape[2:])
    zero = torch.zeros_like(room)
    delta, _ = l2_step(torch.where(chosen, g, zero), need, torch.where(chosen, low, zero), torch.where(chosen, high, 0))
    return delta, _reaches(gains.sum(1), need)


STEPS: dict[str, Step] = {"l2": l2_step, "linf": linf_step, "l1": l1_step, "l0": l0_step}


def polyhedral_step(g: Tensor, need: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the smallest l2 change that meets the needs of several rivals at once.

    It satisfies g_r . delta <= -need_r for every rival r.

    Args:
        g: (B, R, C, H, W), gradients of the R margins, R <= 5.
        need: (B, R), required decrease of each; those not positive bind only if another step violates them.
        low: Broadcasts against (B, C, H, W), <= 0.
        high: Broadcasts against (B, C, H, W), >= 0.

    Returns:
        delta (B, C, H, W) and feasible (B,) bool: whether delta meets all needs, to 1e-6 of their size in
        double precision and 1e-5 in single.

    The solution is clip(-sum_r lambda_r g_r, low, high) with multipliers lambda >= 0. For a given set of clipped
    pixels they solve a quadratic program of size R, exactly, by trying all 2^R active sets; the clipped set is
    then updated until it no longer changes.
    """
    shape = g[:, 0].shape
    flat = g.flatten(2)  # (B, R, D)
    low, high = (bound.expand(shape).flatten(1) for bound in (low, high))
    wanted = need.double()
    scale = wanted.abs().amax(1).clamp_min(_tiny(g))
    tolerance = 1e-6 if g.dtype == torch.float64 else 1e-5
    delta = torch.zeros_like(low)
    worst = torch.full_like(scale, torch.inf)
    open_rows = torch.arange(len(need), device=need.device)
    free = (high - low).sign()  # (B, D), 1 if a pixel may still follow the multipliers
    clipped = torch.zeros_like(low)  # (B, D), change of the pixels that are not free
    for _ in range(_QP_STEPS):
        slopes, bottom, top = (part if len(open_rows) == len(part) else part[open_rows] for part in (flat, low, high))
        gram = (slopes * free[:, None]) @ slopes.transpose(1, 2)  # (b, R, R)
        left = wanted[open_rows] + (slopes @ (clipped * (1 - free))[:, :, None])[:, :, 0].double()
        multipliers = _smallest_multipliers(gram.double(), left)
        raw = -(multipliers[:, None].to(g.dtype) @ slopes)[:, 0]  # (b, D)
        trial = torch.maximum(torch.minimum(raw, top), bottom)
        broken = ((slopes @ trial[:, :, None])[:, :, 0].double() + wanted[open_rows]).amax(1)
        better = broken < worst[open_rows]
        delta[open_rows[better]] = trial[better]
        worst[open_rows[better]] = broken[better]
        now_free = torch.minimum(raw - bottom, top - raw).sign_().clamp_min_(0)
        going = (now_free - free).abs_().amax(1) > 0
        open_rows, free, clipped = open_rows[going], now_free[going], trial[going]
        if not len(open_rows):
            break
    return delta.view(shape), worst <= tolerance * scale


def _smallest_multipliers(gram: Tensor, need: Tensor) -> Tensor:
    """Minimise lambda' gram lambda / 2 - need' lambda over lambda >= 0, by trying all active sets.

    Returns:
        (B, R), the minimiser.
    """
    rivals = need.shape[1]
    best = torch.zeros_like(need)
    value = torch.zeros_like(need[:, 0])
    eye = torch.eye(rivals, dtype=need.dtype, device=need.device)
    ridge = 1e-13 * gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-300)
    for subset in range(1, 2**rivals):
        active = torch.tensor([subset >> r & 1 for r in range(rivals)], dtype=need.dtype, device=need.device)
        system = gram * active[:, None] * active + torch.diag(1 - active) + ridge[:, None, None] * eye
        trial, info = torch.linalg.solve_ex(system, (need * active)[:, :, None])
        trial = trial[:, :, 0].clamp_min(0)
        cost = 0.5 * (trial[:, None] @ gram @ trial[:, :, None])[:, 0, 0] - (need * trial).sum(1)
        better = (cost < value) & (info == 0) & trial.isfinite().all(1)
        best = torch.where(better[:, None], trial, best)
        value = torch.where(better, cost, value)
    return best


# Masks are 0 and 1 in the type of the pixels, as mixing types is ten times slower in torch on a CPU.


def _room(g: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Compute how far each pixel may go downhill, and its slope; both zero if it cannot go or gains nothing."""
    uphill = g.sign()
    room = torch.maximum(-low * uphill, -high * uphill)
    return room, g.abs().mul_(room.sign())


def _smallest_multiplier(weight: Tensor, limit: Tensor, need: Tensor) -> tuple[Tensor, Tensor]:
    """Find the smallest t with sum(weight * min(t, limit)) >= need.

    The sum is concave in t, so Newton's method from the left never passes the solution and, the sum being
    piecewise linear, ends at it.

    Returns:
        t (B,) float64, and whether it exists (B,) bool.
    """
    need = need.double()
    weight, limit = weight.flatten(1), limit.flatten(1)
    precision = 1e-12 if weight.dtype == torch.float64 else 1e-6
    rate = weight.sum(1, dtype=torch.float64)
    t = _over(need, rate)
    feasible = need <= 0
    open_rows = ((need > 0) & (rate > 0)).nonzero().flatten()
    for _ in range(_NEWTON_STEPS):
        if not len(open_rows):
            break
        w, c = (weight, limit) if len(open_rows) == len(weight) else (weight[open_rows], limit[open_rows])
        now = t[open_rows].to(c.dtype)
        inside = (c - now[:, None]).sign_().clamp_min_(0)
        rate = inside.mul_(w).sum(1, dtype=torch.float64)
        reach = torch.minimum(c, now[:, None]).mul_(w).sum(1, dtype=torch.float64)
        clipped = reach - now.double() * rate
        wanted = need[open_rows]
        new = _over(wanted - clipped, rate)
        stuck = rate <= 0
        reached = ~stuck & (new <= t[open_rows] * (1 + precision))
        feasible[open_rows] = reached | (stuck & (reach >= wanted * (1 - precision)))
        t[open_rows] = torch.where(stuck, torch.finfo(weight.dtype).max, torch.maximum(new, t[open_rows]))
        open_rows = open_rows[~(reached | stuck)]
    feasible[open_rows] = True  # only converged slowly; the need can be met
    return t.clamp_min(0), feasible


def _over(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / b.clamp_min(1e-300), 0.0)


def _reaches(gain: Tensor, need: Tensor) -> Tensor:
    return gain >= need.double() * (1 - 1e-12)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
