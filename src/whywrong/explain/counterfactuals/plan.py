"""What a call searches and what the searches gave, one entry a target and radius, in the order of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.counterfactuals.result import SMALLEST
from whywrong.explain.counterfactuals.solvers.search_state import ENDINGS, SearchResult
from whywrong.explain.counterfactuals.solvers.smallest import Smallest


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to search, one entry a target and radius: rows (E,), roles, targets (E,), radii (E,) float64."""

    row: Tensor
    role: tuple[str, ...]
    target: Tensor
    eps: Tensor

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the searches found for a plan, one entry each."""

    z: Tensor
    logits: Tensor
    gap: Tensor
    steps: Tensor
    ending: tuple[str, ...]
    trajectory: tuple[tuple[float, ...], ...]


def found_of(parts: Sequence[SearchResult], classes: int) -> Found:
    """The results of one or more searches, one behind the other; ``classes`` is K."""
    ending = torch.cat([part.ending for part in parts]).tolist()
    ways = [line for part in parts for line in part.trajectory.tolist()]
    return Found(
        z=torch.cat([part.z for part in parts]),
        logits=torch.cat([_logits(part, classes) for part in parts]),
        gap=torch.cat([part.gap for part in parts]),
        steps=torch.cat([part.steps for part in parts]),
        ending=tuple(ENDINGS[i] for i in ending),
        trajectory=tuple(tuple(v for v in line if v == v) for line in ways),  # NaN once a row has left
    )


def _logits(part: SearchResult, classes: int) -> Tensor:
    if part.logits.shape[1] == classes:
        return part.logits
    return part.z.new_full((len(part.z), classes), torch.nan)  # no row had a finite value


def joined(one: SearchResult, other: SearchResult, order: Tensor) -> SearchResult:
    """Two results as one, in ``order``; the shorter trajectories end in NaN."""
    longest = max(one.trajectory.shape[1], other.trajectory.shape[1])

    def join(name: str) -> Tensor:
        parts: Sequence[Tensor] = (getattr(one, name), getattr(other, name))
        if name == "trajectory":
            parts = [torch.nn.functional.pad(t, (0, longest - t.shape[1]), value=torch.nan) for t in parts]
        return torch.cat(list(parts))[order]

    return SearchResult(**{name: join(name) for name in SearchResult.__slots__})


def extended(plan: Plan, found: Found, at: Tensor, small: Smallest) -> tuple[Plan, Found]:
    """The plan and its answers with the smallest counterfactuals of entries ``at``, each behind those of its image."""
    logits, radius = small.logits, small.radius
    if not logits.shape[1]:  # nothing was found
        logits = found.logits.new_full((len(at), found.logits.shape[1]), torch.nan)
    rows = torch.cat([plan.row, plan.row[at]])
    order = rows.argsort(stable=True)

    def both(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other.to(one.dtype)])[order]

    def texts(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
        whole = [*one, *other]
        return tuple(whole[i] for i in order.tolist())

    ways = [*found.trajectory, *[()] * len(at)]
    return (
        Plan(
            row=rows[order],
            role=texts(plan.role, [SMALLEST] * len(at)),
            target=both(plan.target, plan.target[at]),
            eps=both(plan.eps, radius),
        ),
        Found(
            z=both(found.z, small.z),
            logits=both(found.logits, logits),
            gap=both(found.gap, torch.full_like(radius, torch.nan)),
            steps=both(found.steps, torch.zeros_like(at)),
            ending=texts(found.ending, ["found" if good else "not_found" for good in small.found.tolist()]),
            trajectory=tuple(ways[i] for i in order.tolist()),
        ),
    )
