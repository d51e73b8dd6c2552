"""Search for the smallest change, by the solver that suits norm and budget.

Source: ours, docs/methods/smallest_fix.md.
"""

from __future__ import annotations

from torch import Tensor

from whywrong.attacks.balls import Box, norm_of
from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.inverted.newton import newton_search
from whywrong.attacks.inverted.segments import superpixels
from whywrong.attacks.inverted.shrink import close_in, polish
from whywrong.attacks.inverted.sign import iterative_sign
from whywrong.attacks.inverted.steps import STEPS
from whywrong.attacks.minimal.config import SmallestFixConfig, Solver
from whywrong.attacks.minimal.fmn import fmn
from whywrong.attacks.minimal.geometry import Geometry
from whywrong.attacks.minimal.nearest import Nearest
from whywrong.attacks.minimal.sigma_zero import sigma_zero
from whywrong.attacks.minimal.superdeepfool import superdeepfool

_ROUNDS = 20  # most Newton candidates
_OVERSHOOT = 1.0  # of these; shrinking takes the excess back
_SIGN_STEP = 2 / 255
_TESTS = 3  # on the line from the image to the change, at the end
_REFINEMENTS = 8  # along the boundary, before FMN
_FEW = 40  # passes below which refinements alone get nearer in linf than FMN
_STEP = {"linf": 1.0, "l1": 10.0, "groups": 3.0}  # first step of FMN, in units of the linear l2 distance
_AFTER = 0.3  # first step of FMN from a refined change, in units of its l2 norm


def find_smallest(
    oracle: MarginOracle,
    rows: Tensor,
    x: Tensor,
    geometry: Geometry,
    start: Linearization,
    keys: Tensor,
    config: SmallestFixConfig,
) -> Linearization:
    """Find the smallest changes that reach the goal of the oracle.

    Args:
        oracle: Evaluates images and counts the passes. Earlier passes count toward the budget.
        rows: (n,), int64, indices of the images in the batch.
        x: (n, C, H, W), originals.
        geometry: The norm of ``config``, for these images.
        start: The originals, linearised; none reaches the goal.
        keys: (n,), int64, seeds of the direction if the gradient is zero.
        config: Settings.

    Returns:
        The smallest changed image of each row that reaches the goal, linearised; one that does not where none was
        found.
    """
    box = Box(x, 1.0)
    first = _first(oracle, rows, start, box, keys, config)
    search = Nearest(oracle, rows, box, geometry, first, config.budget)
    reserve = 0 if config.norm == "l0" else _TESTS
    solver = config.solver
    if solver == "auto":
        solver = _choice(config)
    if solver == "superdeepfool":
        superdeepfool(search, start, search.steps(reserve))
    elif solver == "sigma_zero":
        sigma_zero(search, start, search.steps(reserve))
    elif solver == "newton":
        _refine(search, config.budget)
    elif config.norm == "l2":
        _refine(search, _REFINEMENTS)
        size = norm_of(search.best.pixels - x, "l2")
        fmn(search, search.best.clone(), _AFTER * size, search.steps(reserve))
    else:
        fmn(search, start, _step_size(start, box, config), search.steps(reserve))
    if config.norm == "l0":
        return search.best
    return _close(search, start)


def _choice(config: SmallestFixConfig) -> Solver:
    """Choose the solver by norm and budget."""
    return "newton" if config.norm == "linf" and config.budget < _FEW else "fmn"


def _first(
    oracle: MarginOracle, rows: Tensor, start: Linearization, box: Box, keys: Tensor, config: SmallestFixConfig
) -> Linearization:
    """Find any change that reaches the goal, by Newton steps from the linear estimate, or by signs."""
    norm = "linf" if config.norm == "linf" else "l2"
    rounds = min(_ROUNDS, (config.budget - 2) // 2)
    found, _ = newton_search(oracle, rows, start, box, rounds, InvertedConfig(norm=norm, overshoot=_OVERSHOOT))
    left = (~found.right).nonzero().flatten()
    steps = (config.budget - 6 - 2 * rounds) // 2
    if len(left) and steps > 0:
        again = oracle.linearise(rows[left], box.x[left], entropy=True)
        walked, _ = iterative_sign(oracle, rows[left], again, box.at(left), _SIGN_STEP, steps, keys[left])
        right = walked.right.nonzero().flatten()
        if len(right):
            found.put(left[right], oracle.linearise(rows[left[right]], walked.pixels[right]))
    return found


def geometry_of(x: Tensor, config: SmallestFixConfig) -> Geometry:
    """Build the norm of the settings for images (n, C, H, W)."""
    if config.norm != "groups":
        return Geometry(config.norm)
    segments = superpixels(x, most=config.segments)
    return Geometry("groups", segments, int(segments.max()) + 1)


def _step_size(start: Linearization, box: Box, config: SmallestFixConfig) -> Tensor:
    """Compute the l2 length (n,) of the first step of FMN from the linear estimate."""
    assert start.grad is not None
    norm = {"groups": "l2", "l1": "l2"}.get(config.norm, config.norm)
    delta, _ = STEPS[norm](start.grad, start.margin, *box.room())
    if config.norm == "l0":
        return norm_of(delta, "l0").clamp_min(1).sqrt()  # all these pixels from black to white
    length = _STEP[config.norm] * norm_of(delta, "l2")
    return length if config.norm == "linf" else length.clamp_max(1.0)  # the range of a value


def _refine(search: Nearest, most: int) -> None:
    """Run Newton refinements along the boundary from the best changes that reach the goal."""
    allowed = search.steps(_TESTS)
    at = (search.best.right & (allowed >= 1)).nonzero().flatten()
    if not len(at):
        return
    steps = min(most, int(allowed[at].min()))
    norm = search.geometry.norm
    refined, _ = polish(search.oracle, search.rows[at], search.box.at(at), search.best.at(at), norm, steps)
    search.offer(at, refined)


def _close(search: Nearest, start: Linearization) -> Linearization:
    """Move the best changes back to where their line from the image crosses the boundary."""
    spent = search.oracle.forwards[search.rows] + search.oracle.backwards[search.rows]
    at = (search.best.right & (spent + _TESTS <= search.budget)).nonzero().flatten()
    if len(at):
        best = search.best.at(at)
        search.offer(at, close_in(search.oracle, search.rows[at], search.box.x[at], start.margin[at], best, _TESTS)[0])
    return search.best
