"""Does the default solver reach as much in fewer steps as the published one?

On CIFAR-10 images (every fifteenth of the JPEG set, 200) of adversarially trained nets, targets drawn once and never
the predicted class, p = 1.5 at the default radius: mean log-probability of the target under ``fw`` at 10, 30 and 75
steps and under the faithful ``afw-v1`` at 75 and 300, with paired 95 % bootstrap intervals of the differences; with
``--seeds``, the published solver's random starts are averaged. Norm used, Frank-Wolfe gap and passes are beside them.

    python benchmarks/counterfactuals_optimisation.py --data ../shared/data --limit 200
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch
from inverted_whitebox import build, cifar
from torch import Tensor

from whywrong.core.randomness import keyed_bits, row_keys
from whywrong.core.statistics import mean
from whywrong.explain.counterfactuals import default_radius, maximize
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier

RUNS = (("fw", 10), ("fw", 30), ("fw", 75), ("afw-v1", 75), ("afw-v1", 300))
COMPARED = ((("fw", 30), ("afw-v1", 75)), (("fw", 75), ("afw-v1", 300)), (("fw", 30), ("afw-v1", 300)))
ALLOWED = -0.01


def images(data: Path, limit: int) -> Tensor:
    """(N, 3, 32, 32) in [0, 1], evenly over the JPEG set."""
    pixels = cifar(data)[1][1]
    return pixels[:: max(1, len(pixels) // limit)][:limit].float() / 255


def random_targets(classifier: Classifier, x: Tensor, seed: int = 0) -> Tensor:
    """(N,) classes, drawn once, none of them the predicted one."""
    predicted = classifier.predict(x)
    offset = 1 + keyed_bits(row_keys(seed, len(x)), (1,))[:, 0].remainder(classifier.num_classes - 1)
    return (predicted + offset).remainder(classifier.num_classes)


def measure(classifier: Classifier, x: Tensor, p: float, seeds: int) -> dict:
    target, eps = random_targets(classifier, x), default_radius(p, x[0].numel())
    values: dict[tuple[str, int], np.ndarray] = {}
    report: dict[str, dict] = {}
    with classifier:
        objective = ClassObjective(classifier)
        for solver, steps in RUNS:
            draws = range(seeds if solver != "fw" else 1)
            found = [
                maximize(objective, x, target, p=p, eps=eps, steps=steps, solver=solver, keys=row_keys(seed, len(x)))
                for seed in draws
            ]
            values[solver, steps] = np.mean([result.value.double().numpy() for result in found], axis=0)
            chance = torch.stack([result.value.exp() for result in found])
            flips = torch.stack([(result.logits.argmax(1) == target).float() for result in found])
            report[f"{solver} {steps}"] = {
                "log_probability": float(values[solver, steps].mean()),
                "probability": float(chance.mean()),
                "flip_rate": float(flips.mean()),
                "norm_over_eps": float(torch.stack([result.norm / eps for result in found]).mean()),
                "gap": float(torch.stack([result.gap for result in found]).mean()),
                "forwards": float(found[0].forwards.float().mean()),
                "backwards": float(found[0].backwards.float().mean()),
            }
    differences = {}
    for ours, theirs in COMPARED:
        interval = mean(values[ours] - values[theirs])
        differences[f"{ours[0]} {ours[1]} minus {theirs[0]} {theirs[1]}"] = {
            "mean": interval.value,
            "low": interval.low,
            "high": interval.high,
            "holds": interval.low >= ALLOWED,
        }
    return {"eps": eps, "runs": report, "differences": differences}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--nets", nargs="+", default=["robust_resnet", "robust_vit"])
    parser.add_argument("--limit", type=int, default=200, help="images")
    parser.add_argument("--seeds", type=int, default=1, help="random starts of the published solver")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = images(options.data, options.limit)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine(), "threads": 1}
    report = {"machine": machine, "images": len(x), "p": 1.5, "allowed": ALLOWED}
    report["nets"] = {net: measure(build(options.data, net), x, 1.5, options.seeds) for net in options.nets}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
