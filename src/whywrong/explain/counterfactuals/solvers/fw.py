"""Frank-Wolfe with momentum and a linearly decreasing step, the default solver.

    m_i = beta m_(i-1) + (1 - beta) g_i,  v_i = argmax over the domain of <m_i, v>,  z_(i+1) = z_i + s_i (v_i - z_i)

with s_i = max(1 - i/n, 0.02) and m_0 = g_0. The first step has length 1, which solves a linear objective; a warm start
takes shorter steps. All iterates lie in the domain without projection. The last point is pushed straight away from the
image onto the surface of the ball, since a convex combination of points on the surface lies inside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.explain.counterfactuals.solvers.search_state import ENDINGS, SearchState, inner

_LEAST_STEP = 0.02


def frank_wolfe(state: SearchState, z: Tensor, steps: int, *, momentum: float, first_step: float = 1.0) -> None:
    """Search from ``z`` (B, C, H, W), a point of the domain.

    Takes ``steps`` gradients, and one at the last point.
    """
    smooth = torch.empty(0)
    for i in range(steps):
        value, grad = state.ask(z)
        ending = state.unusable(value, grad)
        ending[state.confident() & (ending < 0)] = ENDINGS.index("confident")
        kept = _leave(state, ending, z, grad)
        if kept is not None:
            z, grad = z[kept], grad[kept]
            smooth = smooth[kept] if i else smooth
        if not len(z):
            return
        smooth = grad if i == 0 else smooth.lerp_(grad, 1 - momentum) if i > 1 else smooth.lerp(grad, 1 - momentum)
        vertex, _ = state.domain.best(smooth)
        way = vertex.sub_(z)
        closed = state.closed(inner(grad, way), z, grad)
        kept = state.leave(torch.where(closed, ENDINGS.index("stationary"), -1))
        if kept is not None:
            z, way, smooth = z[kept], way[kept], smooth[kept]
            if not len(z):
                return
        z = torch.add(z, way, alpha=max(first_step * (1 - i / steps), _LEAST_STEP)).clamp_(0, 1)
        state.step()
    z = state.domain.filled(z)
    _, grad = state.ask(z)
    state.note_gap(state.gap_at(z, grad))


def _leave(state: SearchState, ending: Tensor, z: Tensor, grad: Tensor) -> Tensor | None:
    """Remove rows that stop here.

    They keep the gap of their last point, which costs no pass.
    """
    if bool((ending == ENDINGS.index("confident")).any()):
        state.note_gap(state.gap_at(z, grad))
    return state.leave(ending)
