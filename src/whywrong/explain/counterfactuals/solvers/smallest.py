"""Search for the smallest ball in which the target is reached.

A search at a radius just below the smallest known one finds the best direction there. Bisection with forward passes
only then finds how far along this ray the image must move to be predicted as its target. Both steps only lower the
radius, so every intermediate result is valid, and each search is warm-started.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.counterfactuals.objectives import Objective
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.maximize import maximize

_INSIDE = (0.8, 0.9, 0.95)  # radius of the next search, as a share of the smallest known; the last one repeats
_TESTS = 5
_DOUBLINGS = 6
_FIRST_STEP = 0.5
_SAFETY = 1e-4  # share of the largest absolute logit by which the target must lead


@dataclass(frozen=True, slots=True, eq=False)
class Smallest:
    """Smallest counterfactuals, in input order.

    Attributes:
        z: (B, C, H, W), float32, predicted as the target; the image itself if none was found.
        found: (B,), bool, whether one was found.
        radius: (B,), float64, l_p norm of ``z - x``; NaN if none was found.
        logits: (B, K), at ``z``; NaN if none was found.
        forwards: (B,), int64, passes of the explained classifier.
        backwards: (B,), int64.
    """

    z: Tensor
    found: Tensor
    radius: Tensor
    logits: Tensor
    forwards: Tensor
    backwards: Tensor


def smallest(
    objective: Objective,
    x: Tensor,
    target: Tensor,
    *,
    p: float,
    eps: float | Tensor,
    start: Tensor | None = None,
    solves: int = 6,
    steps: int = 6,
    mask: Tensor | None = None,
    keys: Tensor | None = None,
) -> Smallest:
    """Find the change of smallest l_p norm that is predicted as the target.

    Args:
        objective: Objective of the searches; the margin of the target is best, since it is 0 at the decision boundary.
        x: (B, C, H, W), float32, in [0, 1].
        target: (B,), int64.
        p: Exponent, in [1, inf].
        eps: Radius of the first search, one or (B,); doubled if it is too small, up to six times.
        start: (B, C, H, W), start of the first search, such as the result at ``eps``; None starts at ``x``, and an
            image already predicted as its target then stays unchanged, at radius 0.
        solves: Searches after a first radius is known.
        steps: Steps of each search.
        mask: As for :func:`whywrong.explain.counterfactuals.solvers.maximize.search`.
        keys: As for ``mask``.
    """
    return _Hunt(objective, x, target, p, torch.as_tensor(eps, dtype=torch.float64), mask, keys).run(
        start, solves, steps
    )


class _Hunt:
    def __init__(
        self,
        objective: Objective,
        x: Tensor,
        target: Tensor,
        p: float,
        eps: Tensor,
        mask: Tensor | None,
        keys: Tensor | None,
    ) -> None:
        self.objective, self.x, self.target, self.p = objective, x, target, p
        self.mask = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        self.keys = keys
        self.eps = eps.to(x.device).expand(len(x))
        self.domain = Domain.around(x, self.eps, p, self.mask)
        self.z = x.clone()
        self.radius = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        self.logits: Tensor | None = None
        self.forwards, self.backwards = torch.zeros_like(target), torch.zeros_like(target)

    def run(self, start: Tensor | None, solves: int, steps: int) -> Smallest:
        everything = torch.arange(len(self.x), device=self.x.device)
        begin = self.x if start is None else start
        valid, logits = self._test(everything, begin)
        self._take(everything[valid], begin[valid], logits[valid])
        for doubling in range(_DOUBLINGS + 1):
            at = (~self.radius.isfinite()).nonzero().flatten()
            if not len(at):
                break
            self._solve(at, self.eps[at] * 2.0**doubling, begin, steps, first=start is None or doubling > 0)
        at = (self.radius.isfinite() & (self.radius > 0)).nonzero().flatten()
        self._shorten(at, self.z[at])
        for solve in range(solves):
            share = _INSIDE[min(solve, len(_INSIDE) - 1)]
            self._solve(at, share * self.radius[at], self.z, steps)
        found = self.radius.isfinite()
        logits = self.logits if self.logits is not None else self.x.new_zeros((len(self.x), 0))
        return Smallest(
            z=self.z,
            found=found,
            radius=self.radius.where(found, torch.nan),
            logits=logits,
            forwards=self.forwards,
            backwards=self.backwards,
        )

    def _solve(self, at: Tensor, eps: Tensor, start: Tensor, steps: int, *, first: bool = False) -> None:
        if not len(at):
            return
        found = maximize(
            self.objective,
            self.x[at],
            self.target[at],
            p=self.p,
            eps=eps,
            steps=steps,
            mask=None if self.mask is None else self.mask[at],
            keys=None if self.keys is None else self.keys[at],
            start=start[at],
            first_step=1.0 if first else _FIRST_STEP,
        )
        self.forwards[at] += found.forwards
        self.backwards[at] += found.backwards
        valid = self._reached(found.logits, self.target[at])
        better = valid & (found.norm < self.radius[at])
        self._take(at[better], found.z[better], found.logits[better])
        self._shorten(at, found.z, low=torch.where(valid, 0.0, found.norm))

    def _shorten(self, at: Tensor, ray: Tensor, low: Tensor | None = None) -> None:
        """Bisect the radius along a ray, between ``low`` and the best radius.

        The ray goes from the image through ``ray`` (n, C, H, W).
        """
        known = self.radius[at].isfinite()
        at, ray = at[known], ray[known]
        if not len(at):
            return
        high = self.radius[at].clone()
        low = torch.zeros_like(high) if low is None else low[known].clone()
        for _ in range(_TESTS):
            middle = (low + high) / 2
            z = self._along(at, ray, middle)
            valid, logits = self._test(at, z)
            norm = self.domain.at(at).norm(z)
            better = valid & (norm < self.radius[at])
            self._take(at[better], z[better], logits[better])
            low, high = torch.where(valid, low, middle), torch.where(valid, middle, high)

    def _along(self, at: Tensor, ray: Tensor, radius: Tensor) -> Tensor:
        domain = self.domain.at(at).resized(radius.clamp_min(1e-12))
        return domain.filled(domain.shrunk(ray))

    def _test(self, at: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        keys = None if self.keys is None else self.keys[at]
        _, logits = self.objective.value(z, self.target[at], keys)
        self.forwards[at] += self.objective.value_cost
        return self._reached(logits, self.target[at]), logits

    @staticmethod
    def _reached(logits: Tensor, target: Tensor) -> Tensor:
        """Test (n,) whether the target leads by more than another batch size could change."""
        own = logits.gather(1, target[:, None])[:, 0]
        others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
        return own - others > _SAFETY * logits.abs().amax(1)

    def _take(self, at: Tensor, z: Tensor, logits: Tensor) -> None:
        if self.logits is None:
            self.logits = logits.new_full((len(self.x), logits.shape[1]), torch.nan)
        self.z[at], self.logits[at] = z, logits
        self.radius[at] = self.domain.at(at).norm(z)
