"""How small is the smallest counterfactual, beside a long reference?

All errors of a CIFAR-10 net on both image sets, into the true class, p = 1.5: the share that is reached, in float and
as a picture of whole grey levels written as PNG, read back and tested again, the median radius, and passes. The
reference halves the radius between 0 and the smallest known ten times with 300-step searches of the margin from the
image, and keeps the smaller of its answer and ours, on the first ``--reference`` errors.

    python benchmarks/counterfactuals_radius.py --data ../shared/data --nets resnet20 --reference 50
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from inverted_whitebox import build, cifar, errors_of
from PIL import Image
from torch import Tensor

from whywrong.core.statistics import wilson
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual, maximize
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier

ALLOWED = 1.1


def reread(picture: Tensor) -> Tensor:
    """(C, H, W) uint8 after writing and reading a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.moveaxis(picture.numpy(), 0, -1)).save(file, "PNG")
    with Image.open(io.BytesIO(file.getvalue())) as image:
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def long_reference(classifier: Classifier, x: Tensor, y: Tensor, known: Tensor, p: float, steps: int) -> Tensor:
    """(N,) smallest radius at which ``steps`` steps reach the target, or ``known`` where that is smaller."""
    low, high = torch.zeros_like(known), known.clone()
    with classifier:
        objective = ClassObjective(classifier, "margin")
        for halving in range(10):
            middle = 0.98 * high if halving == 0 else (low + high) / 2
            found = maximize(objective, x, y, p=p, eps=middle, steps=steps, stop_conf=0.0)
            valid = found.logits.argmax(1) == y
            high = torch.where(valid, torch.minimum(found.norm, middle), high)
            low = torch.where(valid, low, middle)
    return high


def measure(classifier: Classifier, x: Tensor, y: Tensor, reference: int, steps: int) -> dict:
    config = CounterfactualConfig(smallest=True, trust=False, stop_conf=0.9)
    radius, valid, valid_u8, levels, forwards, backwards = [], [], [], [], [], []
    start = time.perf_counter()
    for some_x, some_y in zip(x.split(256), y.split(256), strict=True):
        result = counterfactual(classifier, some_x, some_y, targets=some_y, config=config)
        entries = result.entries
        at = [i for i, role in enumerate(entries.role) if role == "smallest"]
        radius.append(entries.norm[at])
        valid.append(classifier.predict(entries.z[at]) == some_y)
        levels.append(entries.norm_u8[at])
        pictures = torch.stack([reread(picture) for picture in entries.z_u8[at]])
        valid_u8.append(classifier.predict(pictures.float() / 255) == some_y)
        forwards.append(result.forwards)
        backwards.append(result.backwards)
    seconds = time.perf_counter() - start
    ours, n = torch.cat(radius), len(x)
    reached = {"float": torch.cat(valid), "png": torch.cat(valid_u8)}
    report = {
        "errors": n,
        "valid": {name: [int(v.sum()), wilson(int(v.sum()), n).low] for name, v in reached.items()},
        "median_radius": float(ours.median()),
        "median_radius_png": float(torch.cat(levels).median()),
        "forwards": float(torch.cat(forwards).float().mean()),
        "backwards": float(torch.cat(backwards).float().mean()),
        "seconds_an_error": seconds / n,
    }
    if reference:
        some = slice(0, reference)
        best = long_reference(classifier, x[some], y[some], ours[some], 1.5, steps)
        report["reference"] = {
            "errors": len(best),
            "median_radius": float(best.median()),
            "ratio_of_medians": float(ours[some].median() / best.median()),
            "median_ratio": float((ours[some] / best).median()),
            "largest_ratio": float((ours[some] / best).max()),
            "holds": bool(ours[some].median() <= ALLOWED * best.median()),
        }
    return report


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--nets", nargs="+", default=["resnet20"])
    parser.add_argument("--limit", type=int, help="most errors of each image set")
    parser.add_argument("--reference", type=int, default=50, help="errors on which the long reference runs; 0 for none")
    parser.add_argument("--steps", type=int, default=300, help="steps of a reference search")
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine(), "threads": 1}
    report = {"machine": machine, "p": 1.5, "allowed": ALLOWED, "reference_steps": options.steps, "nets": {}}
    for net in options.nets:
        classifier = build(options.data, net)
        x, y, _ = errors_of(classifier, cifar(options.data), options.limit)
        report["nets"][net] = measure(classifier, x, y, options.reference, options.steps)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
