"""Does memory stay flat as the data grows? Peak memory of a diagnosis of 1,000 and of 20,000 distinct JPEGs.

The JPEGs are made from a few photographs by seeded re-encoding: another crop, brightness and quality each, so that no
two are equal. Every diagnosis runs in a process of its own, with a small convolutional net with seeded weights and the
prediction-only share of wrong answers that such a net has; the report is written too.

    python benchmarks/memory_flat.py --data ../shared/data --small 1000 --large 20000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 8
SIDE = 64
ALLOWED = 0.05
MODEL = f'''"""A small net with seeded weights."""

import torch
from torch import nn


def net():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, {CLASSES}),
    ).eval()
    module.input_size = (3, {SIDE}, {SIDE})
    module.classes = [str(index) for index in range({CLASSES})]
    return module
'''


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=20000)
    parser.add_argument(
        "--wrong", type=float, default=0.02, help="share of images that get another label than the net's"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _diagnose(Path(arguments.child[0]), Path(arguments.child[1]))
        return
    photographs = sorted((arguments.data / "imagenet_ccby_a" / "images").rglob("*.jpg"))[:40]
    if not photographs:
        sys.exit(f"{arguments.data}: real images are not here")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.py").write_text(MODEL)
        peaks = {}
        for count in (arguments.small, arguments.large):
            folder = Path(scratch) / str(count)
            make_jpegs(folder / "images", photographs, count, arguments.wrong, Path(scratch) / "model.py")
            child = [sys.executable, __file__, "--child", str(folder), str(Path(scratch) / "model.py")]
            peaks[count] = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
    small, large = (peaks[count]["peak_bytes"] for count in (arguments.small, arguments.large))
    print(
        json.dumps(
            {
                "question": "growth of peak memory from few to many distinct JPEGs, diagnosis and report included",
                "runs": peaks,
                "growth": large / small - 1,
                "growth_allowed": ALLOWED,
                "machine": {
                    "system": platform.platform(),
                    "cores": os.cpu_count(),
                    "python": platform.python_version(),
                },
            },
            indent=1,
        )
    )


def make_jpegs(folder: Path, photographs: list[Path], count: int, wrong: float, model: Path) -> None:
    """``count`` distinct JPEGs, labelled as the net reads them but for a seeded share."""
    import torch

    from whywrong.models.loading.zoo import load_classifier

    classifier = load_classifier(f"{model}:net")
    originals = [Image.open(path).convert("RGB") for path in photographs]
    rng = np.random.default_rng(0)
    for start in range(0, count, 256):
        files, pixels = [], []
        for number in range(start, min(start + 256, count)):
            image = originals[number % len(originals)]
            width, height = (int(side * rng.uniform(0.5, 0.9)) for side in image.size)
            left, top = int(rng.integers(image.width - width)), int(rng.integers(image.height - height))
            crop = image.crop((left, top, left + width, top + height)).resize((160, 120))
            image = crop.point([min(255, int(level * rng.uniform(0.6, 1.4))) for level in range(256)] * 3)
            path = folder / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=int(rng.integers(60, 96)))
            files.append(path)
            pixels.append(np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        read = classifier.logits(x).argmax(1).numpy()
        labels = np.where(rng.random(len(read)) < wrong, (read + 1) % CLASSES, read)
        with open(folder / "manifest.csv", "a") as manifest:
            if start == 0:
                manifest.write("path,label\n")
            manifest.writelines(f"{path.name},{label}\n" for path, label in zip(files, labels, strict=True))


def _diagnose(folder: Path, model: Path) -> None:
    """One diagnosis with its report in this process; its peak memory."""
    import resource

    from whywrong.data.sources import open_source
    from whywrong.models.loading.zoo import load_classifier
    from whywrong.report.html import write_report
    from whywrong.runs.diagnose import diagnose

    run = diagnose(load_classifier(f"{model}:net"), open_source(folder / "images"), folder / "run")
    diagnosed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_report(run, folder / "report.html")
    unit = 1 if sys.platform == "darwin" else 1024
    found = {
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "peak_bytes_before_report": diagnosed * unit,
        "items": len(run.query("select 1 from items")),
        "errors": len(run.errors()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
