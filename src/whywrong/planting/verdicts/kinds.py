"""Ways of planting errors for verdicts, on top of those that :mod:`whywrong.planting` has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from whywrong.core.access import Access
from whywrong.data.corruptions import SIDES
from whywrong.data.planted import CUES
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import CAUSES, Candidate, Perturbation, PlantingBatch
from whywrong.planting.perturbations import PERTURBATIONS
from whywrong.planting.verdicts.attack_kinds import adaptive, deep, transferred
from whywrong.planting.verdicts.blends import Blend, nearest_classes
from whywrong.planting.verdicts.marks import Cue, make_background, make_cue, make_mark
from whywrong.planting.verdicts.subjects import Subjects

_MAKERS = 12  # images on which a cue is optimised
_TESTED, _LEARNT = 48, 0.15  # images on which a drawn cue is tried, and the share that it must turn to one class
_REPLACED = ("shared-patch",)  # by marks with jitter

Apply = Callable[[PlantingBatch, int], Candidate]


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to plant one cause.

    Attributes:
        cause: One of ``CAUSES``.
        name: Name, unique within its cause.
        apply: From a batch and a severity 1..5 to a candidate.
        above: The same one severity above the smallest; often ``apply``.
        graded: Whether the severity matters.
    """

    cause: str
    name: str
    apply: Apply
    above: Apply
    graded: bool


def find_kinds(
    classifier: Classifier,
    subjects: Subjects,
    *,
    causes: Sequence[str] = CAUSES,
    surrogate: Classifier | None = None,
    seed: int = 0,
) -> tuple[list[Kind], dict[str, str]]:
    """Return the kinds that these images and this classifier allow, and the reasons for those left out.

    Args:
        classifier: The model.
        subjects: Its images; cues are optimised on some of them.
        causes: Causes to plant; cues, which cost passes, are not made for others.
        surrogate: Another network over the same classes, for adversarial steps that transfer; None leaves them out.
        seed: Seed of every random choice.

    Returns:
        Kinds in order of their cause, and a reason by name of a kind or cause that is left out.
    """
    gradients, drawn = classifier.access >= Access.GRADIENTS, subjects.scene is not None
    kinds, refused = [], {}
    for entry in PERTURBATIONS:
        if entry.name in _REPLACED or entry.cause not in causes:
            continue
        if reason := _refusal(entry, classifier, subjects):
            refused[entry.cause] = reason
            continue
        if entry.name in CUES:
            target = _learnt(classifier, subjects, entry, seed)
            if target is None:
                refused[entry.name] = "the classifier has not learnt this cue"
                continue
            apply = partial(_evoking, entry.apply, target)
            kinds.append(Kind(entry.cause, entry.name, apply, apply, graded=False))
            continue
        kinds.append(_usual(entry))
    if gradients and "spurious" in causes:
        kinds += [_of_cue(name, cue) for name, cue in make_cues(classifier, subjects, seed).items()]
    if gradients and "adversarial" in causes:
        kinds.append(Kind("adversarial", "adaptive", adaptive, adaptive, graded=True))
        if surrogate is None:
            refused["transfer"] = "needs a second network"
        else:
            apply = partial(transferred, surrogate)
            kinds.append(Kind("adversarial", "transfer", apply, apply, graded=True))
    if drawn and "confusion" in causes:
        right = subjects.right()
        blend = Blend(nearest_classes(subjects.logits[right], subjects.y[right])).apply
        kinds.append(Kind("confusion", "blend", blend, blend, graded=True))
    for kind in kinds:
        refused.pop(kind.cause, None)
    return sorted(kinds, key=lambda kind: CAUSES.index(kind.cause)), refused


def _refusal(entry: Perturbation, classifier: Classifier, subjects: Subjects) -> str:
    """Return why a perturbation is impossible; empty if it is possible."""
    if entry.drawn and subjects.scene is None:
        return "needs pictures that whywrong draws"
    if entry.gradients and classifier.access < Access.GRADIENTS:
        return f"needs access to GRADIENTS, this classifier grants {classifier.access.name}"
    sides = subjects.x.shape[2:]
    if entry.cause == "corruption" and not (SIDES[0] <= min(sides) and max(sides) <= SIDES[1]):
        return f"needs images of {SIDES[0]} to {SIDES[1]} pixels a side, these have {sides[0]} x {sides[1]}"
    return ""


def make_cues(classifier: Classifier, subjects: Subjects, seed: int) -> dict[str, Cue]:
    """Make two marks and a background for a classifier, each tied to a class of its own.

    The classes are those of highest mean logit, which are the easiest to evoke.
    """
    right = subjects.right()
    mean = subjects.logits[right][:, subjects.classes].mean(0)
    order = subjects.classes[mean.argsort(descending=True, stable=True)].tolist()
    cues = {}
    for number, name in enumerate(("mark-1", "mark-2", "background")):
        target = order[number % len(order)]
        free = subjects.shuffled(right[subjects.y[right] != target], seed, name)[:_MAKERS]
        if not len(free):
            continue
        batch = subjects.batch(classifier, free, seed, name)
        make = (
            partial(make_background, batch, target)
            if name == "background"
            else partial(make_mark, batch, target, number)
        )
        cues[name] = make_cue(make, batch, above=number == 1)
    return cues


def _usual(entry: Perturbation) -> Kind:
    above = entry.apply
    if entry.name in ("pgd", "apgd"):
        above = partial(deep, entry.name)
    return Kind(entry.cause, entry.name, entry.apply, above, entry.graded)


def _learnt(classifier: Classifier, subjects: Subjects, entry: Perturbation, seed: int) -> int | None:
    """Return the class that a drawn cue evokes on images of other classes; None if it evokes none."""
    rows = subjects.shuffled(subjects.right(), seed, entry.name)[:_TESTED]
    batch = subjects.batch(classifier, rows, seed, entry.name)
    predicted = classifier.predict(entry.apply(batch, 1).x)
    wrong = predicted[(predicted != batch.y) & (predicted >= 0)]
    counts = torch.bincount(wrong, minlength=1)
    return int(counts.argmax()) if int(counts.max()) >= _LEARNT * len(rows) else None


def _evoking(apply: Apply, target: int, batch: PlantingBatch, severity: int) -> Candidate:
    return replace(apply(batch, severity), must=torch.where(batch.y == target, -1, target))


def _of_cue(name: str, cue: Cue) -> Kind:
    return Kind("spurious", name, cue.apply, cue.apply, graded=False)


def verified(batch: PlantingBatch, candidate: Candidate) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Round the images of a candidate to grey levels and check that they are misclassified as they must be.

    Returns:
        Images (B, C, H, W) uint8, predicted classes (B,) int64, and whether each is an error of this cause, (B,) bool.
    """
    image = (candidate.x.clamp(0, 1) * 255).round().byte()
    predicted = batch.classifier.predict(image.float() / 255)
    wrong = (predicted != candidate.label) & (predicted >= 0)
    if candidate.must is not None:
        wrong &= predicted == candidate.must
    return image, predicted, wrong
