"""What a planter works on, and what it proposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.data.planted import Scene
from whywrong.models.classifier import Classifier

CAUSES = ("label", "corruption", "adversarial", "spurious", "occluded", "confusion", "shift")
LEVELS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """Images that the classifier reads as they are labelled.

    Attributes:
        classifier: Who reads them.
        x: (B, C, H, W), float32, in [0, 1], whole grey levels.
        y: (B,), int64, their class, which is also their prediction.
        logits: (B, K).
        keys: (B,), int64, key of every random choice.
        classes: (L,), int64, classes that a label of this data can name.
        objects: (B, H, W), bool, the object; all False where it is not known. None where the data has no masks.
        scene: What is in each picture, where we drew them.
    """

    classifier: Classifier
    x: Tensor
    y: Tensor
    logits: Tensor
    keys: Tensor
    classes: Tensor
    objects: Tensor | None = None
    scene: Scene | None = None

    def __len__(self) -> int:
        return len(self.y)

    def at(self, rows: Tensor) -> Subjects:
        """The subjects of some rows."""
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            logits=self.logits[rows],
            keys=self.keys[rows],
            objects=None if self.objects is None else self.objects[rows],
            scene=None if self.scene is None else self.scene[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Changed images, not verified yet.

    Attributes:
        x: (B, C, H, W), in [0, 1].
        label: (B,), int64, the label it is to carry.
        strength: How strong the change is, in words with its unit; empty where it has no strength.
        must: (B,), int64, class that the classifier must read for the cause to be this one; None for any wrong class.
        scene: The changed scene, where the picture can be drawn from it.
        severity: Severity of the corruption done, 0 for none.
    """

    x: Tensor
    label: Tensor
    strength: str = ""
    must: Tensor | None = None
    scene: Scene | None = None
    severity: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to plant one cause.

    Attributes:
        cause: One of ``CAUSES``.
        name: Its own name.
        propose: From subjects and a level 1..5 to a proposal.
        graded: Whether the level matters.
        drawn: Whether it needs pictures that we drew.
        gradients: Whether it needs gradients.
        chunk: Images worked on together: few, so that a quota is not overshot by much, unless the kind makes one
            thing for all of them.
    """

    cause: str
    name: str
    propose: Callable[[Subjects, int], Proposal]
    graded: bool = True
    drawn: bool = False
    gradients: bool = False
    chunk: int = 48


def redraw(subjects: Subjects, scene: Scene, **proposal: object) -> Proposal:
    """The proposal of a changed scene."""
    from whywrong.data.planted import render

    x = render(scene, subjects.x.shape[-1]).images.float() / 255
    return Proposal(x, subjects.y, scene=scene, **proposal)  # type: ignore[arg-type]


def near_class(subjects: Subjects) -> Tensor:
    """(B,) int64: the highest-scoring class that a label can name other than the true one; the true one if alone."""
    open_to = torch.full_like(subjects.logits, -torch.inf)
    open_to[:, subjects.classes] = subjects.logits[:, subjects.classes]
    best = open_to.scatter(1, subjects.y[:, None], -torch.inf).max(1)
    return best.indices.where(best.values > -torch.inf, subjects.y)
