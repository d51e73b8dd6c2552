"""Find out what a black box answers: scores or labels, how precise they are, and whether they are repeatable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from whywrong.attacks.queries.answers import LISTED
from whywrong.attacks.queries.black_box import PROBABILITIES
from whywrong.attacks.queries.grid import on_grid
from whywrong.core.access import Access
from whywrong.core.checks import check_images
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.models.listed import listed_scores

_MOST_DECIMALS = 4  # more are as good as all of them
_WHOLE = 0.01  # of the last decimal, by which float32 may miss a rounded value
_SAME = 1e-3  # difference of scores that a change of the batch may cause
_PRECISE = 3  # decimals with which scores can still guide a search


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTraits:
    """What a black box answers.

    Attributes:
        access: SCORES, TOP or LABELS, as the classifier grants.
        listed: Fewest classes with a score above 0 in an answer; 1 for labels.
        decimals: Decimals to which scores are rounded; None if they are not, or for labels.
        normalised: Whether probabilities sum to 1 within 2 %; None for logits, top classes and labels.
        noise: Largest difference between scores of the same image, or share of images with different labels.
        repeatable: Whether the same image always got the same answer.
        queries: Images asked.
    """

    access: Access
    listed: int
    decimals: int | None
    normalised: bool | None
    noise: float
    repeatable: bool
    queries: int

    @property
    def guide(self) -> Access:
        """``access`` if scores can guide a search; LABELS if they are rounded coarsely or not repeatable."""
        rounded = self.decimals is not None and self.decimals < _PRECISE
        return Access.LABELS if rounded or not self.repeatable else self.access


def inspect_answers(classifier: Classifier, x: Tensor, *, repeats: int = 2) -> AnswerTraits:
    """Ask a few images several times and describe the answers.

    An endpoint answers a repeated image from its ledger, so that only its own check notices one that is not
    repeatable.

    Args:
        classifier: Grants scores or labels.
        x: (B, C, H, W), floating point, in [0, 1]; four are enough.
        repeats: Times that each is asked; at least 2.

    Raises:
        InputError: There is no image, or ``repeats`` is below 2.
    """
    check_images(x)
    if not len(x) or repeats < 2:
        raise InputError(f"inspect_answers needs an image and at least 2 repeats, got {len(x)} and {repeats}")
    grey = on_grid(x.float())
    if classifier.access < Access.TOP:
        labels = torch.stack([classifier.predict(grey) for _ in range(repeats)])
        differs = (labels != labels[0]).any(0).double().mean()
        return AnswerTraits(
            access=Access.LABELS,
            listed=1,
            decimals=None,
            normalised=None,
            noise=float(differs),
            repeatable=not bool(differs > 0),
            queries=repeats * len(x),
        )
    access = min(classifier.access, Access.SCORES)
    ask = classifier.logits if access == Access.SCORES else partial(listed_scores, classifier)
    logits = torch.stack([ask(grey) for _ in range(repeats)])
    probabilities = access == Access.TOP or classifier.output in PROBABILITIES
    scores = logits.double().exp() if probabilities else logits.double()
    listed = (scores > LISTED) | torch.tensor(not probabilities, device=scores.device)
    fewest = int(listed.sum(2).min())
    noise = float((scores - scores[0]).abs().max())
    sums = scores.where(listed, 0.0).sum(2)
    whole = fewest == scores.shape[2]
    return AnswerTraits(
        access=access,
        listed=fewest,
        decimals=_decimals(scores.where(listed, 0.0)),
        normalised=bool(((sums - 1).abs() < 0.02).all()) if probabilities and whole else None,
        noise=noise,
        repeatable=noise <= _SAME,
        queries=repeats * len(x),
    )


def _decimals(scores: Tensor) -> int | None:
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = scores * 10**decimals
        if bool(((scaled - scaled.round()).abs() < _WHOLE).all()):
            return decimals
    return None
