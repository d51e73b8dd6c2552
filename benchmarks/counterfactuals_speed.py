"""What does a step cost beside the network's own forward and backward pass?

For each net a batch of images and targets: CPU seconds an iteration of ``fw`` (a search of N steps over N + 1 passes)
over those of one forward and input-backward pass of the same batch, the floor, taking turns in the same process; the
fastest of the repetitions of each, so that another process on the machine counts against neither. The floor is the bare
module with ``torch.autograd.grad``, or the same through our classifier where that is faster (it lays pixels out
channels-last). The oracle alone is beside it, and the published solver.

    python benchmarks/counterfactuals_speed.py --data ../shared/data --nets robust_resnet resnet20 mobilenetv2
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from inverted_whitebox import PHOTOGRAPHS, build, cifar, photographs
from torch import Tensor

from whywrong.core.randomness import row_keys
from whywrong.explain.counterfactuals import default_radius, maximize
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.solvers.lmo import linear_minimization_oracle
from whywrong.models.classifier import Classifier

ALLOWED = {"small": 1.6, "large": 1.15}


def fastest(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Least seconds of each call, the calls taking turns."""
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(repetitions):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def measure(classifier: Classifier, x: Tensor, p: float, steps: int, repetitions: int) -> dict:
    target = (classifier.predict(x) + 1).remainder(classifier.num_classes)
    eps = default_radius(p, x[0].numel())
    radii = torch.full((len(x),), eps, dtype=torch.float64)
    keys = row_keys(0, len(x))
    with classifier:
        objective = ClassObjective(classifier)
        slope = objective.gradient(x, target)[1].flatten(1).contiguous()
        up, down = (1 - x).flatten(1), x.flatten(1)

        def bare() -> None:
            pixels = x.clone().requires_grad_()
            chance = classifier.module(pixels).log_softmax(1).gather(1, target[:, None]).sum()
            torch.autograd.grad(chance, pixels)

        def solve(solver: str) -> Callable[[], object]:
            return lambda: maximize(objective, x, target, p=p, eps=eps, steps=steps, solver=solver, keys=keys)

        seconds = fastest(
            {
                "bare": lambda: [bare() for _ in range(steps + 1)],
                "classifier": lambda: [objective.gradient(x, target) for _ in range(steps + 1)],
                "fw": solve("fw"),
                "afw-v1": solve("afw-v1"),
                "oracle": lambda: [
                    linear_minimization_oracle(slope.clone(), up, down, radii, p) for _ in range(steps + 1)
                ],
            },
            repetitions,
        )
    per = {name: 1000 * value / (steps + 1) / len(x) for name, value in seconds.items()}
    floor = min(per["bare"], per["classifier"])
    kind = "large" if x.shape[-1] >= 200 else "small"
    return {
        "batch": len(x),
        "milliseconds_an_image": per,
        "fw_over_floor": per["fw"] / floor,
        "afw_v1_over_floor": per["afw-v1"] / floor,
        "allowed": ALLOWED[kind],
        "holds": per["fw"] <= ALLOWED[kind] * floor,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    nets = ["robust_resnet", "robust_vit", "resnet20", "small_vit", "mobilenetv2", "deit_tiny"]
    parser.add_argument("--nets", nargs="+", default=nets)
    parser.add_argument("--limit", type=int, default=64, help="images of a small net; a quarter of it for 224 pixels")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--p", type=float, default=1.5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine(), "threads": 1}
    report = {"machine": machine, "p": options.p, "steps": options.steps, "nets": {}}
    for net in options.nets:
        large = net in PHOTOGRAPHS
        sets = photographs(options.data) if large else cifar(options.data)
        x = sets[1][1][: options.limit // 4 if large else options.limit].float() / 255
        steps = max(3, options.steps // 5) if large else options.steps
        report["nets"][net] = measure(build(options.data, net), x, options.p, steps, options.repetitions)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
