"""Is the linear oracle exact, at every exponent and any scale of the slopes?

Random instances for each p (20 % of the pixels at 0, 10 % at 1, 10 % of the slopes zero, the others over three decades,
radii from 0.025 to 0.6 of d^(1/p)): the shortfall of the oracle against a plain bisection in float64 and, where cvxpy
with Clarabel is installed, against that convex solver; how far a norm exceeds its radius; and both again with slopes
scaled by 1e-30 to 1e30.

    python benchmarks/counterfactuals_lmo.py --instances 500
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal, keyed_uniform, row_keys
from whywrong.explain.counterfactuals.solvers.lmo import linear_minimization_oracle, lp_norm

EXPONENTS = (1.0, 1.1, 1.2, 1.5, 1.8, 2.0, 3.0, math.inf)
SIZES = (5, 20, 60)
SCALES = (1e-30, 1e-15, 1e-9, 1.0, 1e9, 1e30)
ALLOWED = 1e-6


def instance(seed: int, d: int, p: float) -> tuple[Tensor, Tensor, float]:
    """Slopes (d,), pixels (d,), float64, and a radius."""
    keys = row_keys(seed, 1)
    chance = keyed_uniform(keys, (4, d))[0].double()
    x = chance[0].clone()
    x[chance[1] < 0.2], x[chance[1] > 0.9] = 0.0, 1.0
    w = keyed_normal(keys, (d,), 1)[0].double() * 10 ** (3 * chance[2])
    w[chance[3] < 0.1] = 0.0
    share = 0.025 + 0.575 * float(keyed_uniform(keys, (1,), 2))
    return w, x, share * (1 if p == math.inf else d ** (1 / p))


def bisected(w: Tensor, x: Tensor, eps: float, p: float) -> float:
    """Value of the optimum by bisection on log t; for p = 1 one pixel after the other."""
    a = w.abs() / w.abs().max()
    room = torch.where(w > 0, 1 - x, x) * (w != 0)
    if p == math.inf:
        return float((w.abs() * room.clamp_max(eps)).sum())
    if p == 1:
        left, value = eps, 0.0
        for i in a.argsort(descending=True).tolist():
            size = min(float(room[i]), left)
            left, value = left - size, value + float(w[i].abs()) * size
        return value
    if float((room**p).sum()) <= eps**p:
        return float((w.abs() * room).sum())
    share = a.log() / (p - 1)
    low, high = -800.0, float((room.log() - share)[room > 0].max()) + 1
    for _ in range(200):
        middle = (low + high) / 2
        inside = float((torch.minimum(room, (share + middle).exp()) ** p).sum()) <= eps**p
        low, high = (middle, high) if inside else (low, middle)
    return float((w.abs() * torch.minimum(room, (share + low).exp())).sum())


def convex(w: Tensor, x: Tensor, eps: float, p: float) -> float:
    """Value of the optimum by a generic convex solver, slopes scaled to at most 1."""
    import cvxpy

    scale = float(w.abs().max())
    change = cvxpy.Variable(len(w))
    bounds = [cvxpy.norm(change, "inf" if p == math.inf else p) <= eps, change >= -x.numpy(), change <= 1 - x.numpy()]
    problem = cvxpy.Problem(cvxpy.Maximize((w / scale).numpy() @ change), bounds)
    problem.solve(solver=cvxpy.CLARABEL)
    return float(problem.value) * scale


def measure(p: float, instances: int, *, generic: bool) -> dict:
    worst = {"float64": 0.0, "float32": 0.0, "scaled": 0.0, "generic": 0.0}
    excess = {"float64": 0.0, "float32": 0.0}
    for seed in range(instances):
        w, x, eps = instance(seed, SIZES[seed % len(SIZES)], p)
        if not bool(w.any()):
            continue
        best = bisected(w, x, eps, p)
        radius = torch.tensor([eps], dtype=torch.float64)
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            small_w, small_x = w.to(dtype), x.to(dtype)
            change = linear_minimization_oracle(small_w[None].clone(), (1 - small_x)[None], small_x[None], radius, p)[0]
            value = float((w * change[0].double()).sum())
            worst[name] = max(worst[name], (best - value) / best if best else 0.0)
            excess[name] = max(excess[name], float(lp_norm(change.double(), p)) / eps - 1)
            if name == "float64" and generic:
                worst["generic"] = max(worst["generic"], 1 - value / convex(w, x, eps, p) if best else 0.0)
        for scale in SCALES:
            scaled = (w / w.abs().max() * scale).float()
            change = linear_minimization_oracle(
                scaled[None].clone(), (1 - x.float())[None], x.float()[None], radius, p
            )[0]
            value = float((w * change[0].double()).sum())
            worst["scaled"] = max(worst["scaled"], (best - value) / best if best else 0.0)
    if not generic:
        del worst["generic"]
    return {"shortfall": worst, "excess_norm": excess}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=500, help="over all exponents")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generic = all(importlib.util.find_spec(name) is not None for name in ("cvxpy", "clarabel"))
    each = math.ceil(options.instances / len(EXPONENTS))
    found = {str(p): measure(p, each, generic=generic) for p in EXPONENTS}
    largest = max(max(part["shortfall"].values()) for part in found.values())
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine(), "threads": 1}
    report = {
        "machine": machine,
        "instances": each * len(EXPONENTS),
        "generic_solver": "cvxpy with Clarabel" if generic else None,
        "allowed": ALLOWED,
        "largest_shortfall": largest,
        "largest_excess_norm": max(max(part["excess_norm"].values()) for part in found.values()),
        "holds": largest <= ALLOWED,
        "exponents": found,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
