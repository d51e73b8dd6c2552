"""The searches of a call, for all entries of its plan and for the smallest counterfactuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.margins import best_other
from whywrong.explain.counterfactuals.objectives import JointObjective
from whywrong.explain.counterfactuals.plan import SearchPlan
from whywrong.explain.counterfactuals.result import SMALLEST
from whywrong.explain.counterfactuals.run import CounterfactualRun
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.explain.counterfactuals.solvers.search_state import ENDINGS, SearchResult
from whywrong.explain.counterfactuals.solvers.smallest import Smallest, smallest

_GROUP_NUMBERS = 20_000_000  # pixel values searched at once; a search holds about ten such tensors


@dataclass(frozen=True, slots=True, eq=False)
class SearchResults:
    """Results of the searches of a plan, one entry each."""

    z: Tensor
    logits: Tensor
    gap: Tensor
    steps: Tensor
    ending: tuple[str, ...]
    trajectory: tuple[tuple[float, ...], ...]


def run_searches(run: CounterfactualRun, plan: SearchPlan) -> tuple[SearchPlan, SearchResults]:
    """Search every entry of the plan and, if configured, the smallest counterfactuals.

    Returns:
        The plan with entries for the smallest ones, and the result of each entry.
    """
    found = _search(run, plan)
    return _smallest(run, plan, found) if run.config.smallest else (plan, found)


def _search(run: CounterfactualRun, plan: SearchPlan) -> SearchResults:
    """Search all entries in flat batches.

    With ``warm``, the largest radius is searched first.
    """
    group = max(1, _GROUP_NUMBERS // max(1, run.x[0].numel() if len(run.x) else 1))
    parts: list[SearchResult] = []
    for start in range(0, len(plan), group):
        at = torch.arange(start, min(start + group, len(plan)), device=run.x.device)
        parts.append(_group(run, plan, at))
    if not parts:
        none = run.x.new_zeros(0)
        return SearchResults(run.x[:0], run.start[:0], none.double(), none.long(), (), ())
    return _results_of(parts, run.start.shape[1])


def _group(run: CounterfactualRun, plan: SearchPlan, at: Tensor) -> SearchResult:
    radii = sorted(set(run.config.radii), reverse=True)
    if not run.config.warm or len(radii) < 2:
        return _maximize(run, plan, at, run.config.steps, None)
    from_largest = _maximize(run, plan, at[plan.eps[at] == radii[0]], run.config.steps, None)
    largest = at[plan.eps[at] == radii[0]]
    pairs = {(int(plan.row[e]), int(plan.target[e])): i for i, e in enumerate(largest.tolist())}
    rest = at[plan.eps[at] != radii[0]]
    begin = [pairs[int(plan.row[e]), int(plan.target[e])] for e in rest.tolist()]
    others = _maximize(run, plan, rest, max(1, run.config.steps // 2), from_largest.z[begin])
    order = torch.cat([largest, rest]).argsort()
    return _joined(from_largest, others, order)


def _maximize(run: CounterfactualRun, plan: SearchPlan, at: Tensor, steps: int, start: Tensor | None) -> SearchResult:
    config, rows = run.config, plan.row[at]
    objective = run.objective
    if run.joint:
        objective = JointObjective(run.classifier, _left(run, rows, plan.target[at]), config.temperature)
    found = maximize(
        objective,
        run.x[rows],
        plan.target[at],
        p=config.p,
        eps=plan.eps[at],
        steps=steps,
        mask=None if run.region is None else run.region[rows],
        keys=run.keys[rows],
        solver=config.solver,
        start=start,
        momentum=config.momentum,
        first_step=1.0 if start is None else 0.5,
        stop_conf=config.stop_conf,
        gap_tolerance=config.gap_tolerance,
    )
    run.count(rows, found.forwards, found.backwards)
    return found


def _left(run: CounterfactualRun, rows: Tensor, target: Tensor) -> Tensor:
    """Return the class that each entry leaves.

    It is the predicted class; if that is the target, the true one, or else the next best.
    """
    predicted, true = run.predicted[rows], run.y[rows]
    other = torch.where(true != target, true, best_other(run.start[rows], target))
    return torch.where(predicted != target, predicted, other)


def _smallest(run: CounterfactualRun, plan: SearchPlan, found: SearchResults) -> tuple[SearchPlan, SearchResults]:
    """Add the smallest counterfactual of images not predicted as their first target.

    It leads into that target.
    """
    firsts: dict[int, int] = {}
    for entry, row in enumerate(plan.row.tolist()):
        first = firsts.setdefault(row, entry)
        if plan.target[first] == plan.target[entry] and plan.eps[entry] > plan.eps[first]:
            firsts[row] = entry
    chosen = [e for row, e in firsts.items() if int(plan.target[e]) != int(run.predicted[row])]
    at = torch.tensor(chosen, dtype=torch.int64, device=run.x.device)
    if not len(at):
        return plan, found
    rows, config = plan.row[at], run.config
    small = smallest(
        run.boundary,
        run.x[rows],
        plan.target[at],
        p=config.p,
        eps=plan.eps[at],
        start=found.z[at],
        solves=config.smallest_solves,
        steps=config.smallest_steps,
        mask=None if run.region is None else run.region[rows],
        keys=run.keys[rows],
    )
    run.count(rows, small.forwards, small.backwards)
    return _extended(plan, found, at, small)


def _results_of(parts: Sequence[SearchResult], classes: int) -> SearchResults:
    """Concatenate the results of one or more searches, with K = ``classes``."""
    ending = torch.cat([part.ending for part in parts]).tolist()
    ways = [line for part in parts for line in part.trajectory.tolist()]
    return SearchResults(
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


def _joined(one: SearchResult, other: SearchResult, order: Tensor) -> SearchResult:
    """Merge two results in ``order``, padding shorter trajectories with NaN."""
    longest = max(one.trajectory.shape[1], other.trajectory.shape[1])

    def join(name: str) -> Tensor:
        parts: Sequence[Tensor] = (getattr(one, name), getattr(other, name))
        if name == "trajectory":
            parts = [torch.nn.functional.pad(t, (0, longest - t.shape[1]), value=torch.nan) for t in parts]
        return torch.cat(list(parts))[order]

    return SearchResult(**{name: join(name) for name in SearchResult.__slots__})


def _extended(plan: SearchPlan, found: SearchResults, at: Tensor, small: Smallest) -> tuple[SearchPlan, SearchResults]:
    """Insert the smallest counterfactuals into plan and results.

    Those of entries ``at`` follow the other entries of their image.
    """
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
        SearchPlan(
            row=rows[order],
            role=texts(plan.role, [SMALLEST] * len(at)),
            target=both(plan.target, plan.target[at]),
            eps=both(plan.eps, radius),
        ),
        SearchResults(
            z=both(found.z, small.z),
            logits=both(found.logits, logits),
            gap=both(found.gap, torch.full_like(radius, torch.nan)),
            steps=both(found.steps, torch.zeros_like(at)),
            ending=texts(found.ending, ["found" if good else "not_found" for good in small.found.tolist()]),
            trajectory=tuple(ways[i] for i in order.tolist()),
        ),
    )
