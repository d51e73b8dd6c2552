"""Effects of a change on two scores, cell by cell, by leaving cells out, along a path, or as Shapley values.

Source: Xu et al. 2019, arXiv 1904.02057 (leaving one cell out); Sundararajan, Taly and Yan 2017, arXiv 1703.01365
(path); Shapley 1953 (Shapley values of cells). Which mode answers what: docs/methods/suppression.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from whywrong.explain.masking.composites import each_composite
from whywrong.explain.masking.games import Game
from whywrong.explain.masking.shapley import permutation_values
from whywrong.explain.suppression.cells import cell_sizes, cell_sums
from whywrong.explain.suppression.measures import Gauge, Scores, as_logits
from whywrong.models.classifier import Classifier

Mode = Literal["remove", "insert", "path", "shapley"]
MODES: tuple[Mode, ...] = ("remove", "insert", "path", "shapley")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Pairs of aligned images with two classes each.

    Attributes:
        ref: (B, C, H, W) in [0, 1], the images without the change.
        alt: (B, C, H, W) in [0, 1], the images with the change.
        a: (B,) int64, the class whose score the change lowers.
        b: (B,) int64, the class whose score it raises.
        cells: (B, H, W) int64, 0..G-1.
        count: G.
        probabilities: (B,) bool, whether the classifier answers with probabilities, whose logarithm is taken.
    """

    ref: Tensor
    alt: Tensor
    a: Tensor
    b: Tensor
    cells: Tensor
    count: int
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.alt)

    def scores(self, logits: Tensor, image: Tensor) -> Scores:
        """Read the scores of the classes of pairs ``image`` (Q,) from logits (Q, K)."""
        logits = as_logits(logits, self.probabilities[image])
        return Scores.of(logits, self.a[image], self.b[image])


def left_out(classifier: Classifier, pairs: Pairs, ends: Scores, mode: Mode) -> Scores:
    """Change one cell at a time and read the effects on the scores.

    ``remove`` takes the change of one cell away from ``alt``, ``insert`` adds it to ``ref``; one pass per cell.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        pairs: The pairs.
        ends: (B, 2), scores of ``ref`` and ``alt``.
        mode: ``remove`` or ``insert``.

    Returns:
        (B, G), what the change in each cell adds to the scores of both classes, under every gauge; NaN in cells
        without pixels.
    """
    base, other = (pairs.alt, pairs.ref) if mode == "remove" else (pairs.ref, pairs.alt)
    every = torch.arange(len(pairs) * pairs.count, device=base.device)
    image, cell = every // pairs.count, every % pairs.count
    there = cell_sizes(pairs.cells, pairs.count).flatten() > 0
    found = base.new_full((len(every), 4), torch.nan, dtype=torch.float64)
    kept = every[there]
    image, cell = image[kept], cell[kept]

    def inside(rows: slice) -> Tensor:
        return pairs.cells[image[rows]] == cell[rows, None, None]

    for rows, logits in each_composite(classifier, base, other, image, inside):
        found[kept[rows]] = pairs.scores(logits, image[rows]).values
    changed = found.view(len(pairs), pairs.count, 4)
    whole = ends.values[:, 1 if mode == "remove" else 0, None]
    return Scores(whole - changed if mode == "remove" else changed - whole)


def path_maps(classifier: Classifier, pairs: Pairs, gauge: Gauge, nodes: int) -> Tensor:
    """Integrate the gradients of both scores along the straight line from ``ref`` to ``alt``.

    Args:
        classifier: Differentiable.
        pairs: The pairs.
        gauge: Gauge of the scores.
        nodes: Gauss-Legendre nodes; each takes one forward and two backward passes.

    Returns:
        (B, 2, H, W) float64, what the change of each pixel adds to the scores of ``a`` and ``b``. Sums over any cells
        follow without a further pass; over the whole image they are the changes of the scores, up to the nodes.
    """
    delta = pairs.alt - pairs.ref
    total = delta.new_zeros((len(pairs), 2, *delta.shape[2:]), dtype=torch.float64)
    every = torch.arange(len(pairs), device=delta.device)
    places, weights = np.polynomial.legendre.leggauss(nodes)
    for place, weight in zip(((places + 1) / 2).tolist(), (weights / 2).tolist(), strict=True):

        def objective(logits: Tensor, rows: slice) -> Tensor:
            return pairs.scores(logits, every[rows]).under(gauge)

        _, _, grad = classifier.gradient(torch.lerp(pairs.ref, pairs.alt, place), objective, bounded=False)
        total += weight * (grad * delta[:, None]).sum(2).double()
    return total


def path_effects(maps: Tensor, pairs: Pairs) -> Tensor:
    """Sum the maps (B, 2, H, W) of a path over the cells.

    Returns (B, G, 2) float64, NaN in cells without pixels.
    """
    sums = cell_sums(maps, pairs.cells, pairs.count).transpose(1, 2)
    return sums.masked_fill(cell_sizes(pairs.cells, pairs.count)[:, :, None] == 0, torch.nan)


class PairGame(Game):
    """Scores of both classes for images of which only some cells carry the change.

    Present cells show ``alt`` and absent ones ``ref``; cells without pixels change nothing.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        pairs: The pairs; their cells are the players.
        gauge: Gauge of the scores.
    """

    def __init__(self, classifier: Classifier, pairs: Pairs, gauge: Gauge) -> None:
        super().__init__(len(pairs), pairs.count, ("a", "b"))
        self._classifier, self._pairs = classifier, pairs
        self._gauge: Gauge = gauge

    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Evaluate sets with one pass each, see :meth:`Game.evaluate`."""
        found = composite_logits(self._classifier, self._pairs, masks, rows)
        return self._pairs.scores(found, rows.to(found.device)).under(self._gauge).cpu()


def composite_logits(classifier: Classifier, pairs: Pairs, chosen: Tensor, image: Tensor) -> Tensor:
    """Classify images that show ``alt`` in the chosen cells and ``ref`` in the others.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        pairs: The pairs.
        chosen: (Q, G) bool.
        image: (Q,) int64, the pair of each composite.

    Returns:
        (Q, K) float32, on the device of the pairs.
    """
    device = pairs.alt.device
    chosen, image = chosen.to(device), image.to(device)

    def inside(rows: slice) -> Tensor:
        cells = pairs.cells[image[rows]]
        return chosen[rows].gather(1, cells.flatten(1)).view_as(cells)

    return torch.cat([logits for _, logits in each_composite(classifier, pairs.ref, pairs.alt, image, inside)])


def shapley_effects(classifier: Classifier, pairs: Pairs, gauge: Gauge, keys: Tensor, permutations: int) -> Tensor:
    """Estimate the Shapley values of the cells for both scores, from antithetic pairs of permutations.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        pairs: The pairs; at least 3 cells.
        gauge: Gauge of the scores.
        keys: (B,) int64, seed of each image's permutations.
        permutations: Permutations P; P (G - 1) + 2 passes.

    Returns:
        (B, G, 2) float64, NaN in cells without pixels; the sums are the changes of the scores.
    """
    game = PairGame(classifier, pairs, gauge)
    values = permutation_values(game, keys, permutations, antithetic=True).to(pairs.alt.device)
    return values.masked_fill(cell_sizes(pairs.cells, pairs.count)[:, :, None] == 0, torch.nan)


def change_norms(pairs: Pairs) -> Tensor:
    """Compute the l2 norm (B, G) float64 of the change in each cell."""
    return cell_sums((pairs.alt - pairs.ref).square().sum(1, keepdim=True), pairs.cells, pairs.count)[:, 0].sqrt()


def passes_of(mode: Mode, cells: int | Tensor, nodes: int, permutations: int) -> Sequence[int | Tensor]:
    """Count the forward and backward passes per image of a mode, besides those for the two images."""
    if mode == "path":
        return nodes, 2 * nodes
    return (permutations * (cells - 1) + 2 if mode == "shapley" else cells), 0
