"""Natural errors, and bystanders that carry damage, a cue, a cover or a step without being caused by it.

A bystander is wrong before the change and predicted as the same wrong class after it. What was changed does not explain
the error, so that a verdict of that cause is a mistake.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.margins import error_margin
from whywrong.core.randomness import keyed_bits
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import Candidate, PlantingBatch
from whywrong.planting.verdicts.kinds import Kind
from whywrong.planting.verdicts.planted_errors import ORDINARY, PlantedErrors, joined
from whywrong.planting.verdicts.subjects import Subjects

_SEVERITIES = 4  # a bystander's severity is drawn from 1..4
_STEP = 1 / 255


def natural_errors(subjects: Subjects, *, count: int, seed: int) -> PlantedErrors | None:
    """Return at most ``count`` of the classifier's own errors, unchanged."""
    rows = subjects.shuffled(subjects.wrong(), seed, "natural")[:count]
    if not len(rows):
        return None
    none = torch.zeros_like(rows)
    return _errors(subjects, rows, subjects.x[rows], subjects.predicted[rows], none, "natural", "natural")


def plant_bystanders(
    classifier: Classifier, subjects: Subjects, kinds: list[Kind], *, count: int, seed: int
) -> PlantedErrors | None:
    """Change natural errors such that they keep their wrong class.

    Equal numbers carry damage, a cover, a cue and an adversarial step, as far as the classifier allows them.

    Args:
        classifier, subjects, kinds, seed: As for one cause.
        count: Bystanders wanted; a natural error is used once for each of the four.

    Returns:
        Verified bystanders; None if there is none.
    """
    ways: dict[str, list[Kind]] = {}
    for cause in ("corruption", "occluded", "spurious"):
        if some := [kind for kind in kinds if kind.cause == cause]:
            ways[cause] = some
    if classifier.access >= Access.GRADIENTS:
        ways["adversarial"] = [Kind("adversarial", "step", _step, _step, graded=False)]
    found: list[PlantedErrors] = []
    for number, (cause, some) in enumerate(ways.items()):
        share = count // len(ways) + (number < count % len(ways))
        rows = subjects.shuffled(subjects.wrong(), seed, f"bystander {cause}")
        left = share
        for start in range(0, len(rows), max(1, share)):
            if left <= 0:
                break
            errors = _kept(classifier, subjects, some, rows[start : start + max(1, share)], seed)
            if errors is not None:
                found.append(errors.at(range(min(left, len(errors)))))
                left -= len(found[-1])
    return joined(found) if found else None


def _kept(
    classifier: Classifier, subjects: Subjects, kinds: list[Kind], rows: Tensor, seed: int
) -> PlantedErrors | None:
    """Change each image in one way and keep those whose wrong class stays."""
    keys = subjects.keys(rows, seed, f"bystander {kinds[0].cause}")
    draw = keyed_bits(keys, (2,))
    chosen, level = draw[:, 0] % len(kinds), draw[:, 1] % _SEVERITIES + 1
    level = level * torch.tensor([kind.graded for kind in kinds])[chosen]
    found = []
    for number, kind in enumerate(kinds):
        for severity in range(_SEVERITIES + 1):
            some = rows[(chosen == number) & (level == severity)]
            if not len(some):
                continue
            batch = subjects.batch(classifier, some, seed, f"bystander {kind.name}")
            image = (kind.apply(batch, max(1, severity)).x.clamp(0, 1) * 255).round().byte()
            same = classifier.predict(image.float() / 255) == subjects.predicted[some]
            changed = (image != subjects.x[some]).flatten(1).any(1)
            if bool((keep := same & changed).any()):
                strength = torch.full_like(some[keep], severity)
                predicted = subjects.predicted[some[keep]]
                found.append(_errors(subjects, some[keep], image[keep], predicted, strength, kind.name, "bystander"))
    return joined(found) if found else None


def _step(batch: PlantingBatch, severity: int) -> Candidate:
    """Take one sign step of a grey level away from the label, as an attack does (Goodfellow et al. 2015)."""

    def objective(logits: Tensor, rows: slice) -> Tensor:
        return error_margin(logits, batch.y[rows].to(logits.device, copy=True))

    _, _, slope = batch.classifier.gradient(batch.x, objective)
    return Candidate(batch.x + _STEP * torch.nan_to_num(slope, 0.0, 0.0, 0.0).sign(), batch.y)


def _errors(
    subjects: Subjects, rows: Tensor, x: Tensor, predicted: Tensor, severity: Tensor, kind: str, role: str
) -> PlantedErrors:
    n, none = len(rows), torch.zeros_like(rows, dtype=torch.bool)
    return PlantedErrors(
        x=x, label=subjects.y[rows], true=subjects.y[rows], predicted=predicted, row=rows, truth=(ORDINARY,) * n,
        second=("",) * n, kind=(kind,) * n, needs=("",) * n, role=(role,) * n, severity=severity, above=none, hard=none,
        sources=tuple(subjects.sources[row] for row in rows.tolist()), half=subjects.half[rows],
    )  # fmt: skip
