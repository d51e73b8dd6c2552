"""Ranking curves, which remove or keep the change in the highest-ranked cells and ask for the prediction.

Source: Xu et al. 2019, arXiv 1904.02057 (ranking by strength); the curves are ours, docs/methods/suppression.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.explain.suppression.cells import cell_sizes
from whywrong.explain.suppression.effects import Pairs, change_norms, composite_logits
from whywrong.models.classifier import Classifier

SHARES = (0.0625, 0.125, 0.25, 0.5, 0.75)
ORDERS = ("top", "bottom", "norm", "random")
ACTIONS = ("remove", "keep")
DRAWS = 5
_RANDOM = 21  # random stream of an image's keys for the order of its cells


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Predictions with part of the change.

    Attributes:
        shares: M shares of the cells.
        orders: O orders of the cells, ``random`` as often as it was drawn.
        predicted: (B, 2, O, M) int64, predicted class with these cells removed, and with only these kept; -1 if the
            scores are not finite.
        forwards: Passes per image.
    """

    shares: tuple[float, ...]
    orders: tuple[str, ...]
    predicted: Tensor
    forwards: int

    def reads(self, classes: Tensor) -> Tensor:
        """Test which images are predicted as ``classes`` (B,) int64, averaged over random draws.

        Returns (B, 2, O', M) float64, with one entry per different order.
        """
        hit = (self.predicted == classes[:, None, None, None]).double()
        names = list(dict.fromkeys(self.orders))
        return torch.stack([hit[:, :, [o == name for o in self.orders]].mean(2) for name in names], 2)


def ranking_curves(
    classifier: Classifier,
    pairs: Pairs,
    strength: Tensor,
    keys: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    orders: Sequence[str] = ORDERS,
    draws: int = DRAWS,
) -> Curves:
    """Remove or keep the change in a share of the cells, in several orders, as one flat batch.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        pairs: The pairs.
        strength: (B, G), by which ``top`` and ``bottom`` rank; NaN in cells without pixels.
        keys: (B,) int64, seed of each image's random orders.
        shares: Shares of the cells, in (0, 1); at least one cell is taken.
        orders: ``top`` takes the strongest cells first, ``bottom`` the weakest, ``norm`` those with the largest l2 norm
            of the change, ``random`` any.
        draws: Number of random orders.

    Returns:
        The predictions; 2 M (draws + other orders) passes per image.
    """
    there = cell_sizes(pairs.cells, pairs.count) > 0
    scores, names = [], []
    for order in orders:
        for draw in range(draws if order == "random" else 1):
            names.append(order)
            scores.append(_scores(order, draw, pairs, strength, keys))
    ranked = torch.stack(scores, 1).masked_fill(~there[:, None], -torch.inf)  # (B, O, G)
    place = ranked.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    cells = there.sum(1)
    taken = torch.stack([(share * cells).round().long().clamp_min(1) for share in shares], 1)  # (B, M)
    chosen = place[:, :, None] < taken[:, None, :, None]  # (B, O, M, G)
    shown = torch.stack([~chosen, chosen], 1)  # removed, kept
    flat = shown.flatten(1, 3)  # (B, 2 O M, G)
    image = torch.arange(len(pairs), device=flat.device).repeat_interleave(flat.shape[1])
    if not len(pairs):
        predicted = torch.zeros(0, dtype=torch.int64, device=flat.device)
    else:
        logits = composite_logits(classifier, pairs, flat.flatten(0, 1), image)
        predicted = logits.argmax(1).where(logits.isfinite().all(1), -1)
    return Curves(tuple(shares), tuple(names), predicted.view(shown.shape[:4]), flat.shape[1])


def _scores(order: str, draw: int, pairs: Pairs, strength: Tensor, keys: Tensor) -> Tensor:
    """Return the value (B, G) float64 by which an order takes cells, largest first."""
    if order == "norm":
        return change_norms(pairs)
    if order == "random":
        return keyed_uniform(keys, (pairs.count,), (_RANDOM << 40) + draw).double()
    return strength if order == "top" else -strength
