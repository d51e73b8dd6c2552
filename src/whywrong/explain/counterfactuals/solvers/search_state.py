"""State of the active rows of a counterfactual search.

All solvers move points inside a :class:`Domain` and evaluate an objective through one :class:`SearchState`, which
counts passes by row, keeps the best iterate, logs the trajectory, and removes finished rows from the flat batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.counterfactuals.objectives import Objective, at_rows, log_probability
from whywrong.explain.counterfactuals.solvers.domain import Domain

ENDINGS = ("steps", "confident", "stationary", "no_gradient", "non_finite")


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The best points of a search, one row per (image, target, radius), in input order.

    Attributes:
        z: (B, C, H, W), float32, the best iterate: in [0, 1], in the ball, unchanged outside the region.
        value: (B,), float32, objective at ``z``; NaN if the objective was never finite.
        logits: (B, K), float32, of the explained classifier at ``z``.
        gap: (B,), float64, Frank-Wolfe gap at ``z``: 0 exactly at stationary points, and for a concave objective an
            upper bound on the remaining gain; NaN if a value or gradient was not finite.
        norm: (B,), float64, l_p norm of ``z - x``.
        trajectory: (B, T), float32, log-probability of the target at the iterates in order; NaN once a row has stopped.
            The last point of the default solver is the one pushed to the surface of the ball.
        steps: (B,), int64, steps taken.
        ending: (B,), int64, index into :data:`ENDINGS`: all steps taken, confident enough, gap below tolerance, no
            gradient at the start, a value or gradient that is not finite.
        forwards: (B,), int64, passes of the explained classifier.
        backwards: (B,), int64.
    """

    z: Tensor
    value: Tensor
    logits: Tensor
    gap: Tensor
    norm: Tensor
    trajectory: Tensor
    steps: Tensor
    ending: Tensor
    forwards: Tensor
    backwards: Tensor


class SearchState:
    """A search over a flat batch.

    Args:
        objective: Objective to maximise.
        domain: Domain of the points.
        target: (B,), int64.
        keys: (B,), int64, or None.
        points: Maximum number of iterates per row; sets the size of the log.
        stop_conf: Rows stop once they are predicted as their target with at least this probability; None never stops
            early.
        gap_tolerance: Rows stop once their gap is at most this share of the largest gap so far; 0 never stops early.

    Attributes:
        rows: (n,), int64, active rows of the batch; the fields below have one entry per active row.
        domain: Domain of each active row.
        best, best_value: Best iterate of each active row and its value.
        current: (n,), bool, whether the best iterate is the last one evaluated.
    """

    def __init__(
        self,
        objective: Objective,
        domain: Domain,
        target: Tensor,
        keys: Tensor | None,
        *,
        points: int,
        stop_conf: float | None,
        gap_tolerance: float,
    ) -> None:
        batch, device = len(domain.x), domain.x.device
        self.objective, self.domain, self._whole = objective, domain, domain
        self.rows = torch.arange(batch, device=device)
        self._target, self._keys = target, keys
        self._stop_conf, self.gap_tolerance = stop_conf, gap_tolerance
        self.best = domain.x
        self.best_value = torch.full((batch,), -torch.inf, device=device)
        self._best_logits: Tensor | None = None
        self._largest_gap = torch.zeros(batch, dtype=torch.float64, device=device)
        self.current = torch.zeros(batch, dtype=torch.bool, device=device)
        self._trajectory = torch.full((batch, points), torch.nan, device=device)
        self._asked = torch.zeros(batch, dtype=torch.int64, device=device)
        self._steps, self._ending = torch.zeros_like(self._asked), torch.zeros_like(self._asked)
        self._forwards, self._backwards = torch.zeros_like(self._asked), torch.zeros_like(self._asked)
        self._gap = torch.full((batch,), torch.nan, dtype=torch.float64, device=device)
        self._z, self._value = domain.x.clone(), torch.full((batch,), torch.nan, device=device)
        self._logits: Tensor | None = None

    # Evaluation.

    def ask(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate value (n,) and gradient (n, C, H, W) at one point ``z`` per active row."""
        value, grad, logits = self.objective.gradient(z, self._target, self._keys)
        self._count(*self.objective.gradient_cost)
        self._keep(z, value, logits)
        return value, grad.contiguous()

    def _count(self, forwards: int, backwards: int) -> None:
        self._forwards[self.rows] += forwards
        self._backwards[self.rows] += backwards

    def _keep(self, z: Tensor, value: Tensor, logits: Tensor) -> None:
        log_p = log_probability(logits, self._target, self.objective.temperature)
        self._trajectory[self.rows, self._asked[self.rows]] = log_p
        self._asked[self.rows] += 1
        better = (value > self.best_value) & value.isfinite()
        self.current = better
        if self._best_logits is None or bool(better.all()):
            self.best, self.best_value, self._best_logits = z, value.where(better, -torch.inf), logits
            return
        self.best = torch.where(better.view(-1, 1, 1, 1), z, self.best)
        self.best_value = torch.where(better, value, self.best_value)
        self._best_logits = torch.where(better[:, None], logits, self._best_logits)

    # Finished rows.

    def unusable(self, value: Tensor, grad: Tensor) -> Tensor:
        """Return the ending (n,) int64 of rows that cannot continue, -1 for the others."""
        peak = grad.flatten(1).abs().amax(1)
        broken = ~(peak.isfinite() & value.isfinite())
        flat = (peak == 0) & (self._steps[self.rows] == 0)
        ending = torch.full_like(self.rows, -1)
        ending[(peak == 0) & ~flat] = ENDINGS.index("stationary")
        ending[flat] = ENDINGS.index("no_gradient")
        ending[broken] = ENDINGS.index("non_finite")
        self._gap[self.rows[(peak == 0) & self.current]] = 0.0
        return ending

    def confident(self) -> Tensor:
        """Select rows that are predicted as their target with enough probability.

        Returns (n,) bool; the last point must be the best one.
        """
        if self._stop_conf is None:
            return torch.zeros_like(self.current)
        assert self._best_logits is not None
        log_p = log_probability(self._best_logits, self._target, self.objective.temperature)
        valid = self._best_logits.argmax(1) == self._target
        return self.current & valid & (log_p.exp() >= self._stop_conf)

    def gap_at(self, z: Tensor, grad: Tensor, rows: Tensor | None = None) -> Tensor:
        """Compute the Frank-Wolfe gap <grad, v - z> at points of the active rows.

        Returns (n,) float64, for all active rows or for some of them.
        """
        domain = self.domain if rows is None else self.domain.at(rows)
        vertex, _ = domain.best(grad)
        return inner(grad, vertex - z).clamp_min_(0)

    def closed(self, gain: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """Select rows (n,) whose gap is below the tolerance.

        Args:
            gain: (n,), float64, <grad, v - z> for the vertex of the step: a lower bound of the gap, and cheap.
            z: (n, C, H, W), points.
            grad: (n, C, H, W), gradients there.
        """
        if not self.gap_tolerance:
            return torch.zeros_like(self.current)
        self._largest_gap = torch.maximum(self._largest_gap, gain)
        closed = gain <= self.gap_tolerance * self._largest_gap
        if bool(closed.any()):
            at = closed.nonzero().flatten()
            gap = self.gap_at(z[at], grad[at], at)
            closed[at] = gap <= self.gap_tolerance * self._largest_gap[at]
            here = at[self.current[at]]
            self._gap[self.rows[here]] = gap[self.current[at]]
        return closed

    def step(self) -> None:
        """Count a step of every active row."""
        self._steps[self.rows] += 1

    def leave(self, ending: Tensor) -> Tensor | None:
        """Remove rows with ``ending`` (n,) of 0 or more from the active batch.

        Returns the indices (m,) of the rows that remain, or None if all do.
        """
        gone = ending >= 0
        if not bool(gone.any()):
            return None
        unknown = gone & (ending != ENDINGS.index("non_finite")) & self._gap[self.rows].isnan()
        if bool(unknown.any()):  # an earlier iterate was the best
            self._measure(unknown.nonzero().flatten())
        self._store(gone.nonzero().flatten())
        self._ending[self.rows[gone]] = ending[gone]
        stay = (~gone).nonzero().flatten()
        self.rows, self.domain, self.current = self.rows[stay], self.domain.at(stay), self.current[stay]
        self._target, self.objective = self._target[stay], at_rows(self.objective, stay)
        self._keys = None if self._keys is None else self._keys[stay]
        self.best, self.best_value = self.best[stay], self.best_value[stay]
        self._largest_gap = self._largest_gap[stay]
        if self._best_logits is not None:
            self._best_logits = self._best_logits[stay]
        return stay

    def note_gap(self, gap: Tensor, *, everywhere: bool = False) -> None:
        """Store gaps (n,) of the rows whose last point is their best.

        The gaps of all rows are stored if they are those of the best points.
        """
        known = torch.ones_like(self.current) if everywhere else self.current
        self._gap[self.rows[known]] = gap[known]

    def _store(self, at: Tensor) -> None:
        if self._best_logits is None:
            return
        if self._logits is None:
            shape = (len(self._z), self._best_logits.shape[1])
            self._logits = torch.full(shape, torch.nan, device=self._z.device)
        rows = self.rows[at]
        self._z[rows] = self.best[at]
        self._logits[rows] = self._best_logits[at].to(self._logits.dtype)
        self._value[rows] = self.best_value[at].where(self.best_value[at] > -torch.inf, torch.nan)

    def finish(self) -> SearchResult:
        """Close the search and mark every remaining row as having taken all its steps."""
        self.leave(torch.zeros_like(self.rows))
        logits = self._logits if self._logits is not None else self._z.new_zeros((len(self._z), 0))
        return SearchResult(
            z=self._z,
            value=self._value,
            logits=logits,
            gap=self._gap,
            norm=self._whole.norm(self._z),
            trajectory=self._trajectory,
            steps=self._steps,
            ending=self._ending,
            forwards=self._forwards,
            backwards=self._backwards,
        )

    def _measure(self, at: Tensor) -> None:
        """Compute the gap at the best points of some rows.

        This takes one more forward and backward pass per row.
        """
        keys = None if self._keys is None else self._keys[at]
        objective = at_rows(self.objective, at)
        _, grad, _ = objective.gradient(self.best[at], self._target[at], keys)
        forwards, backwards = self.objective.gradient_cost
        self._forwards[self.rows[at]] += forwards
        self._backwards[self.rows[at]] += backwards
        self._gap[self.rows[at]] = self.gap_at(self.best[at], grad.contiguous(), at)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Compute the inner products (n,) of the rows of two (n, C, H, W), in float64.

    Sums of blocks are accumulated in float64.
    """
    a, b = a.flatten(1), b.flatten(1)
    block = 1024
    whole = a.shape[1] // block * block
    parts = (
        torch.linalg.vecdot(a[:, :whole].unflatten(1, (-1, block)), b[:, :whole].unflatten(1, (-1, block)))
        if whole
        else a[:, :0]
    )
    return parts.sum(1, dtype=torch.float64) + torch.linalg.vecdot(a[:, whole:], b[:, whole:]).double()
