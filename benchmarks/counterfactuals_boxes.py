"""How much of the change lies inside the object's box, for p = 1, 1.5 and 2?

Tiny-ImageNet images with boxes, enlarged to the net's input, spread over the classes; left out are those whose box
covers more than ``--largest`` of the image. Each gets a counterfactual into its true class where the net is wrong, else
into the runner-up, at the default radius. Shares inside the box with 95 % bootstrap intervals over images, beside the
share of the area, and the paired differences between exponents. No net of the set is robust: what is said holds of
nets whose changes need not mean anything.

    python benchmarks/counterfactuals_boxes.py --data ../shared/data --nets mobilenetv2 --limit 60
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
from pathlib import Path

import numpy as np
import torch
from inverted_whitebox import build
from PIL import Image
from torch import Tensor

from whywrong.core.margins import best_other
from whywrong.core.statistics import mean
from whywrong.explain.counterfactuals import default_radius, maximize
from whywrong.explain.counterfactuals.metrics import mass_inside
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier

EXPONENTS = (1.0, 1.5, 2.0)
SIDE, INPUT = 64, 224


def boxed(data: Path, limit: int, largest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, 3, 224, 224) in [0, 1], boxes as masks (N, 224, 224) bool, ImageNet classes (N,)."""
    folder = data / "tiny_imagenet_boxes_a"
    with (folder / "boxes.csv").open() as file:
        rows = list(csv.DictReader(file))
    corners = [[int(row[name]) for name in ("x_min", "y_min", "x_max", "y_max")] for row in rows]
    small = [i for i, (x0, y0, x1, y1) in enumerate(corners) if (x1 - x0 + 1) * (y1 - y0 + 1) <= largest * SIDE**2]
    pixels, masks, labels = [], [], []
    for i in small[:: max(1, len(small) // limit)][:limit]:
        x0, y0, x1, y1 = corners[i]
        with Image.open(folder / "images" / rows[i]["wnid"] / rows[i]["file"]) as image:
            enlarged = image.convert("RGB").resize((INPUT, INPUT), Image.Resampling.BICUBIC)
        pixels.append(torch.from_numpy(np.asarray(enlarged).copy()).permute(2, 0, 1))
        masks.append(torch.zeros(1, SIDE, SIDE))
        masks[-1][:, y0 : y1 + 1, x0 : x1 + 1] = 1
        labels.append(int(rows[i]["index"]))
    inside = torch.nn.functional.interpolate(torch.stack(masks), (INPUT, INPUT), mode="nearest")[:, 0] > 0.5
    return torch.stack(pixels).float() / 255, inside, torch.tensor(labels)


def interval(values: Tensor) -> dict[str, float]:
    found = mean(values.double().numpy())
    return {"mean": found.value, "low": found.low, "high": found.high}


def measure(classifier: Classifier, x: Tensor, mask: Tensor, y: Tensor, steps: int) -> dict:
    logits = classifier.logits(x)
    wrong = logits.argmax(1) != y
    target = torch.where(wrong, y, best_other(logits, y))
    area = mask.float().mean((1, 2))
    shares: dict[float, Tensor] = {}
    report: dict[str, dict] = {}
    with classifier:
        objective = ClassObjective(classifier)
        for p in EXPONENTS:
            found = maximize(
                objective, x, target, p=p, eps=default_radius(p, x[0].numel()), steps=steps, gap_tolerance=1e-4
            )
            shares[p] = mass_inside(x, found.z, mask)
            report[f"p = {p:g}"] = {
                "share_inside": interval(shares[p][~shares[p].isnan()]),
                "lift_over_area": interval((shares[p] / area)[~shares[p].isnan()]),
                "unchanged": int(shares[p].isnan().sum()),
                "flip_rate": float((found.logits.argmax(1) == target).float().mean()),
                "forwards": float(found.forwards.float().mean()),
            }
    known = torch.stack([~share.isnan() for share in shares.values()]).all(0)  # images that every search changed
    differences = {
        f"p = {a:g} minus p = {b:g}": interval((shares[a] - shares[b])[known])
        for a, b in ((1.0, 1.5), (1.5, 2.0), (1.0, 2.0))
    }
    return {
        "images": len(x),
        "wrong": int(wrong.sum()),
        "share_of_area": interval(area),
        "exponents": report,
        "differences": differences,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--nets", nargs="+", default=["mobilenetv2", "deit_tiny"])
    parser.add_argument("--limit", type=int, default=60, help="images")
    parser.add_argument("--largest", type=float, default=0.6, help="share of the image that a box may cover")
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, mask, y = boxed(options.data, options.limit, options.largest)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine(), "threads": 1}
    report = {"machine": machine, "steps": options.steps, "largest": options.largest}
    report["nets"] = {net: measure(build(options.data, net), x, mask, y, options.steps) for net in options.nets}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
