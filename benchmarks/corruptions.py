"""Corruptions: seconds an image, agreement with the reference implementation, and what they do to a classifier.

    python benchmarks/corruptions.py                                    # milliseconds a 224-pixel image, one thread
    python benchmarks/corruptions.py --reference reference.json         # and pixel change beside the stored reference
    python benchmarks/corruptions.py --model ../shared/data/models.py:resnet20 \
        --data ../shared/data/cifar10_test_a/test_lossless.npz          # and accuracy, kind by severity

The figures of the reference are made by the reference itself, in an environment of its own (it needs old releases):

    pip install imagecorruptions "numpy<2" "scipy<1.12" "scikit-image<0.22" "opencv-python<4.11" "setuptools<80"
    python benchmarks/corruptions.py --write-reference reference.json

Frost comes from five photographs far apart in brightness, so its mean settles only after hundreds of draws:
``--kinds frost --draws 20``.

That package changed elastic_transform, and it knows only the strengths for 224 pixels. The scripts that made
the published sets are followed with ``--module FILE.py --side 32``: any file of functions ``kind(image, severity)``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SEVERITIES = (1, 2, 3, 4, 5)
KINDS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
)
MEAN_ONLY = ("snow", "frost")
NOT_RANDOM = (
    "defocus_blur",
    "zoom_blur",
    "gaussian_blur",
    "brightness",
    "contrast",
    "saturate",
    "pixelate",
    "jpeg_compression",
)
ALLOWED_MS = 40.0
ALLOWED_CHANGE = 0.10
RESOLUTION = 0.25  # grey levels: a difference below it is the rounding of the result to whole levels


def main() -> None:
    """Print one JSON object; tables go to the other stream."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("../shared/data/imagenet_ccby_a/images"))
    parser.add_argument("--count", type=int, default=32, help="photographs")
    parser.add_argument("--draws", type=int, default=4, help="times each photograph is corrupted for the comparison")
    parser.add_argument("--side", type=int, default=224, help="pixels of the square crop for the comparison")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help="default all")
    parser.add_argument("--reference", type=Path, help="compare with these stored figures")
    parser.add_argument("--write-reference", type=Path, help="make the figures; needs the reference, not whywrong")
    parser.add_argument("--module", default="imagecorruptions.corruptions", help="module or file of the reference")
    parser.add_argument("--model", help="FILE.py:function")
    parser.add_argument("--data", type=Path, help=".npz with images (N, H, W, 3) and labels")
    arguments = parser.parse_args()
    photographs = crops(arguments.images, arguments.count, arguments.side)
    if arguments.write_reference:
        write_reference(arguments.write_reference, photographs, arguments.module, arguments.draws, arguments.kinds)
        return
    import torch

    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "question": "time, agreement with the reference, and effect of the corruptions",
        "milliseconds": times(crops(arguments.images, 8, 224), arguments.kinds),
        "milliseconds_allowed": ALLOWED_MS,
    }
    if arguments.reference:
        result["agreement"] = compare(photographs, json.loads(arguments.reference.read_text()), arguments.draws)
        result["difference_allowed"] = ALLOWED_CHANGE
    if arguments.model and arguments.data:
        result["accuracy"] = accuracies(arguments.model, arguments.data, arguments.kinds)
    result["machine"] = {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=1))


def crops(folder: Path, count: int, side: int) -> np.ndarray:
    """(N, side, side, 3) uint8: photographs spread over the folder, scaled to 8/7 of the side and cut in the middle."""
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        sys.exit(f"{folder}: no photographs here")
    chosen = [paths[int(k)] for k in np.linspace(0, len(paths) - 1, min(count, len(paths)))]
    return np.stack([_crop(path, side) for path in chosen])


def _crop(path: Path, side: int) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    factor = side * 8 / 7 / min(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


def change(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Per image, then averaged, in grey levels: mean change, mean size of the change, its standard deviation."""
    delta = (after.astype(np.float64) - before).reshape(len(before), -1)
    return {
        "signed": float(delta.mean(1).mean()),
        "mean": float(np.abs(delta).mean(1).mean()),
        "spread": float(delta.std(1).mean()),
    }


def write_reference(target: Path, photographs: np.ndarray, module: str, draws: int, kinds: Sequence[str]) -> None:
    """Run the reference on the photographs; kinds that raise are stored with the reason."""
    if module.endswith(".py"):
        spec = importlib.util.spec_from_file_location("reference", module)
        assert spec is not None
        assert spec.loader is not None
        reference = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(reference)
    else:
        reference = importlib.import_module(module)
    if hasattr(reference, "gaussian"):
        reference.gaussian = _with_former_keyword(reference.gaussian)
    figures: dict[str, list[dict[str, float]] | str] = {}
    for kind in kinds:
        np.random.seed(0)  # noqa: NPY002 - the reference draws from the global generator
        try:
            figures[kind] = [
                _reference_change(getattr(reference, kind), photographs, severity, 1 if kind in NOT_RANDOM else draws)
                for severity in SEVERITIES
            ]
        except Exception as error:  # noqa: BLE001 - whatever a foreign release raises is a finding, not our failure
            figures[kind] = f"{type(error).__name__}: {error}"
        print(kind, figures[kind], file=sys.stderr)
    target.write_text(json.dumps({"module": Path(module).name, "side": photographs.shape[1], "figures": figures}))


def _with_former_keyword(gaussian: Any) -> Any:
    """The reference asks for ``multichannel``, which scikit-image has since renamed."""

    def called(*args: Any, multichannel: bool = False, **kwargs: Any) -> Any:
        return gaussian(*args, channel_axis=-1 if multichannel else None, **kwargs)

    return called


def _reference_change(function: Any, photographs: np.ndarray, severity: int, draws: int) -> dict[str, float]:
    return _average(
        [
            change(
                photographs, np.stack([np.uint8(function(Image.fromarray(image), severity)) for image in photographs])
            )
            for _ in range(draws)
        ]
    )


def _average(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def times(photographs: np.ndarray, kinds: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of processor time an image, kind by severity: the median of three batches.

    On one thread that is the time on a core of its own, also where other work shares the machine.
    """
    from whywrong.core.randomness import row_keys
    from whywrong.data.corruptions import corrupt

    x = _tensor(photographs)
    keys = row_keys(0, len(x))
    table = {}
    for kind in kinds:
        table[kind] = []
        for severity in SEVERITIES:
            seconds = []
            for _ in range(3):
                start = time.process_time()
                corrupt(x, kind, severity, keys=keys)
                seconds.append(time.process_time() - start)
            table[kind].append(round(1000 * float(np.median(seconds)) / len(x), 2))
    _print_table("milliseconds of processor time an image of 224 pixels, one thread", table)
    return table


def compare(photographs: np.ndarray, stored: dict[str, Any], draws: int) -> dict[str, Any]:
    """Our change beside the reference's; ``off`` lists what differs by more than allowed."""
    from whywrong.core.randomness import row_keys
    from whywrong.data.corruptions import corrupt

    if stored["side"] != photographs.shape[1]:
        sys.exit(f"the reference was made with --side {stored['side']}")
    x = _tensor(photographs)
    table: dict[str, list[str]] = {}
    rows: dict[str, Any] = {}
    off = []
    for kind, figures in stored["figures"].items():
        if isinstance(figures, str):
            rows[kind] = f"the reference failed: {figures}"
            continue
        rows[kind], table[kind] = [], []
        for severity, theirs in zip(SEVERITIES, figures, strict=True):
            results = []
            for draw in range(1 if kind in NOT_RANDOM else draws):
                y = corrupt(x, kind, severity, keys=row_keys(draw, len(x)))
                results.append(change(photographs, (y * 255).round().permute(0, 2, 3, 1).numpy()))
            ours = _average(results)
            ratio = {name: ours[name] / max(theirs[name], 1e-9) for name in ("mean", "spread")}
            rows[kind].append({"ours": ours, "reference": theirs, "ratio": ratio})
            table[kind].append(f"{ratio['mean']:.3f}/{ratio['spread']:.3f}")
            for name in ("mean",) if kind in MEAN_ONLY else ("mean", "spread"):
                near = abs(ours[name] - theirs[name]) < RESOLUTION
                if abs(ratio[name] - 1) > ALLOWED_CHANGE:
                    off.append({"kind": kind, "severity": severity, "figure": name, "within_rounding": near})
    _print_table(f"mean / spread of the change, ours over {stored['module']}", table)
    print("off:", off, file=sys.stderr)
    return {"reference": stored["module"], "side": stored["side"], "rows": rows, "off": off}


def accuracies(model: str, data: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """Share of images read as labelled, under each kind and severity."""
    import torch

    from whywrong.core.randomness import row_keys
    from whywrong.data.corruptions import corrupt
    from whywrong.models.loading.zoo import load_classifier

    classifier = load_classifier(model)
    with np.load(data) as arrays:
        x, y = _tensor(arrays["images"]), torch.from_numpy(arrays["labels"]).long()

    def accuracy(images: Any) -> float:
        right = [classifier.logits(part).argmax(1) for part in images.split(128)]
        return round(float((torch.cat(right) == y).double().mean()), 4)

    keys = row_keys(0, len(x))
    table = {kind: [accuracy(corrupt(x, kind, severity, keys=keys)) for severity in SEVERITIES] for kind in kinds}
    clean = accuracy(x)
    _print_table(f"accuracy of {model.rpartition(':')[2]} on {len(x)} images, {clean:.3f} uncorrupted", table)
    return {"model": model.rpartition(":")[2], "images": len(x), "clean": clean, "table": table}


def _tensor(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div(255).contiguous()


def _print_table(title: str, table: dict[str, list[Any]]) -> None:
    print(title, file=sys.stderr)
    for kind, cells in table.items():
        print(f"  {kind:18s}" + "".join(f"{cell!s:>14}" for cell in cells), file=sys.stderr)


if __name__ == "__main__":
    main()
