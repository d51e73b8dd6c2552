"""Findings that change how the results of a run must be interpreted.

They are shown before any number, most serious first, each with an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whywrong.report.numbers import count, percent, shown
from whywrong.report.primitives.run_summary import RunSummary

OF_LABELS = ("label order", "all wrong", "near chance")  # superseded by the result on all images
FAILED_SHARE = 0.05
SERIOUS: dict[str, tuple[str, str]] = {
    "label order": (
        "The labels look permuted",
        "Do not read these errors as errors of the model. Pass the class names in the order of the model's outputs"
        " (--classes FILE), then diagnose again into a new folder.",
    ),
    "all wrong": (
        "Every image is wrong",
        "A wrong order of the labels or wrong preprocessing is far more likely than such a bad model. Check both, then"
        " diagnose again into a new folder.",
    ),
    "constant": (
        "The model ignores the images",
        "Check the range of its input, and that its weights were loaded (--weights).",
    ),
    "normalised twice": (
        "The images look normalised twice",
        "Leave out --mean and --std, then diagnose again into a new folder.",
    ),
    "not normalised": (
        "The images look not normalised",
        "Pass the --mean and --std of the training, then diagnose again into a new folder.",
    ),
    "channel order": (
        "Red and blue look exchanged",
        "Reverse the channels inside the model, then diagnose again into a new folder.",
    ),
    "range 0 to 255": (
        "The pixels look scaled wrongly",
        "Pass --mean and --std that give the model its range, then diagnose again into a new folder.",
    ),
    "near chance": (
        "The model is hardly better than guessing",
        "Check the labels, their order, the weights and the preprocessing before reading any single error.",
    ),
}
CAUTION: dict[str, tuple[str, str]] = {
    "faulty images": (
        "Some images get no valid answer",
        "They are left out of all numbers here; see the failed items under Method and limits.",
    ),
    "stateful": (
        "The model does not repeat itself",
        "An image misclassified in one pass may be right in the next. Turn off randomness and state that the model"
        " keeps between calls.",
    ),
    "random": (
        "The model is randomised",
        "An image misclassified in one pass may be right in the next. Turn off dropout and noise for evaluation.",
    ),
    "batch dependence": (
        "Answers depend on the other images of a batch",
        "The same image may be right in another batch. Let the normalisation layers use running statistics.",
    ),
    "zero gradient": (
        "The gradient is zero on some images",
        "Do not rely on changes and regions that were found by gradients of these images.",
    ),
    "gradient": (
        "The gradient is not finite on some images",
        "Do not rely on changes and regions that were found by gradients of these images.",
    ),
    "not differentiable": (
        "The model has no usable gradient",
        "Methods that need one were refused; only the others speak here.",
    ),
}
HARMLESS = frozenset({"train mode", "small batch"})  # handled: no interpretation changes


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to interpret the results differently.

    Attributes:
        title: Short name of the problem.
        seen: What was measured.
        action: What to do.
        serious: Whether the results probably do not describe the model.
    """

    title: str
    seen: str
    action: str
    serious: bool

    @property
    def text(self) -> str:
        """All of it in one line."""
        return f"{self.title}: {self.seen}. {self.action}"


def find_doubts(meta: Mapping[str, Any], summary: RunSummary) -> list[Doubt]:
    """Collect the findings that change the interpretation of a run.

    The most serious ones come first.
    """
    order = {name: rank for rank, name in enumerate((*SERIOUS, *CAUTION))}
    found: dict[str, Doubt] = {}
    for finding in sorted(_current(meta, summary), key=lambda f: order.get(f["name"], len(order))):
        name, seen = finding["name"], shown(finding["text"]).rstrip(".")
        title, action = (SERIOUS | CAUTION).get(name, (shown(name).capitalize(), "Read the results with care."))
        found.setdefault(name, Doubt(title, seen, action, name in SERIOUS))
    counted = _counted(summary, found)
    doubts = [*found.values(), *counted]
    return sorted(doubts, key=lambda doubt: not doubt.serious)


def _current(meta: Mapping[str, Any], summary: RunSummary) -> list[Mapping[str, Any]]:
    """Collect the warnings.

    Those about labels from the first images are superseded by those from all images.
    """
    findings = [f for f in meta.get("health") or () if f["level"] == "warn" and f.get("name") not in HARMLESS]
    decided = summary.read > 0 and not summary.waiting
    findings = [f for f in findings if f.get("of_all") or not (decided and f.get("name") in OF_LABELS)]
    return [{"name": "finding", **f} for f in sorted(findings, key=lambda f: not f.get("of_all"))]


def _counted(summary: RunSummary, found: Mapping[str, Doubt]) -> list[Doubt]:
    """Collect the doubts that follow from the counts of the run."""
    doubts = []
    if summary.errors == summary.labelled > 1 and not {"label order", "all wrong"} & found.keys():
        title, action = SERIOUS["all wrong"]
        doubts.append(Doubt(title, f"all {count(summary.labelled, 'labelled image')} are wrong", action, True))
    tried = summary.read + summary.failed
    if tried and summary.failed > FAILED_SHARE * tried and "faulty images" not in found:
        seen = f"{summary.failed:,} of {count(tried, 'image')} ({percent(summary.failed / tried)}) could not be used"
        action = "They are missing from every number here; their reasons are listed with the failed items."
        doubts.append(Doubt("Many images are missing", seen, action, False))
    return doubts
