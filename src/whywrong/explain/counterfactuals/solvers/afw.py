"""Auto-Frank-Wolfe in its two published versions, for reproduction.

Version 1: step 0.75, halved at checkpoints. Version 2: step a / (sqrt(i) + 2) with a = 2, multiplied by 0.75 there.
Both start at a random vertex, use the plain gradient, and restart flagged rows from their best iterate.

Source: Boreiko, Augustin, Croce, Berens and Hein 2022, arXiv 2205.07972, as in its code and that of the follow-up,
arXiv 2210.11841. Differences: the oracle is exact at any scale of the gradient, where the published one
returns zero below 1e-9, so that version 2 need not double the temperature of rows with small gradients; rows whose
gradient is zero or not finite stop.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.schedule import Schedule, checkpoints
from whywrong.explain.counterfactuals.solvers.search_state import SearchState

_FIRST_STEP = {"afw-v1": 0.75, "afw-v2": 2.0}
_FACTOR = {"afw-v1": 0.5, "afw-v2": 0.75}


def random_vertex(domain: Domain, keys: Tensor) -> Tensor:
    """Return the point of each domain that is farthest along a random direction.

    Points are (B, C, H, W); directions are normal draws seeded by ``keys`` (B,).
    """
    return domain.best(keyed_normal(keys, domain.x.shape[1:]))[0]


def auto_frank_wolfe(search: SearchState, z: Tensor, steps: int, version: Literal["afw-v1", "afw-v2"]) -> None:
    """Search from ``z`` (B, C, H, W), a point of the domain.

    Takes ``steps`` + 1 gradients per row.
    """
    value, grad = search.ask(z)
    state = Schedule.start(torch.full_like(value, _FIRST_STEP[version]), value)
    best_grad, due, last = grad, checkpoints(steps), 0
    for i in range(steps):
        kept = search.leave(search.unusable(value, grad))
        if kept is not None:
            z, grad, best_grad, state = z[kept], grad[kept], best_grad[kept], state.at(kept)
        if not len(z):
            return
        step = state.size if version == "afw-v1" else state.size / (i**0.5 + 2)
        vertex, _ = search.domain.best(grad)
        z = torch.lerp(z, vertex, step.view(-1, 1, 1, 1)).clamp_(0, 1)
        value, grad = search.ask(z)
        search.step()
        state.count(value)
        best_grad = torch.where(search.current.view(-1, 1, 1, 1), grad, best_grad)
        if i + 1 in due:
            back = state.check(search.best_value, i + 1 - last, _FACTOR[version]).view(-1, 1, 1, 1)
            z, grad = torch.where(back, search.best, z), torch.where(back, best_grad, grad)
            last = i + 1
    search.note_gap(search.gap_at(search.best, best_grad), everywhere=True)
