"""Entry point of the solvers, which maximises an objective inside an l_p ball intersected with [0, 1]."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.checks import check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.counterfactuals.objectives import Objective
from whywrong.explain.counterfactuals.solvers.afw import auto_frank_wolfe, random_vertex
from whywrong.explain.counterfactuals.solvers.apgd import auto_pgd, random_point
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.fw import frank_wolfe
from whywrong.explain.counterfactuals.solvers.search_state import SearchResult, SearchState

Solver = Literal["fw", "afw-v1", "afw-v2", "apgd"]
SOLVERS: tuple[Solver, ...] = ("fw", "afw-v1", "afw-v2", "apgd")


def maximize(
    objective: Objective,
    x: Tensor,
    target: Tensor,
    *,
    p: float = 1.5,
    eps: float | Tensor,
    steps: int = 30,
    mask: Tensor | None = None,
    keys: Tensor | None = None,
    solver: Solver = "fw",
    start: Tensor | None = None,
    momentum: float = 0.5,
    first_step: float = 1.0,
    stop_conf: float | None = None,
    gap_tolerance: float = 0.0,
) -> SearchResult:
    """Maximise an objective over images inside a ball.

    Rows are independent: give one row for each image, target and radius, and they are searched as one flat batch that
    shrinks as rows finish. The caller stays inside ``with classifier:``.

    Args:
        objective: Objective to maximise, see :class:`whywrong.explain.counterfactuals.objectives.Objective`.
        x: (B, C, H, W), floating point, finite and in [0, 1]; left untouched.
        target: (B,), int64, classes to reach.
        p: Exponent of the norm over C*H*W, in [1, inf].
        eps: Radius, positive, or one per row (B,); in the l_p norm, pixels in [0, 1].
        steps: Steps, at least 1.
        mask: (B, 1, H, W) or (B, H, W), bool, region that may change; None is the whole image.
        keys: (B,), int64, seeds of random starts and of objectives that draw noise; None uses (0, row).
        solver: ``fw``, Frank-Wolfe with momentum; for reproduction ``afw-v1``, ``afw-v2`` and, for p = 1, 2 and inf,
            ``apgd``.
        start: (B, C, H, W), starting point, pulled into the ball if needed; by default ``x`` for ``fw``, a random point
            for the others.
        momentum: Share of the earlier directions in each direction of ``fw``, in [0, 1).
        first_step: Length of the first step of ``fw``, in (0, 1]; 1 uses only the gradient of ``start``.
        stop_conf: Rows of ``fw`` stop once they are predicted as their target with this probability; None never stops
            early.
        gap_tolerance: Rows of ``fw`` stop once the Frank-Wolfe gap is at most this share of its largest value; 0 never
            stops early.

    Returns:
        The best iterate of each row with its gap, trajectory and passes.

    Raises:
        InputError: An argument breaks the contract above.
        AccessError, NotDifferentiableError, ModelRaisedError: As for ``Classifier.gradient``.
    """
    check_images(x)
    check_labels(target, len(x), what="target")
    if keys is not None:
        check_keys(keys, len(x))
    radii = _radii(eps, p, x)
    check_solver(solver, p)
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    if not 0 <= momentum < 1:
        raise InputError(f"momentum must be in [0, 1), got {momentum}")
    if not 0 < first_step <= 1:
        raise InputError(f"first_step must be in (0, 1], got {first_step}")
    pixels = x.detach().float().contiguous().clamp(0, 1)
    domain = Domain.around(pixels, radii, p, _region(mask, x))
    state = SearchState(
        objective,
        domain,
        target.to(x.device),
        keys,
        points=steps + 2,
        stop_conf=stop_conf,
        gap_tolerance=gap_tolerance,
    )
    if solver == "fw":
        begin = pixels if start is None else domain.shrunk(start.float())
        frank_wolfe(state, begin, steps, momentum=momentum, first_step=first_step)
        return state.finish()
    keys = row_keys(0, len(x), x.device) if keys is None else keys.to(x.device)
    if solver == "apgd":
        auto_pgd(state, random_point(domain, keys) if start is None else domain.shrunk(start.float()), steps)
    else:
        auto_frank_wolfe(
            state, random_vertex(domain, keys) if start is None else domain.shrunk(start.float()), steps, solver
        )
    return state.finish()


def check_solver(solver: str, p: float) -> None:
    """Refuse an unknown solver, or one that does not support this exponent.

    Raises:
        InputError: Names the solvers, or the exponents.
    """
    if solver not in SOLVERS:
        raise InputError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if solver == "apgd" and p not in (1, 2, math.inf):
        raise InputError(f"solver apgd knows p = 1, 2 and inf, got {p}; the others know every p in [1, inf]")


def check_exponent(p: float) -> None:
    """Refuse an exponent outside [1, inf], because the ball is not convex below 1.

    Raises:
        InputError: Names the range.
    """
    if not p >= 1:
        raise InputError(f"p must be in [1, inf] (below 1 the ball is not convex), got {p}")


def _radii(eps: float | Tensor, p: float, x: Tensor) -> Tensor:
    check_exponent(p)
    radii = torch.as_tensor(eps, dtype=torch.float64, device=x.device)
    if radii.ndim > 1 or (radii.ndim == 1 and len(radii) != len(x)):
        raise InputError(f"eps must be one radius, or one a row ({len(x)},), got shape {tuple(radii.shape)}")
    if not bool((radii > 0).all()):
        raise InputError(f"eps must be positive, got {float(radii.min()) if radii.numel() else radii}")
    if not math.isfinite(p) and bool((radii > 255).any()):
        raise InputError("eps is in units of the [0, 1] pixel range, for p = inf e.g. 8/255")
    return radii.expand(len(x)).contiguous()


def _region(mask: Tensor | None, x: Tensor) -> Tensor | None:
    if mask is None:
        return None
    region = mask[:, None] if mask.ndim == 3 else mask
    if region.dtype != torch.bool or region.ndim != 4 or region.shape[0] != len(x) or region.shape[2:] != x.shape[2:]:
        raise InputError(
            f"mask must be bool (B, H, W) or (B, 1, H, W) for images {tuple(x.shape)}, got {mask.dtype} "
            f"{tuple(mask.shape)}"
        )
    return region.to(x.device)
