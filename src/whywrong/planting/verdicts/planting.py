"""Plant errors of known causes that are as hard to tell apart as they are in practice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whywrong.core.errors import DataError
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import CAUSES
from whywrong.planting.verdicts.bystanders import natural_errors, plant_bystanders
from whywrong.planting.verdicts.doubles import plant_doubles
from whywrong.planting.verdicts.kinds import find_kinds
from whywrong.planting.verdicts.plan import VerdictPlan, shares
from whywrong.planting.verdicts.planted_errors import PlantedErrors, joined
from whywrong.planting.verdicts.single import plant_cause
from whywrong.planting.verdicts.subjects import Subjects


@dataclass(slots=True)
class PlantingReport:
    """What was planted, and what was not.

    Attributes:
        wanted: Errors with one cause wanted of each cause.
        planted: Errors by cause, and by ``double``, ``bystander`` and ``natural``.
        kinds: Errors by cause and kind, as ``corruption/fog``.
        refused: Kinds and causes that were left out, with the reason.
    """

    wanted: int
    planted: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)

    def count(self, errors: PlantedErrors | None) -> None:
        """Add some errors."""
        for role, cause, kind in zip(errors.role, errors.truth, errors.kind, strict=True) if errors else ():
            self.planted[cause if role == "plant" else role] += 1
            if role == "plant":
                self.kinds[f"{cause}/{kind}"] += 1


def plant_errors(
    classifier: Classifier,
    subjects: Subjects,
    plan: VerdictPlan,
    *,
    surrogate: Classifier | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> tuple[PlantedErrors, PlantingReport]:
    """Plant errors with one cause, doubles and bystanders, and take natural errors.

    Every kind of a cause gets equal numbers, half of them from correct images of small margin and half one above the
    smallest strength. All are verified with the classifier.

    Args:
        classifier: The model.
        subjects: Its images.
        plan: Settings.
        surrogate: Another network, for adversarial steps that transfer.
        progress: Called with the name and number of errors after each cause.

    Returns:
        The errors, and what was planted.

    Raises:
        DataError: Nothing could be planted.
    """
    report = PlantingReport(plan.per_cause)
    found: list[PlantedErrors] = []

    def add(name: str, errors: PlantedErrors | None) -> None:
        report.count(errors)
        if errors is not None:
            found.append(errors)
        if progress is not None:
            progress(name, 0 if errors is None else len(errors))

    with classifier:
        kinds, report.refused = find_kinds(
            classifier, subjects, causes=plan.causes or CAUSES, surrogate=surrogate, seed=plan.seed
        )
        for cause in CAUSES:
            some = [kind for kind in kinds if kind.cause == cause]
            if some:
                made = plant_cause(classifier, subjects, some, count=plan.per_cause, tries=plan.tries, seed=plan.seed)
                add(cause, made)
        if not found:
            raise DataError("no error could be planted: every change leaves the prediction right, or is refused")
        natural, doubles, bystanders = shares(sum(map(len, found)), len(subjects.wrong()))
        add("natural", natural_errors(subjects, count=natural, seed=plan.seed))
        add("double", plant_doubles(classifier, subjects, kinds, count=doubles, tries=plan.tries, seed=plan.seed))
        add("bystander", plant_bystanders(classifier, subjects, kinds, count=bystanders, seed=plan.seed))
    return joined(found), report


def choose_reference(subjects: Subjects, *, count: int, seed: int, without: frozenset[str] = frozenset()) -> Tensor:
    """Choose correct images as reference, spread over the classes and in equal numbers of both halves.

    Args:
        subjects: The images.
        count: Most images.
        seed: Seed of the choice.
        without: Photographs that come last, since errors were planted in them.

    Returns:
        (n,) int64, rows of ``subjects``, in order.
    """
    right = subjects.shuffled(subjects.right(), seed, "reference")
    order: list[tuple[bool, int, int]] = []
    turn: Counter[tuple[int, int]] = Counter()
    ranked = sorted(right.tolist(), key=lambda row: subjects.sources[row] in without)
    for row in ranked:
        place = int(subjects.y[row]), int(subjects.half[row])
        order.append((subjects.sources[row] in without, turn[place], row))
        turn[place] += 1
    chosen = [row for *_, row in sorted(order, key=lambda one: one[:2])[:count]]
    return torch.tensor(sorted(chosen), dtype=torch.int64)
