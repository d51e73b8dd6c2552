"""Linear minimisation oracle over the intersection of an l_p ball around an image and the pixel range.

For a gradient w it returns the change along which a linear function of slope w rises most,

    max <w, delta>  subject to  ||delta||_p <= eps,  0 <= x + delta <= 1,

exactly, for every p in [1, inf], one problem per row, without sorting. Let room_i be how far pixel i can move in the
direction of w_i, and share_i = (|w_i| / max |w|)^(1/(p-1)). The solution is |delta_i| = min(room_i, t share_i) for the
one t that spends the budget eps^p. The saturated pixels are found iteratively: t follows from the saturated set in
closed form, the set from t, and since t only grows, the iteration ends at the exact solution (derivation ours). Weights
are divided by their maximum first, so that the scale of the gradient does not matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TINY = 1e-30
_LEAST_FREE = 1e-6  # share of the free sum below which rounding becomes visible
_LARGEST_LEVEL = 1e10  # beyond it shares that underflow in float32 may matter: those rows are solved in log space
_PASSES = 60
_HALVINGS = 200


def linear_minimization_oracle(w: Tensor, up: Tensor, down: Tensor, eps: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Find the best change of each row.

    Args:
        w: (B, D), floating point, slopes of any scale.
        up: (B, D), how far each pixel may rise, at least 0 (1 - x; 0 outside a region).
        down: (B, D), how far it may fall, at least 0.
        eps: (B,), float64, radii, positive; if infinite, only the pixel range limits the change.
        p: Exponent, in [1, inf].

    Returns:
        Changes (B, D) of the dtype of ``w``, within -down..up; and whether a row had a usable slope, (B,) bool: rows
        whose slopes are all zero, or not all finite, get a change of zero.
    """
    size = w.abs()
    peak = size.amax(1, keepdim=True) if w.shape[1] else size.new_zeros((len(w), 1))
    usable = (peak > 0) & peak.isfinite()  # NaN fails the comparison
    if not bool(usable.all()):
        size = torch.where(usable, size, 0.0)
        w = torch.where(usable, w, 0.0)
        peak = torch.where(usable, peak, 1.0)
    room = torch.where(w > 0, up, down)
    if p == math.inf:
        change = torch.minimum(room, eps[:, None].to(room.dtype)).mul_(size > 0)
    elif p == 1:
        change = _knapsack(size, room, eps)
    else:
        change = _spread(size.div_(peak), room, eps, p)
    return change.copysign_(w), usable[:, 0]


def fill(change: Tensor, room: Tensor, eps: Tensor, p: float) -> Tensor:
    """Scale ``change`` as far as its clipped version stays in the ball.

    Args:
        change: (B, D), at least 0, sizes of changes inside the ball.
        room: (B, D), how far each pixel may move in its direction.
        eps: (B,), float64, radii.
        p: Exponent, in [1, inf].

    Returns:
        (B, D), sizes min(c |change|, room) for the largest c; rows without a change stay zero.
    """
    peak = change.amax(1, keepdim=True)
    share = change / peak.where(peak > 0, 1.0)
    if p == math.inf:
        return torch.minimum(share * eps.to(share.dtype)[:, None], room)
    inside = lp_norm(torch.where(share > 0, room, 0.0), p) <= eps
    level, settled = _level(share, room, _power(share, p), eps, p)
    settled &= level.isfinite()  # otherwise the change is inside and stays unchanged
    filled = torch.minimum(room, level.clamp_max(1e30).to(share.dtype)[:, None] * share)
    filled = torch.where(settled[:, None], filled, change)
    return torch.where(inside[:, None], room * (share > 0), filled)


def lp_norm(change: Tensor, p: float) -> Tensor:
    """Compute the l_p norm of the rows of ``change`` (B, D), (B,) float64."""
    size = change.abs()
    if p == math.inf:
        return size.amax(1).double()
    peak = size.amax(1, keepdim=True)
    scaled = size / peak.where(peak > 0, 1.0)  # no power of a small change underflows
    return _power(scaled, p).sum(1, dtype=torch.float64) ** (1 / p) * peak[:, 0].double()


def _power(values: Tensor, p: float) -> Tensor:
    """Compute ``values`` ** p for values >= 0.

    The most common exponents need no logarithm.
    """
    if p == 1:
        return values
    if p == 1.5:
        return values.sqrt().mul_(values)
    return values.square() if p == 2 else values**p


def _spread(weight: Tensor, room: Tensor, eps: Tensor, p: float) -> Tensor:
    """Compute sizes for 1 < p < inf.

    ``weight`` (B, D) in [0, 1] is overwritten.
    """
    if p < 1.2:
        return _careful(weight, room, eps, p)
    if p == 1.5:
        share = weight * weight
        share_p = share * weight
    elif p == 2:
        share = weight
        share_p = weight * weight
    else:
        share = weight ** (1 / (p - 1))
        share_p = share * weight  # p / (p - 1) = 1 + 1 / (p - 1)
    level, settled = _level(share, room, share_p, eps, p)
    change = torch.minimum(room, level.clamp_max(_LARGEST_LEVEL).to(share.dtype)[:, None] * share)
    hard = ~settled | (level > _LARGEST_LEVEL)
    if bool(hard.any()):
        change[hard] = _careful(weight[hard], room[hard], eps[hard], p)
    return change


def _level(share: Tensor, room: Tensor, share_p: Tensor, eps: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Solve sum min(room, t share)^p = eps^p for t.

    The iteration runs over the pixels that may be saturated.

    Args:
        share: (B, D), in [0, 1].
        room: (B, D), at least 0.
        share_p: (B, D), share ** p.
        eps: (B,), float64, positive.
        p: Exponent, finite.

    Returns:
        t (B,) float64, infinite if (nearly) everything is saturated; and whether the iteration converged (B,) bool.
    """
    free = share_p.sum(1, dtype=torch.float64)
    t = eps * free.clamp_min(1e-300) ** (-1 / p)
    ratio = room / share.clamp_min(_TINY)
    reach = 2 * t
    for _ in range(_PASSES):
        # While t stays below ``reach``, only pixels that saturate below it matter: the others are ignored.
        rows, columns = (ratio <= reach.to(ratio.dtype)[:, None]).nonzero(as_tuple=True)
        spent = (room[rows, columns].double() / eps[rows]) ** p
        lost = share_p[rows, columns].double()
        t, ended = _passes(t, reach, rows, ratio[rows, columns].double(), spent, lost, eps, free, p)
        if bool((ended & ((t <= reach) | (t == math.inf))).all()):
            return t, ended
        reach = torch.where((t <= reach) | (t == math.inf), reach, 4 * t)
    return t, torch.zeros_like(t, dtype=torch.bool)


def _passes(
    t: Tensor,
    reach: Tensor,
    rows: Tensor,
    ratio: Tensor,
    spent: Tensor,
    lost: Tensor,
    eps: Tensor,
    free: Tensor,
    p: float,
) -> tuple[Tensor, Tensor]:
    """Saturate pixels until none is left or t leaves the range of known candidates.

    Each candidate, of row ``rows``, saturates at t = ``ratio``; it then spends its share ``spent`` of the budget, and
    ``lost`` leaves the sum ``free`` of the others.
    """
    for _ in range(_PASSES):
        sums = torch.zeros(2, len(t), dtype=torch.float64, device=t.device)
        sums.index_add_(1, rows, torch.where(ratio <= t[rows], torch.stack([spent, lost]), 0.0))
        left = free - sums[1]
        grown = eps * ((1 - sums[0]).clamp_min(0) / left.clamp_min(1e-300)) ** (1 / p)
        grown = torch.maximum(grown.where(left > _LEAST_FREE * free, math.inf), t)
        same = grown == t
        t = grown
        if bool((same | (t > reach)).all()):
            return t, same | (t == math.inf)
    return t, torch.zeros_like(t, dtype=torch.bool)


def _careful(weight: Tensor, room: Tensor, eps: Tensor, p: float) -> Tensor:
    """Compute sizes as :func:`_spread` does, in float64 with logarithms.

    Shares and t are logarithms, so that the result is exact even if shares span hundreds of decades.
    """
    some = weight > 0
    space = torch.where(some, room.double() / eps[:, None], 0.0)  # in radii, so that no power of it underflows
    spent = space**p
    log_share = weight.double().log() / (p - 1)  # -inf where the slope is zero
    log_ratio = (space.log() - log_share).where(some, math.inf)
    t = _log_level(p * log_share, log_ratio, spent, p)
    # A level above every ratio means that all pixels are saturated: the ball is not active.
    t = torch.where(spent.sum(1) <= 1, math.inf, t)
    change = torch.minimum(space, (log_share + t.clamp_max(1e300)[:, None]).clamp_max(700.0).exp())
    change = torch.where(change < space, change * eps[:, None], room.double())
    return torch.where(some, change, 0.0).to(room.dtype)


def _log_level(log_share_p: Tensor, log_ratio: Tensor, spent: Tensor, p: float) -> Tensor:
    """Compute the logarithm of t, in radii."""

    def after(level: Tensor) -> Tensor:
        saturated = log_ratio <= level[:, None]
        left = (1 - torch.where(saturated, spent, 0.0).sum(1)).clamp_min(0)
        free = torch.where(saturated, -math.inf, log_share_p).logsumexp(1)
        return torch.where(free == -math.inf, math.inf, (left.log() - free) / p)

    t = after(torch.full_like(spent[:, 0], -math.inf))
    for _ in range(_PASSES):
        grown = torch.maximum(after(t), t)
        if bool((grown == t).all()):
            return t
        t = grown
    # Too many iterations: bisect for the level that meets the budget, then use the closed form on that set.
    low, high = t, torch.where(log_ratio.isfinite(), log_ratio, -math.inf).amax(1).maximum(t)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        sizes = torch.where(log_ratio <= middle[:, None], spent, (log_share_p + p * middle[:, None]).exp()).sum(1)
        low, high = torch.where(sizes <= 1, middle, low), torch.where(sizes <= 1, high, middle)
    return torch.maximum(after(low), low)


def _knapsack(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Compute sizes for p = 1.

    The steepest pixels are filled; those at the threshold share the rest.

    Pixels of equal slope get equal shares, as for p slightly above 1: the order of the pixels does not matter.
    """
    count, total = size.shape[1], room.mul(size > 0).sum(1, dtype=torch.float64)
    many = min(count, 64 + int(4 * float(eps.clamp_max(count).max())) if len(eps) else count)
    while True:
        value, at = size.topk(many, dim=1)
        filled = room.gather(1, at).double().cumsum(1)
        enough = filled >= eps[:, None]
        if many == count or bool((enough[:, -1] | (filled[:, -1] >= total)).all()):
            break
        many = min(count, 4 * many)
    first = enough.int().argmax(1, keepdim=True)
    threshold = torch.where(enough.any(1, keepdim=True), value.gather(1, first), 0.0)
    above = torch.where(size > threshold, room, 0.0)
    edge = (size == threshold) & (threshold > 0)
    left = (eps - above.sum(1, dtype=torch.float64)).clamp_min(1e-300)
    share = edge.to(room.dtype)
    level, _ = _level(share, room, share, left, 1.0)
    level = level.clamp_max(1e30).to(room.dtype)[:, None]
    return torch.where(edge, torch.minimum(room, level), above)
