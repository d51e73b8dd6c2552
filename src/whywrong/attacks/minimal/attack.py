"""The smallest change that reaches a class or leaves it, in the manner of the other attacks."""

from __future__ import annotations

from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.inverted.margin_oracle import MarginOracle
from whywrong.attacks.minimal.config import SmallestFixConfig
from whywrong.attacks.minimal.result import SmallestChangeResult
from whywrong.attacks.minimal.search import find_smallest, geometry_of
from whywrong.attacks.state import AttackState
from whywrong.models.classifier import Classifier


def smallest_change(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    targets: Tensor | None = None,
    keys: Tensor | None = None,
    config: SmallestFixConfig | None = None,
) -> SmallestChangeResult:
    """Find the smallest change that is misclassified or reaches its target.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        targets: Target classes, (B,), int64; None for any class but ``y``.
        keys: Seed of each image's noise, (B,), int64; default derived from ``config.seed`` and the row index. Used only
            if a gradient is zero.
        config: Settings; None uses the defaults of :class:`SmallestFixConfig`. ``quantise`` has no effect.

    Returns:
        Changed images, whether they reach the goal, and the passes: those of the budget and one forward each before and
        after the search.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or SmallestFixConfig()
    with AttackState(classifier, x, y, targets=targets, keys=keys, seed=config.seed, loss="margin") as state:
        rows = state.begin()
        if len(rows):
            goal = state.y if targets is None else targets.to(state.x.device)
            oracle = MarginOracle(classifier, goal, config.safety, away=targets is None)
            originals = state.x[rows]
            geometry, start = geometry_of(originals, config), oracle.linearise(rows, originals)
            found = find_smallest(oracle, rows, originals, geometry, start, state.keys[rows], config)
            state.count(rows, oracle.forwards[rows], oracle.backwards[rows])
            rows, pixels = rows[found.right], found.pixels[found.right]
            if len(rows):
                state.put(rows, pixels, state.logits(rows, pixels))
        return _result(state)


def _result(state: AttackState) -> SmallestChangeResult:
    change = state.change()
    return state.result(SmallestChangeResult, l0=norm_of(change, "l0").long(), l1=norm_of(change, "l1"))
