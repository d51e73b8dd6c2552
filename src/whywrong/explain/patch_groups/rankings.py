"""Rankings of patches by MoXI, its first-order part, Shapley values, attention rollout and Grad-CAM.

Source: Sumiyasu et al. 2024, section 5: insertion and deletion curves of each ranking.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.masking.games import Game
from whywrong.explain.patch_groups.game import WINNER, PatchGame, column
from whywrong.explain.patch_groups.grad_cam import grad_cam, pooled
from whywrong.explain.patch_groups.greedy import greedy_order, whole_order
from whywrong.explain.patch_groups.rollout import rollout
from whywrong.explain.patch_groups.shapley import shapley_values
from whywrong.models.classifier import Classifier

RANKINGS = ("moxi", "moxi_minus", "shapley", "rollout", "grad_cam")
DIRECTIONAL = ("moxi", "moxi_minus")  # their order of insertion is not their order of deletion


def order_of(
    name: str,
    classifier: Classifier,
    x: Tensor,
    target: Tensor,
    game: PatchGame,
    keys: Tensor | None = None,
    *,
    deletion: bool = False,
    value: str = "log_odds_true",
    steps: int | None = None,
    permutations: int = 20,
) -> Tensor:
    """Order the patches of every image, most important first.

    Args:
        name: One of :data:`RANKINGS`. ``moxi``: plain greedy search. ``moxi_minus``: by the value of a patch alone
            (insertion) or by the loss without it (deletion). ``shapley``: by sampled Shapley values. ``rollout``: by
            attention rollout, for transformers with a class token. ``grad_cam``: by Grad-CAM of ``target``.
        classifier: The classifier of ``game``.
        x: (B, C, H, W), the images of ``game``.
        target: (B,) int64, the class that Grad-CAM explains; it should be the class of ``value``.
        game: Game of these images.
        keys: (B,) int64, seed of each image's permutations; None uses (0, row).
        deletion: Whether patches are removed in this order; only used by :data:`DIRECTIONAL`.
        value: The value of ``game`` that decides, for ``moxi``, ``moxi_minus`` and ``shapley``.
        steps: Steps of ``moxi`` that are searched; the remaining patches follow by their values in the last step. None
            searches all.
        permutations: Number of permutations of ``shapley``.

    Returns:
        (B, n) int64, each row a permutation of the players; ties are broken by the lowest number. Passes are counted by
        ``classifier``, and those for sets by ``game``: ``steps n - steps (steps - 1) / 2`` for ``moxi``, n (n + 1) / 2
        - 1 if all are searched, n for ``moxi_minus``, ``permutations (n - 1) + 1`` for ``shapley``, 1 for the others.

    Raises:
        InputError: The name is unknown, or an argument breaks the contract above.
        ModelError: The classifier has no readable attention or spatial layer.
    """
    if name == "moxi":
        steps = game.players - 1 if steps is None else steps  # the last player needs no evaluation
        path = greedy_order(game, value, adds=not deletion, steps=steps, ask_start=False)
        return whole_order(path, highest=not deletion)
    if name == "moxi_minus":
        path = greedy_order(game, value, adds=not deletion, steps=1, ask_start=False)
        return _by_score(path.last if not deletion else -path.last)
    if name == "shapley":
        keys = row_keys(0, game.images) if keys is None else keys
        return _by_score(shapley_values(game, value, keys, permutations))
    grid = (game.rows, game.cols)
    if name == "rollout":
        return _by_score(pooled(rollout(classifier, x), grid).flatten(1))
    if name == "grad_cam":
        return _by_score(grad_cam(classifier, x, target, grid=grid).flatten(1))
    raise InputError(f"a ranking is one of {', '.join(RANKINGS)}, got {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Insertion and deletion curves of a value.

    Attributes:
        insertion: (B, K + 1) float64, the value with the first 0..K patches shown and all others hidden.
        deletion: (B, K + 1) float64, with the first 0..K patches hidden and all others shown.
        insertion_winner: (B, K + 1) int64, the class that wins; -1 if the game does not report it.
        deletion_winner: (B, K + 1) int64, the same.
    """

    insertion: Tensor
    deletion: Tensor
    insertion_winner: Tensor
    deletion_winner: Tensor

    def accuracy(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the share of images predicted as ``y`` (B,) after each step.

        Returns (K + 1,) float64 twice, by number of patches shown and by number of patches hidden.
        """
        shown, hidden = (won == y[:, None] for won in (self.insertion_winner, self.deletion_winner))
        return shown.double().mean(0), hidden.double().mean(0)


def curves(
    game: Game,
    order: Tensor,
    *,
    value: str = "log_odds_true",
    deletion_order: Tensor | None = None,
    steps: int | None = None,
) -> Curves:
    """Compute insertion and deletion curves of an order, for all images at once.

    Args:
        game: Values of sets.
        order: (B, n) int64, most important player first, as returned by :func:`order_of`.
        value: Name of the value to follow.
        deletion_order: (B, n) int64, order of removal; None uses ``order``.
        steps: K; None uses n. The curves evaluate 2 (K + 1) sets per image; the whole image is free in a
            :class:`~whywrong.explain.patch_groups.game.PatchGame`.

    Returns:
        Values and winners after each step.

    Raises:
        InputError: The order is invalid, the game has no such value, or steps is outside 0..n.
    """
    steps = game.players if steps is None else steps
    if isinstance(steps, bool) or not 0 <= steps <= game.players:
        raise InputError(f"steps must be in 0..{game.players}, got {steps}")
    at = column(game, value)
    shown = shown_first(order, game, steps)
    hidden = ~shown_first(order if deletion_order is None else deletion_order, game, steps)
    answers = game(torch.cat([shown, hidden], 1))  # (B, 2 (K + 1), V)
    values = answers[:, :, at].split(steps + 1, 1)
    known = WINNER in game.names
    winner = answers[:, :, column(game, WINNER)].long() if known else torch.full(answers.shape[:2], -1)
    won = winner.split(steps + 1, 1)
    return Curves(insertion=values[0], deletion=values[1], insertion_winner=won[0], deletion_winner=won[1])


def shown_first(order: Tensor, game: Game, steps: int) -> Tensor:
    """Build the sets of the first players of an order.

    For an order (B, n) these are (B, steps + 1, n) bool, with the first 0, 1, ..., ``steps`` players.

    Raises:
        InputError: A row of the order is not a permutation of the players.
    """
    everyone = torch.arange(game.players)
    if (
        order.dtype != torch.int64
        or order.shape != (game.images, game.players)
        or not torch.equal(order.sort(1).values, everyone.expand_as(order))
    ):
        raise InputError(
            f"an order is int64 ({game.images}, {game.players}), each row a permutation of 0..{game.players - 1}, "
            f"got {order.dtype} {tuple(order.shape)}"
        )
    return order.argsort(1)[:, None, :] < torch.arange(steps + 1)[:, None]


def _by_score(score: Tensor) -> Tensor:
    return score.argsort(dim=1, descending=True, stable=True).cpu()  # games take sets on the CPU
