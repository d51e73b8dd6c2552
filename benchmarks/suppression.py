"""Promotion and suppression of natural errors: cost over the floor, and what is left with part of a fix.

Natural errors of a CIFAR-10 net on recompressed test images, each paired with its smallest fix. Cost: seconds of the
effects of 64 cells over those of 65 plain passes a pair in batches of one size, in the same process, the best of three.
Curves: share of pairs predicted as the wrong class b (of the fix plus part of the change) and as the label a (of the
error plus part of the fix), by share of the cells and order. ``minimal`` is the fix of ``invert``, ``extended`` the
same half as far again, as a fix that is not converged is.

    python benchmarks/suppression.py --data ../shared/data --errors 200 --timed 40
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inverted_whitebox import build, cifar, errors_of
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.randomness import row_keys
from whywrong.core.statistics import mean, wilson
from whywrong.explain.suppression.cells import grid_cells
from whywrong.explain.suppression.controls import with_random_signs
from whywrong.explain.suppression.curves import ranking_curves
from whywrong.explain.suppression.effects import Pairs, left_out, path_maps
from whywrong.explain.suppression.measures import TYPES, Scores, effect_strength, threshold, type_shares
from whywrong.models.classifier import Classifier

SHARES = (0.0625, 0.25, 0.5)
ORDERS = ("top", "norm", "random", "bottom")
NODES = 16


def best_of(run: Callable[[], Any], times: int = 3) -> float:
    """Seconds of the fastest call."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


def ends_of(classifier: Classifier, pairs: Pairs) -> tuple[Scores, Tensor]:
    """Scores (N, 2) of both images of each pair, and the logits of the second."""
    every = torch.arange(len(pairs))
    logits = [classifier.logits(x) for x in (pairs.ref, pairs.alt)]
    return Scores(torch.stack([pairs.scores(z, every).values for z in logits], 1)), logits[1]


def effects(classifier: Classifier, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Suppression and promotion (N, G), and the thresholds (N,)."""
    ends, logits = ends_of(classifier, pairs)
    found = left_out(classifier, pairs, ends, "remove").under("raw")
    return -found[..., 0], found[..., 1], threshold(logits, None)


def cost(classifier: Classifier, pairs: Pairs) -> dict[str, float]:
    """Times of the effects of all cells and of a path, over those of plain passes."""
    images = pairs.alt.repeat(65, 1, 1, 1)
    floor = best_of(lambda: classifier.logits(images, bounded=False))
    cells = best_of(lambda: effects(classifier, pairs))
    path = best_of(lambda: path_maps(classifier, pairs, "raw", NODES))
    return {
        "pairs": len(pairs),
        "floor_seconds": floor,
        "cells_seconds": cells,
        "cells_over_floor": cells / floor,
        "path_passes": 3 * NODES,
        "path_in_forward_passes_by_time": path / (floor / 65),
    }


def part(reads: Tensor) -> dict[str, dict[str, list[float]]]:
    """Shares with Wilson intervals, by order and share of the cells; random orders are averaged first."""
    table: dict[str, dict[str, list[float]]] = {}
    for number, order in enumerate(ORDERS):
        table[order] = {}
        for place, share in enumerate(SHARES):
            hits = reads[:, number, place]
            one = wilson(round(float(hits.sum())), len(hits))
            table[order][f"{share:g}"] = [float(hits.mean()), one.low, one.high]
    return table


def curves(classifier: Classifier, pairs: Pairs, strength: Tensor) -> dict[str, Any]:
    """What is predicted with part of the change, and with part of the fix."""
    found = ranking_curves(classifier, pairs, strength, row_keys(0, len(pairs)), shares=SHARES, orders=ORDERS)
    wrong, right = found.reads(pairs.b), found.reads(pairs.a)
    return {
        "fix_plus_part_of_the_change_is_wrong": part(wrong[:, 1]),
        "error_plus_part_of_the_fix_is_right": part(right[:, 0]),
    }


def shares(s: Tensor, g: Tensor, eps: Tensor) -> dict[str, list[float]]:
    """Mean shares of the types with 95 % intervals over images, and those weighted by strength."""
    found = type_shares(s, g, eps)
    columns = {**dict(zip(TYPES, found.plain.unbind(1), strict=True))}
    columns |= {f"weighted_{name}": one for name, one in zip(TYPES[:3], found.weighted.unbind(1), strict=True)}
    table = {}
    for name, values in columns.items():
        one = mean(values[values.isfinite()].numpy().astype(np.float64), bounds=(0.0, 1.0))
        table[name] = [one.value, one.low, one.high]
    return table


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--errors", type=int, default=200)
    parser.add_argument("--timed", type=int, default=40, help="pairs whose cost is measured; 0 for none")
    options = parser.parse_args()
    classifier = Classifier(build(options.data, options.net).model)
    x, y, counts = errors_of(classifier, cifar(options.data), options.errors)
    x, y = x[-options.errors :], y[-options.errors :]
    with classifier:
        t = classifier.logits(x).argmax(1)
        found = invert(classifier, x, y, detail=torch.zeros(len(x), dtype=torch.bool), config=InvertedConfig())
        fixed = found.fixed
        x, y, t, fix = x[fixed], y[fixed], t[fixed], (x + found.delta)[fixed]
        cells = grid_cells(8, *x.shape[2:]).expand(len(x), -1, -1)
        unlikely = torch.zeros(len(x), dtype=torch.bool)
        pairs = Pairs(ref=fix, alt=x, a=y, b=t, cells=cells, count=64, probabilities=unlikely)
        further = (x + 1.5 * (fix - x)).clamp(0, 1)
        extended = Pairs(ref=further, alt=x, a=y, b=t, cells=cells, count=64, probabilities=unlikely)
        report: dict[str, Any] = {"net": options.net, "sets": counts, "fixed": [len(x), len(fixed)]}
        report["mean_l2"] = float((fix - x).flatten(1).norm(dim=1).mean())
        s, g, eps = effects(classifier, pairs)
        control = effects(classifier, with_random_signs(pairs, row_keys(0, len(x))))
        report["shares"] = shares(s, g, eps)
        report["shares_random_signs"] = shares(*control)
        strength = effect_strength(s, g, eps[:, None])
        report["minimal"] = curves(classifier, pairs, strength)
        report["extended"] = curves(classifier, extended, strength)
        if options.timed:
            few = slice(0, options.timed)
            report["cost"] = cost(
                classifier,
                Pairs(ref=fix[few], alt=x[few], a=y[few], b=t[few], cells=cells[few], count=64,
                      probabilities=unlikely[few]),
            )  # fmt: skip
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
