"""Are the standard attacks as strong as those of adv-lib, at how many passes?

On the first lossless CIFAR-10 test images, one thread unless told otherwise: robust accuracy of adversarially trained
nets in linf under PGD and Auto-PGD beside adv-lib's Auto-PGD, median l2 of DDN beside adv-lib's, and the share of
images of an ordinary net that a patch on 5 % of the area fools, beside the same square of noise and of grey. Ours and
the peer get the same images and steps; whether an image is fooled is asked again of the plain net for both. Random
starts of either move robust accuracy by about one image in a hundred, hence means over seeds. adv-lib goes on with the
whole batch until its last step, so its passes are steps + 1 an image, forward and backward; ours let fooled images
leave. Times are of the whole attack, as called.

    python benchmarks/attacks.py --data ../shared/data --images 200 --out attacks.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.ddn import DDNConfig, ddn
from whywrong.attacks.patch import PatchConfig, patch
from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.attacks.state import AttackResult
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import wilson
from whywrong.models.classifier import Classifier

EPS = {"linf": 8 / 255, "l2": 0.5}


def build(data: Path, net: str) -> Classifier:
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    return Classifier(module.build(net), batch_size=100)


def images(data: Path, limit: int) -> tuple[Tensor, Tensor]:
    """The first ``limit`` lossless test images, (N, 3, 32, 32) in [0, 1], and their labels."""
    with np.load(data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        return x[:limit], torch.from_numpy(arrays["labels"])[:limit]


def ours(classifier: Classifier, attack: Callable[..., AttackResult], x: Tensor, y: Tensor, config: Any) -> tuple:
    """The result, and its numbers; stops where the counts are not those of the classifier."""
    before, start = (classifier.forwards, classifier.backwards), time.perf_counter()
    result = attack(classifier, x, y, config=config)
    seconds = time.perf_counter() - start
    counted = classifier.forwards - before[0], classifier.backwards - before[1]
    if counted != (int(result.forwards.sum()), int(result.backwards.sum())):
        raise SystemExit(f"counts differ: classifier {counted}, result {result.cost}")
    again = classifier.predict(result.x_adv) != y
    return result, {
        "accuracy": float((~again).float().mean()),
        "unlike_when_asked_again": int((again != result.success).sum()),
        "forwards": float(result.forwards.float().mean()),
        "backwards": float(result.backwards.float().mean()),
        "seconds": seconds,
    }


def peer(
    classifier: Classifier, attack: Callable[[Any, Tensor, Tensor], Tensor], x: Tensor, y: Tensor, seed: int = 0
) -> tuple:
    """Changed images of a peer, and its numbers."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    with classifier:
        size = classifier.batch_size
        pairs = zip(x.split(size), y.split(size), strict=True)
        changed = torch.cat([attack(classifier.module, a.contiguous(), b).detach() for a, b in pairs])
    seconds = time.perf_counter() - start
    return changed, {"accuracy": float((classifier.predict(changed) == y).float().mean()), "seconds": seconds}


def robustness(classifier: Classifier, x: Tensor, y: Tensor, norm: str, steps: int, seeds: int) -> dict:
    """Accuracy under each attack within :data:`EPS`: means over random starts, and the accuracy of each."""
    from adv_lib.attacks.auto_pgd import apgd as their_apgd

    eps, p = EPS[norm], float(norm[1:])

    def theirs(loss: str) -> Callable[[Any, Tensor, Tensor], Tensor]:
        return lambda net, a, b: their_apgd(net, a, b, eps, p, n_iter=steps, loss_function=loss)

    runs: dict[str, list[dict]] = {}
    for seed in range(seeds):
        config = PGDConfig(norm=norm, eps=eps, steps=20, seed=seed)
        runs.setdefault("pgd-20", []).append(ours(classifier, pgd, x, y, config)[1])
        for loss in ("ce", "dlr"):
            config = APGDConfig(norm=norm, eps=eps, steps=steps, loss=loss, seed=seed)
            runs.setdefault(f"apgd-{loss}", []).append(ours(classifier, apgd, x, y, config)[1])
            runs.setdefault(f"adv-lib apgd-{loss}", []).append(peer(classifier, theirs(loss), x, y, seed)[1])
    numbers = {
        name: {key: float(np.mean([run[key] for run in found])) for key in found[0]}
        | {"accuracies": [run["accuracy"] for run in found]}
        for name, found in runs.items()
    }
    for loss in ("ce", "dlr"):
        gap = numbers[f"apgd-{loss}"]["accuracy"] - numbers[f"adv-lib apgd-{loss}"]["accuracy"]
        numbers[f"apgd-{loss}"]["points_above_peer"] = 100 * gap
    return numbers


def smallest(classifier: Classifier, x: Tensor, y: Tensor, steps: int) -> dict:
    """Median l2 of the changes of DDN over the images that are right and that both fool."""
    from adv_lib.attacks import ddn as their_ddn

    right = classifier.predict(x) == y
    x, y = x[right], y[right]
    result, numbers = ours(classifier, ddn, x, y, DDNConfig(steps=steps))
    changed, theirs = peer(classifier, lambda net, a, b: their_ddn(net, a, b, steps=steps, levels=None), x, y)
    both = result.success & (classifier.predict(changed) != y)
    norms = {"ours": result.l2, "adv-lib": (changed - x).flatten(1).norm(dim=1)}
    medians = {name: float(norm[both].median()) for name, norm in norms.items()}
    return {
        "images": len(x),
        "fooled": {"ours": int(result.success.sum()), "adv-lib": int((classifier.predict(changed) != y).sum())},
        "median_l2": medians,
        "ratio": medians["ours"] / medians["adv-lib"],
        "passes": numbers["forwards"] + numbers["backwards"],
        "seconds": {"ours": numbers["seconds"], "adv-lib": theirs["seconds"]},
    }


def patches(classifier: Classifier, x: Tensor, y: Tensor, area: float) -> dict:
    """Share of the images that are right which a patch fools, in one place and in up to five, and a universal one."""
    right = classifier.predict(x) == y
    x, y = x[right], y[right]
    kinds = {
        "one place": PatchConfig(area=area),
        "five places": PatchConfig(area=area, restarts=5),
        "jitter 2, brightness 0.2": PatchConfig(area=area, jitter=2, brightness=0.2),
        "universal": PatchConfig(area=area, universal=True),
    }
    numbers: dict[str, Any] = {"images": len(x), "area": area}
    for name, config in kinds.items():
        result, numbers[name] = ours(classifier, patch, x, y, config)
        fooled = int(result.success.sum())
        interval = wilson(fooled, len(x))
        numbers[name] |= {"fooled": fooled / len(x), "wilson": [interval.low, interval.high]}
        numbers[name]["side"] = int(result.side.max())
        if name == "one place":
            mask = result.mask[:, None]
            noise = keyed_uniform(row_keys(1, len(x)), tuple(x.shape[1:]))
            for control, fill in (("noise there", noise), ("grey there", torch.full_like(x, 0.5))):
                numbers[control] = {
                    "fooled": float((classifier.predict(torch.where(mask, fill, x)) != y).float().mean())
                }
    aim = (y + 1) % classifier.num_classes
    start = time.perf_counter()
    result = patch(classifier, x, y, targets=aim, config=PatchConfig(area=area))
    numbers["one place, to the next class"] = {
        "fooled": float(result.success.float().mean()),
        "forwards": float(result.forwards.float().mean()),
        "seconds": time.perf_counter() - start,
    }
    return numbers


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with models.py and images")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument(
        "--robust", nargs="*", default=["robust_resnet", "robust_vit"], help="adversarially trained nets"
    )
    parser.add_argument("--norms", nargs="*", default=["linf"], choices=sorted(EPS))
    parser.add_argument("--ordinary", default="resnet20", help="net of the patch")
    parser.add_argument("--steps", type=int, default=50, help="steps of Auto-PGD")
    parser.add_argument("--seeds", type=int, default=3, help="random starts over which robust accuracy is averaged")
    parser.add_argument("--ddn-steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: real models and images are not here")
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # adv-lib imports it for plots that are not drawn
    torch.set_num_threads(options.threads)
    x, y = images(options.data, options.images)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()}
    report: dict[str, Any] = {"machine": {**machine, "threads": options.threads}, "images": len(x), "eps": EPS}
    report["robust"], report["ddn"] = {}, {}
    for net in options.robust:
        classifier = build(options.data, net)
        clean = float((classifier.predict(x) == y).float().mean())
        report["robust"][net] = {"clean": clean}
        for norm in options.norms:
            report["robust"][net][norm] = robustness(classifier, x, y, norm, options.steps, options.seeds)
            print(f"{net} {norm} done", file=sys.stderr, flush=True)
        report["ddn"][net] = smallest(classifier, x, y, options.ddn_steps)
        print(f"{net} ddn done", file=sys.stderr, flush=True)
    classifier = build(options.data, options.ordinary)
    report["ddn"][options.ordinary] = smallest(classifier, x, y, options.ddn_steps)
    print(f"{options.ordinary} ddn done", file=sys.stderr, flush=True)
    report["patch"] = {options.ordinary: patches(classifier, x, y, 0.05)}
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
