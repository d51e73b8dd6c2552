"""Do the maps add up? Contribution maps to the fall of the margin, class activation maps to the difference of logits.

For each net: all errors on its images, or the first of each set. The residual of a contribution is a share of the
margin's fall; that of an activation map, which is due only where the net pools its last feature map into a linear
layer, a share of the sum of the map's absolute values.

    python benchmarks/completeness.py --data ../shared/data --nets resnet20 mobilenetv2 --limit 50
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from inverted_whitebox import ORDINARY, PHOTOGRAPHS, ROBUST, build, cifar, errors_of, photographs

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.explain.cam import CamConfig, cam

ALLOWED, CAM_ALLOWED = 0.02, 1e-3


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--nets", nargs="+", default=[*ORDINARY, *ROBUST])
    parser.add_argument("--limit", type=int, help="most errors of each image set")
    options = parser.parse_args()
    report = {}
    for net in options.nets:
        classifier = build(options.data, net)
        sets = photographs(options.data) if net in PHOTOGRAPHS else cifar(options.data)
        x, y, counts = errors_of(classifier, sets, options.limit)
        residuals, passes, fixed, maps = [], [], 0, []
        for some_x, some_y in zip(x.split(64), y.split(64), strict=True):
            everything = torch.ones(len(some_x), dtype=torch.bool)
            found = invert(classifier, some_x, some_y, detail=everything, config=InvertedConfig())
            table = found.to_arrow()
            residuals += [value for value in table["contribution_residual"].to_pylist() if value is not None]
            passes += (found.forwards + found.backwards).tolist()
            fixed += int(found.fixed.sum())
            added = cam(classifier, some_x, some_y, config=CamConfig())
            maps += added.residual.abs().tolist() if added.exact else []
        good = torch.tensor(residuals).abs()
        report[net] = {
            "sets": counts,
            "errors": len(y),
            "fixed": fixed,
            "contributions": len(good),
            "under_allowed": float((good < ALLOWED).float().mean()),
            "largest": float(good.max()),
            "passes_an_error": sum(passes) / len(passes),
            "cam_exact_maps": len(maps),
            "cam_largest": max(maps) if maps else None,
        }
    print(json.dumps({"allowed": ALLOWED, "cam_allowed": CAM_ALLOWED, "nets": report}, indent=1))


if __name__ == "__main__":
    main()
