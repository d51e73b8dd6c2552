"""Errors with one cause, in equal numbers of every kind, at the smallest strength and one above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_bits
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import SEVERITIES
from whywrong.planting.verdicts.kinds import Kind, verified
from whywrong.planting.verdicts.planted_errors import PlantedErrors, joined
from whywrong.planting.verdicts.subjects import Subjects

_LEAST = 4  # images tried together; a picture of two objects needs a partner
_POOLS = ((True, 0), (False, 1), (True, 1), (False, 0))  # whether the margin is small, and the half


def plant_cause(
    classifier: Classifier, subjects: Subjects, kinds: Sequence[Kind], *, count: int, tries: int, seed: int
) -> PlantedErrors | None:
    """Plant errors of one cause, no photograph twice.

    Kinds get equal shares. What a kind cannot give is shared out among the others, one by one.

    Args:
        classifier: The model.
        subjects: Its images.
        kinds: Kinds of one cause; at least one.
        count: Errors wanted.
        tries: Most images tried per wanted error of a kind.
        seed: Seed of every random choice.

    Returns:
        Verified errors; None if there is none.
    """
    turn = keyed_bits(torch.tensor([seed]), (len(kinds),), 411)[0].argsort()  # which kinds come first if few are wanted
    kinds = [kinds[place] for place in turn.tolist()]
    used: set[int] = set()
    pools = _pools(subjects, seed, kinds[0].cause)
    makers = [_Maker(classifier, subjects, kind, number, pools, used, seed) for number, kind in enumerate(kinds)]
    found: list[PlantedErrors] = []
    for number, maker in enumerate(makers):
        share = count // len(makers) + (number < count % len(makers))
        found += maker.take(share, tries * max(1, share))
    while makers and sum(map(len, found)) < count:
        maker = min(makers, key=lambda one: one.made)
        extra = maker.take(1, 2 * tries)
        found += extra
        if not extra:
            makers.remove(maker)
    return joined(found) if found else None


@dataclass(slots=True, eq=False)
class _Maker:
    """Plants errors of one kind, from four pools of photographs in turn."""

    classifier: Classifier
    subjects: Subjects
    kind: Kind
    number: int
    pools: Sequence[Tensor]
    used: set[int]
    seed: int
    tried: int = 0
    made: int = 0
    at: list[int] = field(default_factory=lambda: [0] * len(_POOLS))

    def take(self, count: int, tries: int) -> list[PlantedErrors]:
        """Plant at most ``count`` errors in at most ``tries`` further images."""
        found: list[PlantedErrors] = []
        order = [(self.number + place) % len(_POOLS) for place in range(len(_POOLS))]
        stop = self.tried + tries
        for place, pool in enumerate(order):
            share = count // len(_POOLS) + (place < count % len(_POOLS))
            found += self._from(pool, share, stop)
        for pool in order:
            found += self._from(pool, count - sum(map(len, found)), stop)
        return found

    def _from(self, pool: int, want: int, stop: int) -> list[PlantedErrors]:
        found: list[PlantedErrors] = []
        while want > 0 and self.tried < stop:
            rows = [row for row in self.pools[pool][self.at[pool] :].tolist() if row not in self.used]
            if not rows:
                self.at[pool] = len(self.pools[pool])
                break
            chunk = rows[: max(_LEAST, want)]
            self.at[pool] = self.pools[pool].tolist().index(chunk[-1]) + 1
            self.tried += len(chunk)
            errors = self._plant(torch.tensor(chunk), want)
            if errors is not None:
                want -= len(errors)
                self.used.update(errors.row.tolist())
                found.append(errors)
        return found

    def _plant(self, rows: Tensor, want: int) -> PlantedErrors | None:
        """Plant at most ``want`` errors in some images, half of them one above the smallest severity."""
        batch = self.subjects.batch(self.classifier, rows, self.seed, f"{self.kind.cause} {self.kind.name}")
        x, predicted, label = (torch.zeros_like(batch.x, dtype=torch.uint8), torch.zeros_like(rows), batch.y.clone())
        severity, above = torch.zeros_like(rows), torch.zeros_like(rows, dtype=torch.bool)

        def put(chosen: Tensor, level: int, *, higher: bool) -> None:
            some = batch.at(chosen)
            candidate = (self.kind.above if higher else self.kind.apply)(some, level)
            images, classes, wrong = verified(some, candidate)
            hit = chosen[wrong]
            x[hit], predicted[hit], label[hit] = images[wrong], classes[wrong], candidate.label[wrong]
            severity[hit], above[hit] = level, higher

        for level in range(1, SEVERITIES + 1) if self.kind.graded else (1,):
            left = (severity == 0).nonzero().flatten()
            if len(left):
                put(left, level, higher=False)
        hit = (severity > 0).nonzero().flatten()[:want]
        if not len(hit):
            return None
        if self.kind.graded:
            turn = (torch.arange(len(hit)) + self.made + self.number) % 2 == 1
            for level, raised in [(one, hit[turn & (severity[hit] == one)]) for one in range(1, SEVERITIES)]:
                if len(raised):
                    put(raised, level + 1, higher=True)
        else:
            severity[hit] = 0
        self.made += len(hit)
        return self._errors(rows[hit], x[hit], label[hit], predicted[hit], severity[hit], above[hit])

    def _errors(
        self, rows: Tensor, x: Tensor, label: Tensor, predicted: Tensor, severity: Tensor, above: Tensor
    ) -> PlantedErrors:
        n = len(rows)
        return PlantedErrors(
            x=x, label=label, true=self.subjects.y[rows], predicted=predicted, row=rows,
            truth=(self.kind.cause,) * n, second=("",) * n, kind=(self.kind.name,) * n, needs=("",) * n,
            role=("plant",) * n, severity=severity, above=above, hard=self.subjects.hard()[rows],
            sources=tuple(self.subjects.sources[row] for row in rows.tolist()), half=self.subjects.half[rows],
        )  # fmt: skip


def _pools(subjects: Subjects, seed: int, cause: str) -> list[Tensor]:
    """Split the correct images by margin and half, each in an order of its own."""
    right, hard = subjects.shuffled(subjects.right(), seed, cause), subjects.hard()
    return [right[(hard[right] == small) & (subjects.half[right] == half)] for small, half in _POOLS]
