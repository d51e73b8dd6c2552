"""What does a diagnosis cost beyond decoding each image once and the passes themselves?

One run of ``diagnose --depth quick`` with its report on photographs, against the floor: one decode of every image plus
the passes used, each at the time of a plain pass of the same model at the same batch size. Floor and run are timed in
the same process, the floor before and after the run, and the mean of both counts. Imports are outside both.

    python benchmarks/diagnose_overhead.py --data ../shared/data --model mobilenetv2 --images 1000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from whywrong.data.decoding import DecodeOptions
from whywrong.data.items import load_item
from whywrong.data.sources import Source, open_source
from whywrong.doors.pairs import input_spec
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier
from whywrong.models.memory import keep_freed_memory
from whywrong.report.html import write_report
from whywrong.runs.diagnose import diagnose
from whywrong.runs.options import RunOptions
from whywrong.runs.work.context import as_input

PHOTOGRAPHS = ("imagenet_ccby_a/images", "imagenet_one_per_class/images")
LARGEST_PASSES = 120  # forward-equivalents an error that the quick depth may use


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument(
        "--folders", nargs="*", help="image folders below --data; the first that is there is the source"
    )
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"{arguments.data}: real models and images are not here")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        source = gather(arguments.data, arguments.folders or PHOTOGRAPHS, arguments.images, Path(scratch) / "images")
        print(json.dumps(measure(arguments, source, Path(scratch) / "run"), indent=1))


def gather(data: Path, folders: list[str] | tuple[str, ...], images: int, target: Path) -> Source:
    """Links to the first ``images`` photographs of the folders, by class; the file names stay distinct."""
    count = 0
    for folder in folders:
        for path in sorted((data / folder).rglob("*.*")):
            if count == images or path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            place = target / path.parent.name
            place.mkdir(parents=True, exist_ok=True)
            os.link(path, place / f"{count:05d}{path.suffix}") if _same_disk(path, place) else _copy(path, place, count)
            count += 1
    records = data / folders[0].split("/")[0] / "classes.json"
    if records.exists():
        (target / "classes.json").write_bytes(records.read_bytes())
    return open_source(target)


def measure(arguments: argparse.Namespace, source: Source, out: Path) -> dict[str, object]:
    """Seconds of the run and of the floor, on the wall and of the processors."""
    classifier = load_classifier(f"{arguments.data / 'models.py'}:{arguments.model}")
    floors = [floor(classifier, source)]
    before = classifier.forwards, classifier.backwards
    start = clocks()
    run = diagnose(classifier, source, out, RunOptions(limit=arguments.limit))
    diagnosed = clocks()
    report = write_report(run, out / "report.html", limit=arguments.limit)
    taken, reporting = clocks() - start, clocks() - diagnosed
    forwards, backwards = classifier.forwards - before[0], classifier.backwards - before[1]
    floors.append(floor(classifier, source))
    decode, forward, backward = np.mean(floors, axis=0)  # (wall, processors) each
    due = decode + forwards * forward + backwards * backward
    errors = len(run.errors())
    methods = list(run.meta["methods"])
    spent = [
        int(run.query(f"select sum(forwards + backwards) as n from {name}")["n"][0].as_py() or 0) for name in methods
    ]
    return {
        "question": "wall time of diagnose --depth quick with its report, over one decode an image and the passes used",
        "model": arguments.model,
        "images": len(source),
        "errors": errors,
        "explained_in_full": min(errors, arguments.limit),
        "batch_size": run.meta["batch_size"],
        "forwards": forwards,
        "backwards": backwards,
        "passes_an_error": sum(spent) / max(errors, 1),
        "passes_an_error_allowed": LARGEST_PASSES,
        "seconds": _named(taken),
        "report_seconds": _named(reporting),
        "floor_seconds": _named(due),
        "floor_parts": {
            "decoding": _named(decode),
            "forwards": _named(forwards * forward),
            "backwards": _named(backwards * backward),
        },
        "ratio": taken[0] / due[0],
        "ratio_of_processor_time": taken[1] / due[1],
        "ratio_allowed": 1.25,
        "report_bytes": report.stat().st_size,
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def clocks() -> np.ndarray:
    """Seconds on the wall and of the processors, which other work on the machine hardly moves."""
    return np.array([time.perf_counter(), time.process_time()])


def floor(classifier: Classifier, source: Source) -> np.ndarray:
    """(3, 2) seconds: decoding every image once, one after the other; a forward and a backward pass of one image."""
    spec, options = input_spec(classifier, source), DecodeOptions()
    start, pixels = clocks(), []
    for entry in source.entries():
        item = load_item(source, entry, spec, options)
        if len(pixels) < classifier.batch_size:
            pixels.append(item.pixels)
    decode = clocks() - start
    x = as_input(pixels)
    y = torch.zeros(len(x), dtype=torch.int64)

    def differentiate() -> None:
        classifier.gradient(x, lambda logits, rows: logits.gather(1, y[rows, None])[:, 0])

    with classifier:
        forward = _median(lambda: classifier.logits(x)) / len(x)
        both = _median(differentiate) / len(x)
    return np.stack([decode, forward, np.maximum(0.0, both - forward)])


def _median(call: Callable[[], object], repeats: int = 9) -> np.ndarray:
    """Median time of a call after a warm-up."""
    call()
    times = []
    for _ in range(repeats):
        start = clocks()
        call()
        times.append(clocks() - start)
    return np.median(times, axis=0)


def _named(seconds: np.ndarray) -> dict[str, float]:
    return {"wall": round(float(seconds[0]), 4), "processors": round(float(seconds[1]), 4)}


def _same_disk(path: Path, folder: Path) -> bool:
    return os.stat(path).st_dev == os.stat(folder).st_dev


def _copy(path: Path, folder: Path, number: int) -> None:
    (folder / f"{number:05d}{path.suffix}").write_bytes(path.read_bytes())


if __name__ == "__main__":
    main()
