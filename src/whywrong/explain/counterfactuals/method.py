"""Counterfactuals of a batch: targets by default, one flat search, and what became of every image.

Source: Boreiko, Augustin, Croce, Berens and Hein 2022, arXiv 2205.07972; the solver, the oracle at every p and the
smallest radius are ours (docs/methods/counterfactuals.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.attacks.inverted.ledger import Ledger
from whywrong.attacks.inverted.rounding import grey_levels, round_fix
from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_classes, check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.margins import best_other, error_margin
from whywrong.core.randomness import row_keys
from whywrong.explain.counterfactuals.climb import ENDINGS, SearchResult
from whywrong.explain.counterfactuals.config import CounterfactualConfig, default_radius
from whywrong.explain.counterfactuals.lmo import lp_norm
from whywrong.explain.counterfactuals.metrics import changed_share, mass_inside, pix90
from whywrong.explain.counterfactuals.objectives import ClassObjective, Objective
from whywrong.explain.counterfactuals.result import (
    BAD_INPUT,
    NO_ANSWER,
    OK,
    REFUSED,
    RUNNER_UP,
    SMALLEST,
    TARGET,
    TRUE,
    UNCHECKED,
    WRONG,
    CounterfactualResult,
    Entries,
)
from whywrong.explain.counterfactuals.search import search
from whywrong.explain.counterfactuals.smallest import smallest
from whywrong.explain.counterfactuals.trust import TrustConfig, trust
from whywrong.models.classifier import Classifier

_GROUP_NUMBERS = 20_000_000  # pixels values searched at once; a search holds about ten such tensors
_SAME_ANSWER = 1e-3  # difference of two answers to one image, as a share of the largest logit, that makes it random


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What to search, one entry a target and radius: rows (E,), roles, targets (E,), radii (E,) float64."""

    row: Tensor
    role: tuple[str, ...]
    target: Tensor
    eps: Tensor

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What the searches found for a plan, one entry each."""

    z: Tensor
    logits: Tensor
    gap: Tensor
    steps: Tensor
    ending: tuple[str, ...]
    trajectory: tuple[tuple[float, ...], ...]


def counterfactual(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    config: CounterfactualConfig | None = None,
    targets: Tensor | None = None,
    masks: Tensor | None = None,
    region: Tensor | None = None,
    objective: Objective | None = None,
    judges: Sequence[Classifier] = (),
    plain: Sequence[Classifier] = (),
    aux: Classifier | None = None,
) -> CounterfactualResult:
    """Change images visibly, within a ball, so that the classifier is as sure as can be of a class.

    By default an image that is wrong gets two counterfactuals: into its true class, and deeper into the class that was
    predicted. An image that is right gets one deeper into its class, and one into the runner-up.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); grants gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64, in 0..K-1.
        keys: Seeds of random starts, (B,), int64; default (config.seed, row).
        config: Settings; default :class:`CounterfactualConfig`.
        targets: Classes to reach instead, (B,) or (B, T), int64; -1 is an empty place.
        masks: (B, H, W), bool, the object; all False where unknown. The share of the change on it is reported.
        region: (B, H, W), bool, where the image may change; default everywhere.
        objective: What is raised instead of that of the config, such as one with guidance by another model. Its passes
            of this classifier are counted.
        judges: Independent classifiers that say whether the change means something to them; without any, no
            counterfactual is called semantic.
        plain: Ordinary classifiers, neither explained nor judging, whose counterfactuals are the judges' controls.
        aux: The auxiliary classifier inside ``objective``, which may not judge.

    Returns:
        Counterfactuals with their probabilities, sizes and Frank-Wolfe gaps. Passes: one forward as it is; a search,
        one forward and one backward a step and one more of both at its end; one forward for the stored picture.

    Raises:
        InputError: A shape, type, class or setting breaks the contract above.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or CounterfactualConfig()
    classifier.require(Access.GRADIENTS, "a counterfactual")
    with classifier:
        result = _Session(classifier, x, y, keys, config, targets, masks, region, objective).run()
        if config.trust:
            keys = row_keys(config.seed, len(x), x.device) if keys is None else keys.to(x.device)
            return _trusted(result, classifier, keys, judges, plain, aux, config, guided=objective is not None)
        return result


class _Session:
    """One call: the batch, and the passes of each image."""

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        keys: Tensor | None,
        config: CounterfactualConfig,
        targets: Tensor | None,
        masks: Tensor | None,
        region: Tensor | None,
        objective: Objective | None,
    ) -> None:
        check_images(x)
        self.classifier, self.config = classifier, config
        self.x, self.y = x.detach().float(), y
        self.targets = None if targets is None else (targets[:, None] if targets.ndim == 1 else targets)
        self._check_classes()
        if keys is not None:
            check_keys(keys, len(x))
        self.keys = row_keys(config.seed, len(x), x.device) if keys is None else keys.to(x.device)
        for name, mask in (("masks", masks), ("region", region)):
            if mask is not None and (mask.dtype != torch.bool or mask.shape != (len(x), *x.shape[2:])):
                expected = (len(x), *x.shape[2:])
                raise InputError(f"{name} must be bool {expected}, got {mask.dtype} {tuple(mask.shape)}")
        self.masks, self.region = (None if mask is None else mask.to(x.device) for mask in (masks, region))
        self.objective = objective or ClassObjective(classifier, config.objective, config.temperature)
        # The boundary is where the margin is 0: beside it the probability follows other classes too.
        self.boundary = objective or ClassObjective(classifier, "margin", config.temperature)
        self.y = y.to(x.device)
        self.status = [OK] * len(x)
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
        rows = self._begin()
        plan = self._plan(rows)
        found = self._search(plan)
        if self.config.smallest:
            plan, found = self._smallest(plan, found)
        self._judge_rows(rows, plan, found)
        entries = self._entries(plan, found)
        return CounterfactualResult(
            status=tuple(self.status),
            reason=tuple(self.reason),
            predicted_start=self.predicted,
            p=self.config.p,
            temperature=self.config.temperature,
            x=self.x,
            entries=entries,
            forwards=self.forwards,
            backwards=self.backwards,
        )

    def _begin(self) -> Tensor:
        """Send the images as they are; rows (n,) to go on with."""
        bad = bad_rows(self.x)
        for row in bad.nonzero().flatten().tolist():
            self._refuse(row, BAD_INPUT, "pixels are not finite or outside [0, 1]")
        self.predicted = torch.full_like(self.y, -1)
        rows = (~bad).nonzero().flatten()
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
            self._refuse(row, NO_ANSWER, "the model returned NaN or infinite scores")
        rows = rows[~silent]
        self.predicted[rows] = self.start[rows].argmax(1)
        return rows

    def _refuse(self, row: int, status: str, reason: str) -> None:
        self.status[row], self.reason[row] = status, reason

    # What to search.

    def _plan(self, rows: Tensor) -> _Plan:
        entries = self.x[0].numel() if len(self.x) else 1
        radii = self.config.radii or (default_radius(self.config.p, entries),)
        wanted: list[tuple[int, str, int, float]] = []
        for row in rows.tolist():
            for role, target in self._targets(row):
                wanted += [(row, role, target, radius) for radius in radii]
        columns = list(zip(*wanted, strict=True)) if wanted else [(), (), (), ()]
        device = self.x.device
        return _Plan(
            row=torch.tensor(columns[0], dtype=torch.int64, device=device),
            role=tuple(columns[1]),
            target=torch.tensor(columns[2], dtype=torch.int64, device=device),
            eps=torch.tensor(columns[3], dtype=torch.float64, device=device),
        )

    def _targets(self, row: int) -> list[tuple[str, int]]:
        true, predicted = int(self.y[row]), int(self.predicted[row])
        names = {predicted: WRONG, true: TRUE}  # of an image that is right, its class is the true one
        if self.targets is not None:
            asked = dict.fromkeys(t for t in self.targets[row].tolist() if t >= 0)
            return [(names.get(target, TARGET), target) for target in asked]
        if true != predicted:
            return [(TRUE, true), (WRONG, predicted)]
        runner_up = int(best_other(self.start[row : row + 1], self.y[row : row + 1]))
        return [(RUNNER_UP, runner_up), (TRUE, true)]

    # Searching.

    def _search(self, plan: _Plan) -> _Found:
        """All entries in flat batches; with ``warm``, the largest radius first."""
        group = max(1, _GROUP_NUMBERS // max(1, self.x[0].numel() if len(self.x) else 1))
        parts: list[SearchResult] = []
        for start in range(0, len(plan), group):
            at = torch.arange(start, min(start + group, len(plan)), device=self.x.device)
            parts.append(self._search_group(plan, at))
        if not parts:
            none = self.x.new_zeros(0)
            return _Found(self.x[:0], self.start[:0], none.double(), none.long(), (), ())
        steps = torch.cat([part.steps for part in parts])
        ending = torch.cat([part.ending for part in parts]).tolist()
        way = [list(line) for part in parts for line in part.trajectory.tolist()]
        return _Found(
            z=torch.cat([part.z for part in parts]),
            logits=torch.cat([_logits(part, self.start.shape[1]) for part in parts]),
            gap=torch.cat([part.gap for part in parts]),
            steps=steps,
            ending=tuple(ENDINGS[i] for i in ending),
            trajectory=tuple(tuple(v for v in line if v == v) for line in way),  # NaN once a row has left
        )

    def _search_group(self, plan: _Plan, at: Tensor) -> SearchResult:
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
        return _joined(from_largest, others, order)

    def _climb(self, plan: _Plan, at: Tensor, steps: int, start: Tensor | None) -> SearchResult:
        config, rows = self.config, plan.row[at]
        found = search(
            self.objective,
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

    def _smallest(self, plan: _Plan, found: _Found) -> tuple[_Plan, _Found]:
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
        return _extended(plan, found, at, small.z, small.logits, small.radius, small.found)

    def _judge_rows(self, rows: Tensor, plan: _Plan, found: _Found) -> None:
        """Refuse images that no search could move, and those to which the classifier answers at random."""
        stuck: dict[int, set[str]] = {row: set() for row in rows.tolist()}
        random: set[int] = set()
        for entry, row in enumerate(plan.row.tolist()):
            stuck[row].add(found.ending[entry])
            way, target = found.trajectory[entry], int(plan.target[entry])
            if way and self.config.solver == "fw" and not self.config.warm:
                scaled = self.start[row].double() / self.config.temperature
                first = float(scaled.log_softmax(0)[target])
                if abs(first - way[0]) > _SAME_ANSWER * (1 + float(scaled.abs().max())):
                    random.add(row)
        for row, endings in stuck.items():
            if row in random:
                self._refuse(row, REFUSED, "the classifier gives different answers to the same image")
            elif endings and endings <= {"no_gradient", "not_found"}:
                self._refuse(row, REFUSED, "the gradient is zero: no direction raises the target")
            elif endings and endings <= {"non_finite", "not_found"}:
                self._refuse(row, REFUSED, "the gradient is not finite")
        whole = self.x[0].numel() ** (1 / self.config.p) if len(self.x) else 0.0
        if self.config.radii and max(self.config.radii) >= whole:
            note = f"a ball of radius {max(self.config.radii):g} holds every image: only the pixel range is a bound"
            self.reason = [note if s == OK else r for s, r in zip(self.status, self.reason, strict=True)]

    # What came of it.

    def _entries(self, plan: _Plan, found: _Found) -> Entries:
        rows, target = plan.row, plan.target
        x = self.x[rows]
        z_u8, u8 = self._stored(plan, found, x)
        stored = z_u8.float() / 255
        start, end, after = (
            (logits.double() / self.config.temperature).softmax(1).float()
            for logits in (self.start[rows], found.logits, u8)
        )
        source, true = self.predicted[rows], self.y[rows]
        share = torch.full_like(plan.eps, torch.nan).float()
        if self.masks is not None and len(plan):
            share = mass_inside(x, found.z, self.masks[rows])
        finite = found.logits.isfinite().all(1)
        return Entries(
            row=rows,
            role=plan.role,
            target=target,
            eps=plan.eps,
            z=found.z,
            z_u8=z_u8,
            predicted_end=found.logits.argmax(1).where(finite, -1) if len(plan) else target,
            valid=(found.logits.argmax(1) == target) & finite if len(plan) else target.bool(),
            valid_u8=(u8.argmax(1) == target) & u8.isfinite().all(1) if len(plan) else target.bool(),
            probability_target_start=_pick(start, target),
            probability_source_start=_pick(start, source),
            probability_true_start=_pick(start, true),
            probability_target_end=_pick(end, target),
            probability_source_end=_pick(end, source),
            probability_true_end=_pick(end, true),
            probability_target_u8=_pick(after, target),
            margin_end=-error_margin(found.logits, target) if len(plan) else share,
            norm=lp_norm((found.z - x).flatten(1), self.config.p),
            norm_u8=lp_norm((stored - x).flatten(1), self.config.p),
            pix90=pix90(x, found.z),
            l0=changed_share(x, found.z),
            object_share=share,
            gap=found.gap,
            steps=found.steps,
            ending=found.ending,
            trajectory=found.trajectory,
            trust=(UNCHECKED,) * len(plan),
            trust_score=torch.full_like(share, torch.nan),
            trust_reason=(None,) * len(plan),
        )

    def _stored(self, plan: _Plan, found: _Found, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of whole grey levels (E, C, H, W) uint8, and their logits (E, K).

        The smallest changes are mostly below half a grey level: they are rounded away from the image.
        """
        levels = grey_levels(found.z)
        small = [e for e, role in enumerate(plan.role) if role == SMALLEST and found.ending[e] == "found"]
        if small:
            at = torch.tensor(small, dtype=torch.int64, device=x.device)
            levels[at] = self._rounded_away(plan, found, x, at)
        if not len(plan):
            return levels, self.start[:0]
        logits = self.classifier.logits(levels.float() / 255)
        self.forwards.index_add_(0, plan.row, torch.ones_like(plan.row))
        return levels, logits

    def _rounded_away(self, plan: _Plan, found: _Found, x: Tensor, at: Tensor) -> Tensor:
        ledger = Ledger(self.classifier, plan.target[at], 1e-5)
        own = torch.arange(len(at), device=x.device)
        points = ledger.linearise(own, found.z[at])
        margin = error_margin(self.start[plan.row[at]], plan.target[at])
        assert points.grad is not None
        levels, _ = round_fix(ledger, own, x[at], found.z[at] - x[at], points.grad, margin, self.keys[plan.row[at]])
        self.forwards.index_add_(0, plan.row[at], ledger.forwards)
        self.backwards.index_add_(0, plan.row[at], ledger.backwards)
        return levels


def _trusted(
    result: CounterfactualResult,
    classifier: Classifier,
    keys: Tensor,
    judges: Sequence[Classifier],
    plain: Sequence[Classifier],
    aux: Classifier | None,
    config: CounterfactualConfig,
    *,
    guided: bool,
) -> CounterfactualResult:
    """The result with a verdict on every counterfactual, and the passes that this took."""
    entries = result.entries
    if not len(entries):
        return result
    said = trust(
        classifier,
        result.x[entries.row],
        entries.z,
        entries.target,
        judges=judges,
        plain=plain,
        aux=aux,
        guided=guided,
        p=config.p,
        keys=keys[entries.row],
        config=TrustConfig(seed=config.seed),
    )
    return replace(
        result,
        entries=replace(
            entries, trust=tuple(said.verdict), trust_score=said.score.float(), trust_reason=tuple(said.reason)
        ),
        forwards=result.forwards.index_add(0, entries.row, said.forwards),
        backwards=result.backwards.index_add(0, entries.row, said.backwards),
    )


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes.clamp_min(0)[:, None])[:, 0] if len(classes) else values.new_zeros(0)


def _logits(part: SearchResult, classes: int) -> Tensor:
    if part.logits.shape[1] == classes:
        return part.logits
    return part.z.new_full((len(part.z), classes), torch.nan)  # no row had a finite value


def _joined(one: SearchResult, other: SearchResult, order: Tensor) -> SearchResult:
    longest = max(one.trajectory.shape[1], other.trajectory.shape[1])

    def join(name: str) -> Tensor:
        parts: Sequence[Tensor] = (getattr(one, name), getattr(other, name))
        if name == "trajectory":
            parts = [torch.nn.functional.pad(t, (0, longest - t.shape[1]), value=torch.nan) for t in parts]
        return torch.cat(list(parts))[order]

    return SearchResult(**{name: join(name) for name in SearchResult.__slots__})


def _extended(
    plan: _Plan, found: _Found, at: Tensor, z: Tensor, logits: Tensor, radius: Tensor, ok: Tensor
) -> tuple[_Plan, _Found]:
    """The plan and its answers with the smallest counterfactuals of entries ``at``, each behind those of its image."""
    if not logits.shape[1]:
        logits = found.logits.new_full((len(z), found.logits.shape[1]), torch.nan)
    rows = torch.cat([plan.row, plan.row[at]])
    order = rows.argsort(stable=True)

    def both(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other.to(one.dtype)])[order]

    def texts(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
        whole = [*one, *other]
        return tuple(whole[i] for i in order.tolist())

    ways = [*found.trajectory, *[()] * len(at)]
    return (
        _Plan(
            row=rows[order],
            role=texts(plan.role, [SMALLEST] * len(at)),
            target=both(plan.target, plan.target[at]),
            eps=both(plan.eps, radius),
        ),
        _Found(
            z=both(found.z, z),
            logits=both(found.logits, logits),
            gap=both(found.gap, torch.full_like(radius, torch.nan)),
            steps=both(found.steps, torch.zeros_like(at)),
            ending=texts(found.ending, ["found" if good else "not_found" for good in ok.tolist()]),
            trajectory=tuple(ways[i] for i in order.tolist()),
        ),
    )
