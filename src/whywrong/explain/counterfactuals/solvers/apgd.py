"""Auto-PGD toward a class in l_1, l_2 and l_inf, for comparison with the Frank-Wolfe solvers.

Source: Croce and Hein 2020, arXiv 2003.01690 (l_2, l_inf), and Croce and Hein 2021, arXiv 2103.01208 (l_1: steps along
the signs of the largest gradient entries, exact projection on l_1 ball and pixel range), as in the code of the sparse
counterfactuals, arXiv 2205.07972. Difference: the log-probability is computed without underflow.
:mod:`whywrong.attacks.apgd` is the attack; this solver takes all steps, with a radius per row, inside a region.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of, unit
from whywrong.core.randomness import keyed_normal, keyed_uniform
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.schedule import Schedule, checkpoints
from whywrong.explain.counterfactuals.solvers.search_state import SearchState

_MOMENTUM = 0.75
_SPARSE_START = 0.2  # share of the entries that the first l_1 steps change
_SPARSE_DIVISOR = 1.5
_LEAST_STEP = 0.1  # of eps, in l_1


def random_point(domain: Domain, keys: Tensor) -> Tensor:
    """Draw a random point of norm eps of each domain, clipped to the pixel range.

    Points are (B, C, H, W); ``keys`` (B,) seed the draws.
    """
    shape, eps = domain.x.shape[1:], _column(domain.eps)
    if domain.p == math.inf:
        noise = 2 * keyed_uniform(keys, shape) - 1
        return project(domain, domain.x + eps * noise / _column(norm_of(noise, "linf")))
    noise = keyed_normal(keys, shape)
    return project(domain, domain.x + (eps * unit(noise) if domain.p == 2 else noise))


def project(domain: Domain, z: Tensor) -> Tensor:
    """Project ``z`` (B, C, H, W) onto the domain.

    The projection is exact in l_1 and l_inf; in l_2 it is onto the ball, then onto the pixel range.
    """
    delta = z - domain.x
    if domain.p == math.inf:
        eps = _column(domain.eps)
        delta = torch.minimum(torch.maximum(delta, -domain.down.minimum(eps)), domain.up.minimum(eps))
    elif domain.p == 2:
        delta = delta * (_column(domain.eps) / _column(norm_of(delta, "l2")).clamp_min(1e-12)).clamp_max(1)
        delta = torch.minimum(torch.maximum(delta, -domain.down), domain.up)
    else:
        room = torch.where(delta > 0, domain.up, domain.down).flatten(1)
        size = project_l1(delta.abs().flatten(1), room, domain.eps)
        delta = size.view_as(delta).copysign_(delta)
    return (domain.x + delta).clamp_(0, 1)


def project_l1(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Find the nearest sizes u with sum(u) <= eps and 0 <= u <= room.

    They are min(max(size - c, 0), room) for the one c with sum eps. The sum falls with c and is piecewise linear
    between the values of ``size`` and ``size - room``.

    Args:
        size: (B, D), at least 0.
        room: (B, D), at least 0.
        eps: (B,), float64.

    Returns:
        (B, D), of the dtype of ``size``.
    """
    top, low = size.double(), (size.double() - room.double())
    inside = torch.minimum(top, room.double()).sum(1) <= eps
    knots, order = torch.cat([top, low], 1).sort(1, descending=True)
    bend = torch.cat([torch.ones_like(top), -torch.ones_like(low)], 1).gather(1, order)
    slope = bend.cumsum(1)  # below knot j, the sum grows by slope[j] for each unit that c falls
    sums = torch.cat([torch.zeros_like(knots[:, :1]), (slope[:, :-1] * -knots.diff(dim=1)).cumsum(1)], 1)
    j = (torch.searchsorted(sums, eps[:, None]) - 1).clamp(0, knots.shape[1] - 1)
    at, spent, steep = (values.gather(1, j)[:, 0] for values in (knots, sums, slope))
    c = at - (eps - spent) / steep.clamp_min(1e-300)
    c = torch.where(inside, 0.0, c).clamp_min(0)[:, None]
    return torch.minimum((top - c).clamp_min(0), room.double()).to(size.dtype)


def auto_pgd(search: SearchState, z: Tensor, steps: int) -> None:
    """Search from ``z`` (B, C, H, W), a point of the domain.

    Takes ``steps`` + 1 gradients per row.
    """
    if search.domain.p == 1:
        _climb_l1(search, z, steps)
        return
    value, grad = search.ask(z)
    state = Schedule.start(2 * search.domain.eps.to(value.dtype), value)
    best_grad, before, due, last = grad, z, checkpoints(steps), 0
    for i in range(steps):
        kept = search.leave(search.unusable(value, grad))
        if kept is not None:
            z, before, grad, best_grad, state = z[kept], before[kept], grad[kept], best_grad[kept], state.at(kept)
        if not len(z):
            return
        moved, before = z - before, z
        uphill = grad.sign() if search.domain.p == math.inf else unit(grad)
        ahead = project(search.domain, z + _column(state.size) * uphill)
        share = _MOMENTUM if i else 1.0
        z = project(search.domain, z + (ahead - z) * share + moved * (1 - share))
        value, grad = search.ask(z)
        search.step()
        state.count(value)
        best_grad = torch.where(search.current.view(-1, 1, 1, 1), grad, best_grad)
        if i + 1 in due:
            back = _column(state.check(search.best_value, i + 1 - last, 0.5))
            z, grad = torch.where(back, search.best, z), torch.where(back, best_grad, grad)
            last = i + 1
    search.note_gap(search.gap_at(search.best, best_grad), everywhere=True)


def _climb_l1(search: SearchState, z: Tensor, steps: int) -> None:
    value, grad = search.ask(z)
    entries = z[0].numel()
    eps = search.domain.eps.to(value.dtype)
    size, top = eps.clone(), torch.full_like(eps, _SPARSE_START * entries)
    changed = top.clone()
    best_grad, every = grad, max(int(0.04 * steps), 1)
    for i in range(steps):
        kept = search.leave(search.unusable(value, grad))
        if kept is not None:
            z, grad, best_grad = z[kept], grad[kept], best_grad[kept]
            eps, size, top, changed = eps[kept], size[kept], top[kept], changed[kept]
        if not len(z):
            return
        chosen = _largest(grad, top)
        signs = grad.sign() * chosen
        length = signs.abs().flatten(1).sum(1).clamp_min(1e-10)
        z = project(search.domain, z + signs * _column(size / length))
        value, grad = search.ask(z)
        search.step()
        best_grad = torch.where(search.current.view(-1, 1, 1, 1), grad, best_grad)
        if (i + 1) % every == 0:
            found = ((search.best - search.domain.x) != 0).flatten(1).sum(1).to(eps.dtype)
            sparser = found / changed.clamp_min(1) < 0.95
            top, changed = found / _SPARSE_DIVISOR, found
            size = torch.where(sparser, eps, size / _SPARSE_DIVISOR).clamp_min(_LEAST_STEP * eps).minimum(eps)
            back = _column(sparser)
            z, grad = torch.where(back, search.best, z), torch.where(back, best_grad, grad)
    search.note_gap(search.gap_at(search.best, best_grad), everywhere=True)


def _largest(grad: Tensor, count: Tensor) -> Tensor:
    """Select the ``count`` (n,) largest entries of each gradient.

    Returns (n, C, H, W) bool; entries are compared by absolute value, and ties are included.
    """
    size = grad.abs().flatten(1)
    ordered = size.sort(1).values
    at = ((1 - count / size.shape[1]) * size.shape[1]).long().clamp(0, size.shape[1] - 1)
    return (size >= ordered.gather(1, at[:, None])).view_as(grad)


def _column(values: Tensor) -> Tensor:
    """Reshape values to (n, 1, 1, 1), float64 converted to float32."""
    return (values.float() if values.dtype == torch.float64 else values).view(-1, 1, 1, 1)
