"""How many queries do the attacks without gradients need, and how long are their changes?

With scores: all errors of a CIFAR-10 net, lossless and JPEG-compressed. For each attack the share that becomes right
with its Wilson interval, mean and median queries with failures charged the whole budget, and distances. The order of
the everyday edits was chosen on errors among the first 500 JPEG images, so that the others are also reported alone.
With labels only (``--labels N``): the l2 norm of the shortest change after a number of queries, for the first N
lossless errors, HopSkipJump here and in foolbox, both begun at the nearest image read as the label and asked through
a door that rounds to 8 bits, as an endpoint does. Lengths are those of the rounded images.

    python benchmarks/queries.py --data ../shared/data --out queries.json
    python benchmarks/queries.py --data ../shared/data --attacks none --labels 30 --out labels.json
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.queries import (
    HopSkipJumpConfig,
    PriorGradientConfig,
    SimbaConfig,
    SquareConfig,
    hop_skip_jump,
    prior_gradient,
    simba,
    square,
)
from whywrong.attacks.queries.grid import on_grid
from whywrong.core.statistics import wilson
from whywrong.models.classifier import Classifier

CHOSEN_ON = 500  # JPEG images on which the everyday edits were ordered
BUDGETS = (100, 200, 500, 1000, 2000, 5000)
RADII = (0.25, 0.5, 1.0, 2.0)
ATTACKS: dict[str, Callable[[Classifier, Tensor, Tensor], Any]] = {
    "square": lambda c, x, y: square(c, x, y, config=SquareConfig()),
    "square, 8/255": lambda c, x, y: square(c, x, y, config=SquareConfig(eps=8 / 255)),
    "square without edits": lambda c, x, y: square(c, x, y, config=SquareConfig(edits=False)),
    "square, l2 1": lambda c, x, y: square(c, x, y, config=SquareConfig(norm="l2", eps=1.0)),
    "simba, step 0.2": lambda c, x, y: simba(c, x, y, config=SimbaConfig(step=0.2)),
    "simba, step 1": lambda c, x, y: simba(c, x, y, config=SimbaConfig(step=1.0)),
    "random gradient": lambda c, x, y: prior_gradient(c, x, y, None, config=PriorGradientConfig()),
}


class BudgetReached(Exception):
    """Raised by the door once an attack has asked enough."""


class Door(torch.nn.Module):
    """Rounds to 8 bits, asks the net, and keeps the shortest change that reaches the goal after each query."""

    def __init__(self, net: torch.nn.Module, x: Tensor, y: int, budget: int) -> None:
        super().__init__()
        self.net, self.x, self.y, self.budget = net, x, y, budget
        self.best: list[float] = []

    def forward(self, pixels: Tensor) -> Tensor:
        if len(self.best) >= self.budget:
            raise BudgetReached
        grey = on_grid(pixels)
        with torch.no_grad():
            logits = self.net(grey)
        lengths = (grey - self.x).flatten(1).norm(dim=1).where(logits.argmax(1) == self.y, torch.inf)
        for length in lengths.tolist():
            self.best.append(min(length, self.best[-1] if self.best else float("inf")))
        return logits


def net_of(data: Path, name: str) -> torch.nn.Module:
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    return module.build(name)


def images(data: Path, name: str) -> tuple[Tensor, Tensor]:
    with np.load(data / "cifar10_test_a" / f"{name}.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        return x, torch.from_numpy(arrays["labels"])


def figures(result: Any, budget: int) -> dict[str, Any]:
    found, queries = result.found, result.queries
    charged = queries.where(found, budget).double()
    interval = wilson(int(found.sum()), len(found))
    return {
        "errors": len(found),
        "success": interval.value,
        "wilson": [interval.low, interval.high],
        "mean_queries": float(charged.mean()),
        "median_queries": float(charged.median()),
        "most_queries": int(queries.max()),
        "within_1_3_6_20": [float((found & (queries <= most)).double().mean()) for most in (1, 3, 6, 20)],
        "median_l2": float(result.l2[found].median()),
        "largest_grey_levels": float(result.linf[found].max() * 255),
    }


class Some:
    """Some rows of a result."""

    def __init__(self, result: Any, rows: Tensor) -> None:
        for name in ("found", "queries", "l2", "linf"):
            setattr(self, name, getattr(result, name)[rows])


def with_scores(classifier: Classifier, data: Path, attacks: list[str], limit: int | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ("test_lossless", "test_jpeg"):
        x, y = images(data, name)
        wrong = (torch.cat([classifier.predict(part) for part in x.split(256)]) != y).nonzero().flatten()[:limit]
        for attack in attacks:
            started = time.perf_counter()
            before = classifier.forwards
            result = ATTACKS[attack](classifier, x[wrong], y[wrong])
            if classifier.forwards - before != int(result.forwards.sum()):
                raise SystemExit(f"{attack} counted {int(result.forwards.sum())}, not {classifier.forwards - before}")
            if not torch.equal(classifier.predict(result.image) == y[wrong], result.found):
                raise SystemExit(f"{attack}: asked again, an image is not what it was")
            told[f"{name}: {attack}"] = figures(result, 1000) | {"seconds": time.perf_counter() - started}
            later = wrong >= CHOSEN_ON
            if name == "test_jpeg" and bool(later.any()):
                told[f"{name} after the first {CHOSEN_ON}: {attack}"] = figures(Some(result, later), 1000)
            print(name, attack, told[f"{name}: {attack}"], file=sys.stderr, flush=True)
    return told


def with_labels(net: torch.nn.Module, data: Path, count: int, most: int) -> dict[str, Any]:
    """Shortest changes after some queries, of HopSkipJump here and in foolbox."""
    import foolbox

    classifier = Classifier(net, batch_size=256)
    x, y = images(data, "test_lossless")
    predicted = torch.cat([classifier.predict(part) for part in x.split(256)])
    wrong = (predicted != y).nonzero().flatten()[:count]
    curves: dict[str, list[list[float]]] = {"whywrong": [], "whywrong without a start": [], "foolbox": []}
    config = HopSkipJumpConfig(queries=most, stop_early=False, eps=100.0, ask_again=0)
    for row in wrong.tolist():
        one, label = x[row : row + 1], y[row : row + 1]
        known = predicted[row : row + 1]
        same = ((predicted == y) & (y == label)).nonzero().flatten()
        start = x[same[(x[same] - one).flatten(1).norm(dim=1).argmin()]][None]
        for name, first in (("whywrong", start), ("whywrong without a start", None)):
            door = Door(net, one, int(label), most)
            asked = Classifier(door, batch_size=256)
            hop_skip_jump(asked, one, label, start=first, known=known, keys=torch.tensor([row]), config=config)
            curves[name].append(door.best)
        door = Door(net, one, int(label), most).eval()
        model = foolbox.PyTorchModel(door, bounds=(0, 1), device="cpu")
        torch.manual_seed(row)
        with contextlib.suppress(BudgetReached):
            foolbox.attacks.HopSkipJumpAttack(steps=200)(
                model, one, foolbox.criteria.TargetedMisclassification(label), starting_points=start, epsilons=None
            )
        curves["foolbox"].append(door.best)
        print(row, {name: [round(at(found[-1], n), 3) for n in BUDGETS] for name, found in curves.items()}, flush=True)
    return {
        name: {n: lengths([at(one, n) for one in found]) for n in BUDGETS if n <= most}
        for name, found in curves.items()
    }


def at(best: list[float], queries: int) -> float:
    return best[min(queries, len(best)) - 1] if best else float("inf")


def lengths(values: list[float]) -> dict[str, Any]:
    array = np.array(values)
    return {"median_l2": float(np.median(array)), "within": {r: float((array <= r).mean()) for r in RADII}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--attacks", default="square", help='names, separated by ";", "all" or "none"')
    parser.add_argument("--limit", type=int)
    parser.add_argument("--labels", type=int, default=0)
    parser.add_argument("--most", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = {"all": list(ATTACKS), "none": []}.get(options.attacks, options.attacks.split(";"))
    net = net_of(options.data, options.net).eval()
    told: dict[str, Any] = {"net": options.net, "machine": platform.processor(), "torch": torch.__version__}
    told["scores"] = with_scores(Classifier(net, batch_size=128), options.data, names, options.limit)
    if options.labels:
        told["labels"] = with_labels(net, options.data, options.labels, options.most)
    text = json.dumps(told, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
