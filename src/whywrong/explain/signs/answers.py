"""What a model answers to an image and to changed copies of it, and how far they restore the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.models.method_call import MethodCall

Changed = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Images about which a stage asks the model.

    Attributes:
        call: The call of the method, which counts passes.
        rows: (n,) int64, rows of the call, all misclassified.
        t: (n,) int64, predicted class.
        margin: (n,) float32, logits by which ``t`` leads the label; NaN without scores.
    """

    call: MethodCall
    rows: Tensor
    t: Tensor
    margin: Tensor

    @property
    def x(self) -> Tensor:
        """Pixels (n, C, H, W)."""
        return self.call.x[self.rows]

    @property
    def y(self) -> Tensor:
        """Label (n,)."""
        return self.call.y[self.rows]

    @property
    def scored(self) -> bool:
        """Whether the classifier grants scores."""
        return self.call.classifier.access >= Access.SCORES


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Answers to E changed copies of n images.

    Attributes:
        change: (n, E) float32, logits by which the margin falls; NaN without scores.
        label: (n, E) float32, 1 where the label is predicted, else 0; NaN where the scores are not finite.
        kept: (n, E), the same for the unchanged prediction.
        top5: (n, E), 1 where the label is among the five best classes; NaN without scores.
        p_label: (n, E), probability of the label; NaN without scores.
        p_predicted: (n, E), probability of the unchanged prediction.
    """

    change: Tensor
    label: Tensor
    kept: Tensor
    top5: Tensor
    p_label: Tensor
    p_predicted: Tensor

    def at(self, columns: Sequence[int]) -> Answers:
        """Return the answers to some of the copies."""
        found = (getattr(self, name) for name in self.__slots__)
        return Answers(*(torch.stack([all_[:, column] for column in columns], 1) for all_ in found))

    @property
    def third(self) -> Tensor:
        """(n, E), 1 where a third class is predicted."""
        return 1 - self.label - self.kept


def ask(question: Question, copies: int, changed: Changed) -> Answers:
    """Classify changed copies of images, in batches of the classifier's size.

    Args:
        question: Images to ask about.
        copies: Number E of copies of each image.
        changed: Maps pixels (b, C, H, W), image (b,) and copy (b,), int64 indices, to changed pixels. The images of a
            batch are ordered by copy, then by image.
    """
    n, size = len(question.rows), max(1, question.call.classifier.batch_size)
    x, parts = question.x, []
    pairs = torch.arange(n * copies, device=x.device)
    for piece in pairs.split(max(n, size // max(1, n) * n) if n else 1):
        image, copy = piece % n, piece // n
        parts.append(_read(question, image, changed(x[image], image, copy)))
    empty = x.new_zeros(0)
    found = [torch.cat(column) for column in zip(*parts, strict=True)] if parts else [empty] * 6
    return Answers(*(column.view(copies, n).T for column in found))


def _read(question: Question, image: Tensor, pixels: Tensor) -> tuple[Tensor, ...]:
    y, t = question.y[image], question.t[image]
    call, nothing = question.call, pixels.new_full((len(pixels),), torch.nan)
    if not question.scored:
        call.count(question.rows[image], forwards=1)
        answer = call.classifier.predict(pixels)
        known = torch.where(answer >= 0, 0.0, torch.nan).to(pixels)
        return nothing, (answer == y) + known, (answer == t) + known, nothing, nothing, nothing
    logits = call.logits(question.rows[image], pixels)
    known = torch.where(logits.isfinite().all(1), 0.0, torch.nan).to(pixels)
    own, other = (logits.gather(1, c[:, None])[:, 0] for c in (y, t))
    p = logits.softmax(1).to(pixels)
    answer, above = logits.argmax(1), (logits > own[:, None]).sum(1)
    return (
        question.margin[image] - (other - own).to(pixels) + known,
        (answer == y) + known,
        (answer == t) + known,
        (above < 5) + known,
        p.gather(1, y[:, None])[:, 0] + known,
        p.gather(1, t[:, None])[:, 0] + known,
    )
