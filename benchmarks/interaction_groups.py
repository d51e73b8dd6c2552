"""Four groups of images compared by their interactions: how long does it take, and is the noise small enough?

CIFAR-10 resnet20, lossless test images and, where these hold too few errors, JPEG-compressed ones; correct images, own
errors, PGD errors and corruption errors with their sources, 13 orders, log-odds of the true class, of the class t, and
their difference from the same passes. One thread: processor seconds, beside the floor, which is the passes taken times
the time of a plain pass of the same model at the same batch size in the same process.

Sampling noise: mean over images of the squared standard error of an image's A, M or U, through the variance of these
values between images, over all images measured: by order, and of the mean over each band of orders, on which claims C1
and C2 rest. Then these claims, for both classes, as `whywrong reproduce` decides them.

    python benchmarks/interaction_groups.py --data ../shared/data --limit 50 --out interaction_groups.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whywrong.core.randomness import item_keys
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.claim_groups import first_images
from whywrong.reproduce.interactions.compare_groups import compare, curves_of, sampling_noise
from whywrong.reproduce.interactions.config import InteractionsClaimConfig
from whywrong.reproduce.interactions.features import Features
from whywrong.reproduce.interactions.groups import GROUPS
from whywrong.reproduce.interactions.make_groups import make_groups
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups, measure_groups
from whywrong.reproduce.interactions.order_bands import BANDS, band_of
from whywrong.reproduce.interactions.wording import decide_effect
from whywrong.reproduce.protocol import TensorImages


def build(data: Path, net: str, batch_size: int) -> Classifier:
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    return Classifier(module.build(net), batch_size=batch_size)


def images(data: Path) -> tuple[Tensor, Tensor]:
    """Lossless test images, then the JPEG-compressed ones: (N, 3, 32, 32) in [0, 1], and labels."""
    x, y = [], []
    for name in ("test_lossless", "test_jpeg"):
        with np.load(data / "cifar10_test_a" / f"{name}.npz") as arrays:
            x.append(torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).float() / 255)
            y.append(torch.from_numpy(arrays["labels"]).long())
    return torch.cat(x).contiguous(), torch.cat(y)


def plain_pass(classifier: Classifier, x: Tensor) -> float:
    """Processor seconds of a pass, the best of five over a few batches."""
    some = x[: 8 * classifier.batch_size]
    best = float("inf")
    with classifier:
        for _ in range(5):
            start = time.process_time()
            classifier.logits(some)
            best = min(best, (time.process_time() - start) / len(some))
    return best


def noise(measured: MeasuredGroups) -> dict:
    """Sampling noise by statistic and class, over all images: by order, and of the mean over each band of orders."""
    parts = [group.own for group in measured.groups.values()]
    pooled = Features(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Features)})
    weights = band_of(measured.orders, measured.players).astype(float)
    weights /= weights.sum(1, keepdims=True)  # (3, R)
    found: dict = {}
    for statistic, shares in sampling_noise(pooled).items():
        values, errors = getattr(pooled, statistic), getattr(pooled, f"{statistic}_se")
        in_bands = np.einsum("br,nrv->nbv", weights, values)
        # Orders draw their contexts independently of each other.
        noise_in_bands = np.einsum("br,nrv->nbv", weights**2, np.square(errors)).mean(0)
        of_bands = noise_in_bands / in_bands.var(0, ddof=1)  # (3, V)
        for v, name in enumerate(measured.names[:2]):
            found[f"{statistic}_{name}"] = {
                "mean_over_orders": float(shares[:, v].mean()),
                "worst_order": float(shares[:, v].max()),
                "by_order": shares[:, v].round(4).tolist(),
                "by_band": dict(zip(BANDS, of_bands[:, v].round(4).tolist(), strict=True)),
            }
    return found


def claims(measured: MeasuredGroups) -> dict:
    """C1 and C2 for each class: paired change of A in its band, what J says, and the share that is noise."""
    found: dict = {}
    for name, group, band, above in (("C1", "adv_mis", "high", True), ("C2", "corrupt_mis", "low", False)):
        paired, sources = compare(measured, group, "source"), curves_of(measured, group, source=True)
        inside = band_of(measured.orders, measured.players)[0 if band == "low" else 2]
        for value in measured.names:
            effect = paired.bands["A"][value][band]
            level = sources.bands["A"][value][band].value
            own, before = (np.array(part.noise[value])[inside] for part in (curves_of(measured, group), sources))
            found[f"{name} {value}"] = {
                "change_of_A": [effect.value, effect.low, effect.high],
                "percent": 100 * effect.value / level,
                "p": effect.p,
                "verdict": decide_effect(effect, above=above),
                "n": paired.n,
                "noise_share": [float(own.max()), float(before.max())],
            } | {
                f"change_of_{other}": [
                    getattr(paired.bands[other][value][band], end) for end in ("value", "low", "high")
                ]
                for other in ("J", "strength", "A_scaled")
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--limit", type=int, default=50, help="images in each group")
    parser.add_argument("--grid", type=int)
    parser.add_argument("--contexts", type=int, default=InteractionsClaimConfig().contexts)
    parser.add_argument("--noise", type=float, default=InteractionsClaimConfig().noise)
    parser.add_argument("--blocks", type=int, default=InteractionsClaimConfig().blocks)
    parser.add_argument("--matched", action="store_true", help="attack as strong as the corruption of the same image")
    parser.add_argument("--control", action="store_true", help="measure the fifth group too")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    classifier = build(arguments.data, arguments.net, arguments.batch_size)
    x, y = images(arguments.data)
    config = InteractionsClaimConfig(
        limit=arguments.limit,
        pool=max(400, arguments.limit),
        grid=arguments.grid,
        contexts=arguments.contexts,
        noise=arguments.noise,
        blocks=arguments.blocks,
        matched_drop="corrupt_mis" if arguments.matched else None,
    )
    one = plain_pass(classifier, x)
    start = time.process_time()
    x, y, ids = first_images(classifier, TensorImages(x, y), wrong=config.limit, right=config.pool)
    names = GROUPS if arguments.control else GROUPS[:4]
    groups = make_groups(classifier, x, y, keys=item_keys(0, ids, "interactions"), config=config.of_groups(names))
    made = time.process_time()
    measured = measure_groups(classifier, groups, config=config.of_measure(classifier, x))
    done = time.process_time()
    text = json.dumps(
        {
            "machine": {"processor": platform.processor() or platform.machine(), "threads": 1},
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            "net": arguments.net,
            "groups": {name: len(group.group) for name, group in measured.groups.items()},
            "settings": measured.settings,
            "players": measured.players,
            "pairs_an_image": measured.pairs,
            "orders": len(measured.orders),
            "images_measured": measured.images,
            "passes_an_image": measured.forwards / measured.images,
            "processor_seconds": {"groups": made - start, "profiles": done - made, "all": done - start},
            "minutes_on_two_cores_at_best": (done - start) / 120,
            "plain_pass_ms": 1000 * one,
            "times_the_floor": (done - made) / (measured.forwards * one),
            "sampling_noise": noise(measured),
            "noise_share_of_group_curves": {
                name: {
                    value: [round(share, 3) for share in curves_of(measured, name).noise[value]]
                    for value in measured.names[:2]
                }
                for name in measured.groups
            },
            "claims": claims(measured),
        },
        indent=2,
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
