"""One call of the method: which images can be searched, for which targets, and the searches themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.inverted.margin_oracle import MarginOracle
from whywrong.attacks.inverted.rounding import grey_levels, round_fix
from whywrong.core.checks import bad_rows, check_classes, check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.margins import best_other, error_margin
from whywrong.core.randomness import row_keys
from whywrong.core.status import Status
from whywrong.explain.counterfactuals.config import CounterfactualConfig, default_radius
from whywrong.explain.counterfactuals.entries import entries_of
from whywrong.explain.counterfactuals.objectives import ClassObjective, JointObjective, Objective
from whywrong.explain.counterfactuals.plan import Found, Plan, extended, found_of, joined
from whywrong.explain.counterfactuals.result import (
    RUNNER_UP,
    SMALLEST,
    TARGET,
    TRUE,
    WRONG,
    CounterfactualResult,
)
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.explain.counterfactuals.solvers.search_state import SearchResult
from whywrong.explain.counterfactuals.solvers.smallest import smallest
from whywrong.models.classifier import Classifier

_GROUP_NUMBERS = 20_000_000  # pixel values searched at once; a search holds about ten such tensors
_SAME_ANSWER = 1e-3  # difference of two answers to one image, as a share of the largest logit, that makes it random


class Session:
    """One call: the batch, what became of each image, and its passes.

    Args:
        As those of :func:`whywrong.explain.counterfactuals.counterfactual`.

    Attributes:
        x: (B, C, H, W), float32.
        y: (B,), int64, true classes.
        keys: (B,), int64.
        masks, region: (B, H, W), bool, or None.
        start: (B, K), logits of the images as they are; NaN where there are none.
        predicted: (B,), int64, class read from them; -1 where there is none.
        forwards, backwards: (B,), int64, passes so far.

    Raises:
        InputError: A shape, type or class breaks the contract.
    """

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        keys: Tensor | None,
        config: CounterfactualConfig,
        targets: Tensor | None,
        detail: Tensor | None,
        masks: Tensor | None,
        region: Tensor | None,
        objective: Objective | None,
    ) -> None:
        check_images(x, None if classifier.preprocess is None else classifier.preprocess.channels)
        self.classifier, self.config = classifier, config
        self.x, self.y = x.detach().to(torch.float32, copy=True), y
        self.targets = None if targets is None else (targets[:, None] if targets.ndim == 1 else targets)
        self._check_classes()
        if keys is not None:
            check_keys(keys, len(x))
        self.keys = row_keys(config.seed, len(x), x.device) if keys is None else keys.to(x.device)
        if detail is not None and (detail.dtype != torch.bool or detail.shape != (len(x),)):
            raise InputError(f"detail must be bool ({len(x)},), got {detail.dtype} {tuple(detail.shape)}")
        self.wanted = torch.ones(len(x), dtype=torch.bool, device=x.device) if detail is None else detail.to(x.device)
        for name, mask in (("masks", masks), ("region", region)):
            if mask is not None and (mask.dtype != torch.bool or mask.shape != (len(x), *x.shape[2:])):
                expected = (len(x), *x.shape[2:])
                raise InputError(f"{name} must be bool {expected}, got {mask.dtype} {tuple(mask.shape)}")
        self.masks, self.region = (None if mask is None else mask.to(x.device) for mask in (masks, region))
        kind = "log_probability" if config.objective == "joint" else config.objective
        self.objective = objective or ClassObjective(classifier, kind, config.temperature)
        self.joint = objective is None and config.objective == "joint"
        # The boundary is where the margin is 0: beside it the probability follows other classes too.
        self.boundary = objective or ClassObjective(classifier, "margin", config.temperature)
        self.y = y.to(x.device)
        self.status = [Status.OK] * len(x)
        self.reason: list[str | None] = [None] * len(x)
        self.forwards, self.backwards = torch.zeros_like(self.y), torch.zeros_like(self.y)
        self.start = x.new_zeros((len(x), classifier.num_classes if classifier.classes else 0), dtype=torch.float32)

    def _check_classes(self) -> None:
        known = self.classifier.num_classes if self.classifier.classes is not None else None
        check_labels(self.y, len(self.x), known)
        if known is not None:
            check_classes(known)
        if self.targets is None:
            return
        if self.targets.dtype != torch.int64 or self.targets.ndim != 2 or len(self.targets) != len(self.x):
            raise InputError(
                f"targets must be int64 ({len(self.x)},) or ({len(self.x)}, T), got {self.targets.dtype} "
                f"{tuple(self.targets.shape)}"
            )
        for column in self.targets.unbind(1):
            check_labels(column.clamp_min(0).where(column >= -1, column), len(self.x), known, what="target")

    def run(self) -> CounterfactualResult:
        """Look at the images, search, and put together what came of it."""
        rows = self._begin()
        plan = self._plan(rows)
        found = self._search(plan)
        if self.config.smallest:
            plan, found = self._smallest(plan, found)
        self._judge_rows(rows, plan, found)
        z_u8, u8 = self._stored(plan, found)
        return CounterfactualResult(
            status=tuple(self.status),
            reason=tuple(self.reason),
            predicted_start=self.predicted,
            p=self.config.p,
            temperature=self.objective.temperature,
            guided_by=None,
            x=self.x,
            entries=entries_of(self, plan, found, z_u8, u8),
            forwards=self.forwards,
            backwards=self.backwards,
        )

    def _begin(self) -> Tensor:
        """Send the images as they are; rows (n,) to go on with."""
        bad = bad_rows(self.x)
        for row in bad.nonzero().flatten().tolist():
            self._refuse(row, Status.BAD_INPUT, "pixels are not finite or outside [0, 1]")
        self.predicted = torch.full_like(self.y, -1)
        for row in (~bad & ~self.wanted).nonzero().flatten().tolist():
            self._refuse(row, Status.SKIPPED, "only some errors are explained in full")
        rows = (~bad & self.wanted).nonzero().flatten()
        if not len(rows):
            return rows
        self.x[rows] = self.x[rows].clamp(0, 1)
        logits = self.classifier.logits(self.x[rows])
        self._check_classes()
        self.forwards[rows] += 1
        self.start = self.x.new_full((len(self.x), logits.shape[1]), torch.nan)
        self.start[rows] = logits
        silent = ~logits.isfinite().all(1)
        for row in rows[silent].tolist():
            self._refuse(row, Status.REFUSED, "the model returned NaN or infinite scores")
        rows = rows[~silent]
        self.predicted[rows] = self.start[rows].argmax(1)
        return rows

    def _refuse(self, row: int, status: Status, reason: str) -> None:
        self.status[row], self.reason[row] = status, reason

    # What to search.

    def _plan(self, rows: Tensor) -> Plan:
        entries = self.x[0].numel() if len(self.x) else 1
        radii = self.config.radii or (default_radius(self.config.p, entries),)
        wanted: list[tuple[int, str, int, float]] = []
        runner_up = best_other(self.start, self.y).tolist() if len(rows) else []
        for row in rows.tolist():
            for role, target in self._targets(row, runner_up[row]):
                wanted += [(row, role, target, radius) for radius in radii]
        columns = list(zip(*wanted, strict=True)) if wanted else [(), (), (), ()]
        device = self.x.device
        return Plan(
            row=torch.tensor(columns[0], dtype=torch.int64, device=device),
            role=tuple(columns[1]),
            target=torch.tensor(columns[2], dtype=torch.int64, device=device),
            eps=torch.tensor(columns[3], dtype=torch.float64, device=device),
        )

    def _targets(self, row: int, runner_up: int) -> list[tuple[str, int]]:
        """Roles and classes for an image; ``runner_up`` is its best class but the true one."""
        true, predicted = int(self.y[row]), int(self.predicted[row])
        names = {predicted: WRONG, true: TRUE}  # of an image that is right, its class is the true one
        if self.targets is not None:
            asked = dict.fromkeys(t for t in self.targets[row].tolist() if t >= 0)
            return [(names.get(target, TARGET), target) for target in asked]
        if true != predicted:
            return [(TRUE, true), (WRONG, predicted)]
        return [(RUNNER_UP, runner_up), (TRUE, true)]

    # Searching.

    def _search(self, plan: Plan) -> Found:
        """All entries in flat batches; with ``warm``, the largest radius first."""
        group = max(1, _GROUP_NUMBERS // max(1, self.x[0].numel() if len(self.x) else 1))
        parts: list[SearchResult] = []
        for start in range(0, len(plan), group):
            at = torch.arange(start, min(start + group, len(plan)), device=self.x.device)
            parts.append(self._search_group(plan, at))
        if not parts:
            none = self.x.new_zeros(0)
            return Found(self.x[:0], self.start[:0], none.double(), none.long(), (), ())
        return found_of(parts, self.start.shape[1])

    def _search_group(self, plan: Plan, at: Tensor) -> SearchResult:
        radii = sorted(set(self.config.radii), reverse=True)
        if not self.config.warm or len(radii) < 2:
            return self._climb(plan, at, self.config.steps, None)
        from_largest = self._climb(plan, at[plan.eps[at] == radii[0]], self.config.steps, None)
        largest = at[plan.eps[at] == radii[0]]
        pairs = {(int(plan.row[e]), int(plan.target[e])): i for i, e in enumerate(largest.tolist())}
        rest = at[plan.eps[at] != radii[0]]
        begin = [pairs[int(plan.row[e]), int(plan.target[e])] for e in rest.tolist()]
        others = self._climb(plan, rest, max(1, self.config.steps // 2), from_largest.z[begin])
        order = torch.cat([largest, rest]).argsort()
        return joined(from_largest, others, order)

    def _climb(self, plan: Plan, at: Tensor, steps: int, start: Tensor | None) -> SearchResult:
        config, rows = self.config, plan.row[at]
        objective = self.objective
        if self.joint:
            objective = JointObjective(self.classifier, self._left(rows, plan.target[at]), config.temperature)
        found = maximize(
            objective,
            self.x[rows],
            plan.target[at],
            p=config.p,
            eps=plan.eps[at],
            steps=steps,
            mask=None if self.region is None else self.region[rows],
            keys=self.keys[rows],
            solver=config.solver,
            start=start,
            momentum=config.momentum,
            first_step=1.0 if start is None else 0.5,
            stop_conf=config.stop_conf,
            gap_tolerance=config.gap_tolerance,
        )
        self.forwards.index_add_(0, rows, found.forwards)
        self.backwards.index_add_(0, rows, found.backwards)
        return found

    def _left(self, rows: Tensor, target: Tensor) -> Tensor:
        """The class that each entry leaves: the predicted one; deeper into that the true one, or the next best."""
        predicted, true = self.predicted[rows], self.y[rows]
        other = torch.where(true != target, true, best_other(self.start[rows], target))
        return torch.where(predicted != target, predicted, other)

    def _smallest(self, plan: Plan, found: Found) -> tuple[Plan, Found]:
        """Add, for every image whose first target is not its class yet, the smallest counterfactual into it."""
        firsts: dict[int, int] = {}
        for entry, row in enumerate(plan.row.tolist()):
            first = firsts.setdefault(row, entry)
            if plan.target[first] == plan.target[entry] and plan.eps[entry] > plan.eps[first]:
                firsts[row] = entry
        chosen = [e for row, e in firsts.items() if int(plan.target[e]) != int(self.predicted[row])]
        at = torch.tensor(chosen, dtype=torch.int64, device=self.x.device)
        if not len(at):
            return plan, found
        rows, config = plan.row[at], self.config
        small = smallest(
            self.boundary,
            self.x[rows],
            plan.target[at],
            p=config.p,
            eps=plan.eps[at],
            start=found.z[at],
            solves=config.smallest_solves,
            steps=config.smallest_steps,
            mask=None if self.region is None else self.region[rows],
            keys=self.keys[rows],
        )
        self.forwards.index_add_(0, rows, small.forwards)
        self.backwards.index_add_(0, rows, small.backwards)
        return extended(plan, found, at, small)

    def _judge_rows(self, rows: Tensor, plan: Plan, found: Found) -> None:
        """Refuse images that no search could move, and those to which the classifier answers at random."""
        stuck: dict[int, set[str]] = {row: set() for row in rows.tolist()}
        random: set[int] = set()
        for entry, row in enumerate(plan.row.tolist()):
            stuck[row].add(found.ending[entry])
            way, target = found.trajectory[entry], int(plan.target[entry])
            if way and self.config.solver == "fw" and not self.config.warm:
                scaled = self.start[row].double() / self.objective.temperature
                first = float(scaled.log_softmax(0)[target])
                if abs(first - way[0]) > _SAME_ANSWER * (1 + float(scaled.abs().max())):
                    random.add(row)
        for row, endings in stuck.items():
            if row in random:
                self._refuse(row, Status.REFUSED, "the classifier gives different answers to the same image")
            elif endings and endings <= {"no_gradient", "not_found"}:
                self._refuse(row, Status.REFUSED, "the gradient is zero: no direction raises the target")
            elif endings and endings <= {"non_finite", "not_found"}:
                self._refuse(row, Status.REFUSED, "the gradient is not finite")
        whole = self.x[0].numel() ** (1 / self.config.p) if len(self.x) else 0.0
        if self.config.radii and max(self.config.radii) >= whole:
            note = f"a ball of radius {max(self.config.radii):g} holds every image: only the pixel range is a bound"
            self.reason = [note if s == Status.OK else r for s, r in zip(self.status, self.reason, strict=True)]

    # The stored pictures.

    def _stored(self, plan: Plan, found: Found) -> tuple[Tensor, Tensor]:
        """Pictures of whole grey levels (E, C, H, W) uint8, and their logits (E, K).

        The smallest changes are mostly below half a grey level: they are rounded away from the image.
        """
        levels = grey_levels(found.z)
        small = [e for e, role in enumerate(plan.role) if role == SMALLEST and found.ending[e] == "found"]
        if small:
            at = torch.tensor(small, dtype=torch.int64, device=self.x.device)
            levels[at] = self._rounded_away(plan, found, at)
        if not len(plan):
            return levels, self.start[:0]
        logits = self.classifier.logits(levels.float() / 255)
        self.forwards.index_add_(0, plan.row, torch.ones_like(plan.row))
        return levels, logits

    def _rounded_away(self, plan: Plan, found: Found, at: Tensor) -> Tensor:
        x = self.x[plan.row[at]]
        oracle = MarginOracle(self.classifier, plan.target[at], 1e-5)
        own = torch.arange(len(at), device=self.x.device)
        points = oracle.linearise(own, found.z[at])
        margin = error_margin(self.start[plan.row[at]], plan.target[at])
        assert points.grad is not None
        levels, _ = round_fix(oracle, own, x, found.z[at] - x, points.grad, margin, self.keys[plan.row[at]])
        self.forwards.index_add_(0, plan.row[at], oracle.forwards)
        self.backwards.index_add_(0, plan.row[at], oracle.backwards)
        return levels
