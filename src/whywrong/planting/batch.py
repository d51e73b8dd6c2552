"""A batch of images to plant mistakes in, the perturbations, and the candidates they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.data.planted import Scene
from whywrong.models.classifier import Classifier

CAUSES = ("label", "corruption", "adversarial", "spurious", "occluded", "confusion", "shift")
SEVERITIES = 5


@dataclass(frozen=True, slots=True, eq=False)
class PlantingBatch:
    """Images that the classifier predicts as labelled.

    Attributes:
        classifier: The model.
        x: (B, C, H, W), float32, in [0, 1], whole grey levels.
        y: (B,), int64, their class, which is also their prediction.
        logits: (B, K).
        keys: (B,), int64, key of every random choice.
        classes: (L,), int64, classes for which the data has labels.
        objects: (B, H, W), bool, the object; all False if unknown. None if the data has no masks.
        scene: The scene of each picture, if it was drawn by whywrong.
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

    def at(self, rows: Tensor) -> PlantingBatch:
        """Return the batch of some rows."""
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
class Candidate:
    """Changed images, not verified yet.

    Attributes:
        x: (B, C, H, W), in [0, 1].
        label: (B,), int64, their label.
        strength: Strength of the change in words, with its unit; empty if it has none.
        must: (B,), int64, class that must be predicted for this cause to apply; None for any wrong class.
        scene: The changed scene, if the picture can be drawn from it.
        corruption_severity: Severity of the corruption; 0 if there is none.
    """

    x: Tensor
    label: Tensor
    strength: str = ""
    must: Tensor | None = None
    scene: Scene | None = None
    corruption_severity: int = 0


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A way to plant one cause.

    Attributes:
        cause: One of ``CAUSES``.
        name: Name of the perturbation.
        apply: From a batch and a severity 1..5 to a candidate.
        graded: Whether the severity matters.
        drawn: Whether it needs pictures drawn by whywrong.
        gradients: Whether it needs gradients.
        chunk: Images changed together; small, so that few more than wanted are made, unless all share one change.
    """

    cause: str
    name: str
    apply: Callable[[PlantingBatch, int], Candidate]
    graded: bool = True
    drawn: bool = False
    gradients: bool = False
    chunk: int = 48


def redraw(batch: PlantingBatch, scene: Scene, **candidate: object) -> Candidate:
    """Return the candidate of a changed scene."""
    from whywrong.data.planted import render

    x = render(scene, batch.x.shape[-1]).images.float() / 255
    return Candidate(x, batch.y, scene=scene, **candidate)  # type: ignore[arg-type]


def near_class(batch: PlantingBatch) -> Tensor:
    """Return the highest-scoring class (B,) of the data other than the true one.

    The true class if the data has no other.
    """
    open_to = torch.full_like(batch.logits, -torch.inf)
    open_to[:, batch.classes] = batch.logits[:, batch.classes]
    best = open_to.scatter(1, batch.y[:, None], -torch.inf).max(1)
    return best.indices.where(best.values > -torch.inf, batch.y)
