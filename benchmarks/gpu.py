"""Does everything run on this GPU, with the answers of the CPU, the same bits each time, and near its speed?

Seven questions, each answered as far as the time goes (ten minutes in all, unless told otherwise):

1. ``methods``: every registered method, images on the host and on the GPU: statuses beside those of the CPU.
2. ``diagnose``: a check and a whole run, from files to a report.
3. ``repeats``: every method twice: equal to the bit, or the columns and maps that are not.
4. ``agreement``: logits beside those of the CPU, and predictions apart from near ties.
5. ``memory_runs_out``: a batch that does not fit is halved until it does.
6. ``speed``: images a second beside a plain forward, or forward and backward, pass of the same model and batch.
7. ``memory_planned``: bytes that the plan expects of a batch, and bytes that it took.

Without a GPU it says so and measures nothing.

    python benchmarks/gpu.py [--model planted:cnn --data planted:test] [--seconds 600] > gpu.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.api import check, diagnose, open_data
from whywrong.core.config import make_config
from whywrong.core.errors import WhyWrongError
from whywrong.core.margins import error_margin
from whywrong.core.registry import Method, methods, resolve
from whywrong.core.result import MethodResult
from whywrong.models.batch_size import saved_bytes
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier
from whywrong.runs.labelled import LabelledSource

REPEATS = 10  # calls behind a rate
NEAR_TIE = 1e-3  # logits; predictions of images nearer to a tie may differ
SHORT = {"profiles": {"max_passes": 500, "contexts": 4}, "counterfactuals": {"steps": 10}}
TIMED = {"inverted": {}, "counterfactuals": {"p": 1.5, "steps": 20, "trust": False}, "profiles": {"max_passes": 500}}


def pictures(classifier: Classifier, data: str, limit: int) -> tuple[Tensor, Tensor]:
    """The first images of the data and their classes, on the device of the classifier."""
    source = LabelledSource(open_data(data))
    parts = [(x, y) for x, y, _ in source.read(classifier, source.settle(classifier), limit=limit)]
    x, y = (torch.cat(column) for column in zip(*parts, strict=True))
    return x.to(classifier.device), y.to(classifier.device)


def answered(classifier: Classifier, method: Method, x: Tensor, y: Tensor, **settings: Any) -> MethodResult:
    """A method with settings that keep it short."""
    config = make_config(resolve(method.config), settings or SHORT.get(method.name, {}), method.name)
    return resolve(method.function)(classifier, x, y, keys=torch.arange(len(x), device=x.device), config=config)


def runner_up(classifier: Classifier, x: Tensor) -> Tensor:
    """Labels that make every image an error: the class in second place."""
    return classifier.logits(x).argsort(1, descending=True)[:, 1]


def ask_methods(gpu: Classifier, cpu: Classifier, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Question 1."""
    found = {}
    for name, method in methods().items():
        if method.access > gpu.access:
            continue
        expected = answered(cpu, method, x.cpu(), y.cpu()).to_arrow()["status"].to_pylist()
        for place, device in (("host", "cpu"), ("device", gpu.device)):
            try:
                status = answered(gpu, method, x.to(device), y.to(device)).to_arrow()["status"].to_pylist()
                same = sum(a == b for a, b in zip(status, expected, strict=True))
                found[f"{name}, {place}"] = {"rows": len(status), "statuses_as_on_cpu": same}
            except (RuntimeError, WhyWrongError) as error:
                found[f"{name}, {place}"] = {"error": str(error).splitlines()[0]}
    return found


def ask_diagnose(gpu: Classifier, data: str, limit: int) -> dict[str, Any]:
    """Question 2."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        report = check(gpu, data, limit=limit)
        checked = time.perf_counter() - started
        run = diagnose(gpu, data, Path(folder) / "run", depth="standard", limit=20, options=_for_standard())
        seconds = time.perf_counter() - started - checked
        failed = run.query("select count(*) from failed_items").to_pylist()[0]
        return {
            "check": {"images": report.images, "wrong": report.wrong, "seconds": checked},
            "run": {"errors": run.errors().num_rows, "failed": failed, "seconds": seconds},
            "refused": dict(run.meta["refused"]),
        }


def _for_standard() -> dict[str, dict[str, Any]]:
    return {name: SHORT[name] for name, method in methods().items() if name in SHORT and method.depth != "deep"}


def ask_repeats(gpu: Classifier, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Question 3."""
    found = {}
    for name, method in methods().items():
        if method.access > gpu.access:
            continue
        one, two = (_plain(answered(gpu, method, x, y)) for _ in range(2))
        apart = {part: gap for part in one if (gap := _gap(one[part], two[part])) is not None}
        found[name] = {"equal_to_the_bit": not apart, "largest_difference": apart}
    return found


def _plain(result: MethodResult) -> dict[str, Any]:
    maps = {f"map {name}": values.detach().cpu().numpy() for name, values in result.maps().items()}
    return {**result.to_arrow().to_pydict(), **maps}


def _gap(one: Any, two: Any) -> float | None:
    """None where both are equal; the largest difference of numbers, NaN where they are none."""
    if isinstance(one, np.ndarray) and one.dtype.kind == "f" and one.shape == two.shape:
        return None if np.array_equal(one, two, equal_nan=True) else float(np.nanmax(np.abs(one - two)))
    if repr(one) == repr(two):
        return None
    try:
        return float(np.nanmax(np.abs(np.asarray(one, dtype=float) - np.asarray(two, dtype=float))))
    except (TypeError, ValueError):
        return float("nan")


def ask_agreement(gpu: Classifier, cpu: Classifier, x: Tensor) -> dict[str, Any]:
    """Question 4."""
    here, there = cpu.logits(x.cpu()), gpu.logits(x).cpu()
    top = here.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] >= NEAR_TIE
    differs = here.argmax(1) != there.argmax(1)
    return {
        "images": len(x),
        "largest_difference": float((here - there).abs().max()),
        "relative_to_spread": float(((here - there).abs().amax(1) / (here.amax(1) - here.amin(1))).max()),
        "near_ties": int((~clear).sum()),
        "other_predictions_beyond_ties": int((differs & clear).sum()),
        "other_predictions_at_ties": int((differs & ~clear).sum()),
    }


def ask_memory_runs_out(gpu: Classifier, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Question 5: the card is made small for a moment."""
    before, copies = gpu.batch_size, 1 + 256 // len(x)
    many, labels = torch.cat([x] * copies), torch.cat([y] * copies)
    expected = gpu.logits(many)
    torch.cuda.empty_cache()
    each, total = saved_bytes(gpu, x[:1]), torch.cuda.mem_get_info()[1]
    wanted = torch.cuda.memory_allocated() + 64 * each + 4 * many.element_size() * many.numel()
    try:
        torch.cuda.set_per_process_memory_fraction(min(1.0, wanted / total))
        gpu.batch_size = len(many)
        logits = gpu.gradient(many, lambda scores, rows: error_margin(scores, labels[rows]))[0]
        return {
            "asked": len(many),
            "batch_size_after": gpu.batch_size,
            "largest_difference": float((logits - expected).abs().max()),
        }
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        gpu.batch_size = before


def ask_speed(gpu: Classifier, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Question 6: passes a second of the methods beside those of the model by itself."""
    many = torch.cat([x] * (1 + gpu.batch_size // len(x)))[: gpu.batch_size]
    labels = torch.cat([y] * (1 + gpu.batch_size // len(y)))[: gpu.batch_size]
    assert gpu.module is not None
    module = gpu.module

    def forward() -> int:
        with gpu, torch.no_grad():
            module(many)
        return len(many)

    def both() -> int:
        with gpu, torch.enable_grad():
            pixels = many.clone().requires_grad_()
            torch.autograd.grad(module(pixels).amax(1).sum(), pixels)
        return 2 * len(many)

    rates = {"forward": _rate(forward, REPEATS), "forward_and_backward": _rate(both, REPEATS)}
    rates["predict"] = _rate(lambda: len(gpu.predict(many)), REPEATS)
    for name, settings in TIMED.items():
        method = methods()[name]
        if method.access <= gpu.access:
            rates[name] = _rate(lambda m=method, s=settings: _passes(answered(gpu, m, many, labels, **s)), 1)
    floors = {name: "forward" if name in ("predict", "profiles") else "forward_and_backward" for name in rates}
    shares = {name: rate / rates[floors[name]] for name, rate in rates.items()}
    return {"batch": len(many), "passes_a_second": rates, "share_of_the_plain_model": shares}


def _passes(result: MethodResult) -> int:
    return int((result.forwards + result.backwards).sum())


def _rate(call: Callable[[], int], times: int) -> float:
    """Image passes a second, after one call that warms up."""
    call()
    torch.cuda.synchronize()
    started = time.perf_counter()
    passes = sum(call() for _ in range(times))
    torch.cuda.synchronize()
    return passes / (time.perf_counter() - started)


def ask_memory_planned(gpu: Classifier, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Question 7."""
    many = torch.cat([x] * (1 + gpu.batch_size // len(x)))[: gpu.batch_size]
    labels = torch.cat([y] * (1 + gpu.batch_size // len(y)))[: gpu.batch_size]
    each = saved_bytes(gpu, x[:1])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gpu.gradient(many, lambda scores, rows: error_margin(scores, labels[rows]))
    return {"batch": len(many), "planned": each * len(many), "used": torch.cuda.max_memory_allocated() - before}


def questions(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Name of each question, and how it is asked; the model is loaded for the first."""
    gpu, cpu = (load_classifier(options.model, device=name, batch_size=options.batch_size) for name in ("cuda", "cpu"))
    data, images = options.data, options.images
    x, _ = pictures(gpu, data, max(images, 64))
    few = x[:images]
    y = runner_up(gpu, x)
    yield "agreement", lambda: ask_agreement(gpu, cpu, x)
    yield "repeats", lambda: ask_repeats(gpu, few, y[:images])
    yield "memory_planned", lambda: ask_memory_planned(gpu, few, y[:images])
    yield "memory_runs_out", lambda: ask_memory_runs_out(gpu, few, y[:images])
    yield "speed", lambda: ask_speed(gpu, few, y[:images])
    yield "methods", lambda: ask_methods(gpu, cpu, few, y[:images])
    yield "diagnose", lambda: ask_diagnose(gpu, data, 4 * images)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All answers, or only one; a question that fails says why, and one for which no time is left is named."""
    started = time.perf_counter()
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "model": options.model,
        "data": options.data,
    }
    for name, ask in questions(options):
        if options.only not in (None, name):
            continue
        begun = time.perf_counter()
        if begun - started > 0.8 * options.seconds:
            found[name] = {"skipped": f"{begun - started:.0f} of {options.seconds:g} s had gone"}
            continue
        try:
            found[name] = ask()
        except (RuntimeError, WhyWrongError) as error:
            found[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        found[name]["took"] = time.perf_counter() - begun
    return found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="planted:cnn")
    parser.add_argument("--data", default="planted:test")
    parser.add_argument("--images", type=int, default=16, help="images that every method is asked about")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--batch-size", type=int, help="default what is planned")
    parser.add_argument("--only", help="one question instead of all")
    options = parser.parse_args(words)
    if not torch.cuda.is_available():
        text = "no CUDA GPU on this machine: nothing was measured"
        print(text, file=sys.stderr)
        print(json.dumps({"skipped": text}))
        return 0
    found = measure(options)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
