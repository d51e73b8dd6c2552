"""How many errors does a surrogate fix behind a black box, and with how many queries?

CIFAR-10, resnet20 as the black box: surrogates distilled from 500, 1,000 and 2,000 answers about images that are not
the errors under test (an image and its JPEG copy are on one side), alone and followed by the Square attack, from scores
and from labels; and a bank of other nets. With ``--planted``, ``planted:cnn`` is the black box and drawn pictures are
asked. Errors are a random part of all errors, lossless and JPEG alike. Intervals are Wilson's; queries are means over
all errors, with failures at what they used.

    python benchmarks/surrogates.py --data ../shared/data --training 500 1000 2000 --out surrogates.json
    python benchmarks/surrogates.py --data ../shared/data --training --bank resnet56 small_vit --out bank.json
    python benchmarks/surrogates.py --planted 10000 --training --out planted.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.black_box import BlackBoxConfig, BlackBoxResult, black_box
from whywrong.attacks.surrogates.distil import distil
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.attacks.surrogates.train import DistilConfig
from whywrong.core.access import Access
from whywrong.core.randomness import row_keys
from whywrong.core.statistics import wilson
from whywrong.data.planted import ordinary_scene, render
from whywrong.models.classifier import Classifier

COPY = 3.6  # largest l2 distance of a JPEG copy to its lossless image; other images are farther apart
ALONE = BlackBoxConfig(tail="none", recrafts=8, lengths=3, queries=27)
WITH_TAIL = BlackBoxConfig(recrafts=8, lengths=3, queries=60)


def build(data: Path, net: str) -> torch.nn.Module:
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    return module.build(net)


def shuffled(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def cifar(classifier: Classifier, data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """All errors with their classes, and the JPEG images that are no error and no copy of one."""
    sets = []
    for name in ("test_lossless", "test_jpeg"):
        with np.load(data / "cifar10_test_a" / f"{name}.npz") as arrays:
            x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).float() / 255
            y = torch.from_numpy(arrays["labels"])
        sets.append((x, y, classifier.predict(x) != y))
    (x, y, wrong), (copy_x, copy_y, copy_wrong) = sets
    distance, copy = torch.cdist(x.flatten(1), copy_x.flatten(1)).min(1)
    bad = copy_wrong.clone()
    bad[copy[wrong & (distance < COPY)]] = True
    errors = torch.cat([x[wrong], copy_x[copy_wrong]]), torch.cat([y[wrong], copy_y[copy_wrong]])
    return *errors, copy_x[~bad]


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Drawn pictures (n, 3, 64, 64) and their classes; the shipped nets were trained with another seed."""
    scene = ordinary_scene(row_keys(seed, n))
    images = torch.cat([render(scene[rows]).images for rows in torch.arange(n).split(500)])
    return images.float() / 255, scene.label


def measure(classifier: Classifier, x: Tensor, y: Tensor, surrogate: Surrogate, config: BlackBoxConfig) -> dict:
    start, before = time.perf_counter(), classifier.forwards
    results = [
        black_box(classifier, a, b, surrogate=surrogate, config=config)
        for a, b in zip(x.split(128), y.split(128), strict=True)
    ]
    asked = classifier.forwards - before
    queries = column(results, "queries")
    if asked != int(queries.sum()) + len(x):
        raise SystemExit(f"the black box was asked {asked} times, the result says {int(queries.sum())} + {len(x)}")
    fixed = torch.cat([result.fixed for result in results])
    images = torch.cat([result.fix_u8 for result in results])[fixed] / 255
    right = int((classifier.predict(images) == y[fixed]).sum()) if bool(fixed.any()) else 0
    interval = wilson(int(fixed.sum()), len(fixed))
    steps = Counter(step for result in results for step in result.step)
    return {
        "errors": len(fixed),
        "fixed": int(fixed.sum()),
        "right_again": right,
        "success": interval.value,
        "wilson": [interval.low, interval.high],
        "q_all": float(queries.float().mean()),
        "q_all_interval": bootstrap(queries.numpy()),
        "q_fixed": float(queries[fixed].float().mean()) if bool(fixed.any()) else None,
        "first_query": float(((queries == 1) & fixed).float().mean()),
        "median_l2": float(column(results, "l2")[fixed].median()) if bool(fixed.any()) else None,
        "median_linf_levels": float(255 * column(results, "linf")[fixed].median()) if bool(fixed.any()) else None,
        "steps": dict(steps),
        "seconds": time.perf_counter() - start,
    }


def column(results: list[BlackBoxResult], name: str) -> Tensor:
    return torch.cat([getattr(result, name) for result in results])


def bootstrap(values: np.ndarray) -> list[float]:
    generator = np.random.default_rng(0)
    means = generator.choice(values, (2000, len(values))).mean(1)
    return [float(value) for value in np.quantile(means, (0.025, 0.975))]


def curve(
    classifier: Classifier, x: Tensor, y: Tensor, pool: Tensor, options: argparse.Namespace, report: dict
) -> None:
    """Distil from growing numbers of answers, and search with each surrogate."""
    for count in options.training:
        images = pool[shuffled(len(pool), 1)[:count]]
        for labels_only in (False, True) if options.labels else (False,):
            config = DistilConfig(nets=tuple(options.networks), epochs=options.epochs, labels_only=labels_only)
            start = time.perf_counter()
            surrogate = distil(classifier, images, config=config)
            entry = {
                "training_queries": surrogate.queries,
                "per_error": surrogate.queries / len(x),
                "agreement": surrogate.card.agreement,
                "held_out": surrogate.card.held_out,
                "training_seconds": time.perf_counter() - start,
                "alone": measure(classifier, x, y, surrogate, replace(ALONE, labels_only=labels_only)),
            }
            if not labels_only:
                entry["with_scores"] = measure(classifier, x, y, surrogate, WITH_TAIL)
            name = f"{surrogate.queries} {'labels' if labels_only else 'scores'}"
            report["distilled"][name] = entry
            show(name, entry)
            save(options, report)


def show(name: str, entry: dict) -> None:
    for kind in ("alone", "with_scores", "labels_alone"):
        if d := entry.get(kind):
            print(
                f"{name:16} {kind:12} {d['fixed']}/{d['errors']} fixed, {100 * d['success']:.1f} % "
                f"({100 * d['wilson'][0]:.1f}-{100 * d['wilson'][1]:.1f}), {d['q_all']:.2f} queries "
                f"({d['q_all_interval'][0]:.2f}-{d['q_all_interval'][1]:.2f}), median l2 {d['median_l2']}, linf "
                f"{d['median_linf_levels']} of 255, {d['steps']}",
                flush=True,
            )


def save(options: argparse.Namespace, report: dict) -> None:
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with models.py and images")
    parser.add_argument("--training", type=int, nargs="*", default=[500, 1000, 2000], help="numbers of answers")
    parser.add_argument("--networks", nargs="+", default=list(DistilConfig().nets), help="architectures")
    parser.add_argument("--epochs", type=int, default=DistilConfig().epochs)
    parser.add_argument("--labels", action="store_true", help="also from labels only")
    parser.add_argument("--bank", nargs="*", default=[], help="nets of a bank, names in models.py")
    parser.add_argument("--planted", type=int, default=0, metavar="N", help="planted:cnn, with N drawn pictures")
    parser.add_argument("--limit", type=int, help="most errors")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    report: dict = {"distilled": {}, "bank": {}, "alone": str(ALONE), "with_scores": str(WITH_TAIL)}
    report["machine"] = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()}
    if options.planted:
        from whywrong.api import load_classifier

        classifier = load_classifier("planted:cnn", batch_size=128, access="scores")
        x, y = pictures(4000, 101)
        wrong = classifier.predict(x) != y
        x, y, pool = x[wrong], y[wrong], pictures(options.planted, 102)[0]
        options.training = [options.planted]
    else:
        classifier = Classifier(build(options.data, "resnet20"), batch_size=256, access=Access.SCORES)
        x, y, pool = cifar(classifier, options.data)
    report["all_errors"], report["pool"] = len(x), len(pool)
    chosen = shuffled(len(x), 0)[: options.limit]
    x, y = x[chosen], y[chosen]
    curve(classifier, x, y, pool, options, report)
    if options.bank:
        models = [Classifier(build(options.data, net), batch_size=128) for net in options.bank]
        entry = {
            "alone": measure(classifier, x, y, Surrogate.bank(models), replace(ALONE, queries=20)),
            "labels_alone": measure(classifier, x, y, Surrogate.bank(models), replace(ALONE, labels_only=True)),
        }
        report["bank"][" ".join(options.bank)] = entry
        show("bank", entry)
        save(options, report)
    save(options, report)


if __name__ == "__main__":
    main()
