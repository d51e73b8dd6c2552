"""How small are the smallest fixes in each norm, beside those of adv-lib and foolbox at as many passes?

On the natural errors of CIFAR-10 nets among the lossless test images, toward the true class. Ours gets a budget of
passes, forward plus backward; a peer gets half as many steps, one forward and one backward pass each. Passes of all are
counted at the net. A fix counts if the net, asked again, predicts the true class; an error without a fix has an
infinite size, so that medians are over all errors. Peers of l0 minimise the number of changed values, ours that of
pixels: both are given. sigma-zero and SuperDeepFool of adv-lib have no target, and see the net as two logits, true
class and best other, class by class; the latter stops by itself. Step sizes of peers are their defaults, and for FMN
also 0.05 in l2, as the default is made for larger distances.

    python benchmarks/minimal_norms.py --data ../shared/data --budget 100 --out minimal_100.json
    python benchmarks/minimal_norms.py --data ../shared/data --budget 200 --norms l2 --out minimal_200.json
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
from torch import Tensor, nn

from whywrong.attacks.balls import norm_of
from whywrong.attacks.minimal import SmallestFixConfig, smallest_fix
from whywrong.models.classifier import Classifier

Peer = Callable[[nn.Module, Tensor, Tensor], Tensor]
ORDER = {"l2": 2, "linf": float("inf"), "l1": 1, "l0": 0}
OURS = {
    "l2": ("auto", "newton", "superdeepfool"),
    "linf": ("auto", "newton"),
    "l1": ("auto",),
    "l0": ("auto", "sigma_zero"),
    "groups": ("auto",),
}


class Counted(nn.Module):
    """A net that counts the images it sees forward and backward."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits = self.net(x)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, grad: Tensor) -> None:
        self.backwards += len(grad)


class TwoLogits(nn.Module):
    """Logits of any other class and of one class, so that leaving class 0 is reaching that one."""

    def __init__(self, net: nn.Module, goal: int) -> None:
        super().__init__()
        self.net, self.goal = net, goal

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        others = torch.cat([logits[:, : self.goal], logits[:, self.goal + 1 :]], 1)
        return torch.stack([others.amax(1), logits[:, self.goal]], 1)


def toward(attack: Callable[..., Tensor], **settings: Any) -> Peer:
    """Make an attack without a target run toward the labels, class by class."""

    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        fixes = x.clone()
        for goal in y.unique().tolist():
            rows = (y == goal).nonzero().flatten()
            fixes[rows] = attack(TwoLogits(net, goal), x[rows], torch.zeros_like(rows), **settings).detach()
        return fixes

    return run


def peers_of(norm: str, steps: int) -> dict[str, Peer]:
    """Attacks of adv-lib and foolbox that minimise a norm."""
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # adv-lib imports it for plots that are not drawn
    import foolbox
    from adv_lib import attacks as lib

    def foolbox_fmn(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        kind = {"l2": "L2", "linf": "LInf", "l1": "L1", "l0": "L0"}[norm]
        attack = getattr(foolbox.attacks, f"{kind}FMNAttack")(steps=steps)
        wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        return attack(wrapped, x, foolbox.criteria.TargetedMisclassification(y), epsilons=None)[1]

    def aimed(attack: Callable[..., Tensor], **settings: Any) -> Peer:
        return lambda net, x, y: attack(net, x, y, targeted=True, **settings)

    order = ORDER[norm]
    found: dict[str, Peer] = {"fmn": aimed(lib.fmn, norm=order, steps=steps), "foolbox fmn": foolbox_fmn}
    if norm == "l2":
        found["fmn 0.05"] = aimed(lib.fmn, norm=2, steps=steps, α_init=0.05)
        found["ddn"] = aimed(lib.ddn, steps=steps, levels=None)
        found["alma"] = aimed(lib.alma, num_steps=steps)
        found["pdgd"] = aimed(lib.pdgd, num_steps=steps)
        found["superdeepfool"] = toward(lib.sdf)
        return found
    found["pdpgd"] = aimed(lib.pdpgd, norm=order, num_steps=steps)
    if norm == "l1":
        found["alma"] = aimed(lib.alma, distance="l1", num_steps=steps, init_lr_distance=0.5)
    if norm == "l0":
        found["sigma_zero"] = toward(lib.sigma_zero, num_steps=steps)
    return found


def errors_of(data: Path, net: str, limit: int) -> tuple[Classifier, Tensor, Tensor]:
    """The first misclassified lossless test images of a net, (N, 3, 32, 32) in [0, 1], with their true classes."""
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    classifier = Classifier(Counted(module.build(net)), batch_size=64)
    with np.load(data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"])
    wrong = (classifier.predict(x) != y).nonzero().flatten()[:limit]
    return classifier, x[wrong].contiguous(), y[wrong]


def measure(classifier: Classifier, x: Tensor, y: Tensor, norm: str, attack: Peer) -> dict[str, float]:
    """Sizes of the fixes of an attack, and its passes per error."""
    net: Counted = classifier.module  # type: ignore[assignment]
    net.forwards = net.backwards = 0
    torch.manual_seed(0)
    start = time.process_time()
    with classifier:
        fixes = attack(net, x.clone(), y).detach()
    numbers = {
        "seconds": time.process_time() - start,
        "forwards": net.forwards / len(x),
        "backwards": net.backwards / len(x),
    }
    right = classifier.predict(fixes) == y
    change = fixes - x
    sizes = {name: norm_of(change, name).double().where(right, torch.inf) for name in ORDER}
    sizes["values"] = (change != 0).flatten(1).sum(1).double().where(right, torch.inf)
    numbers["success"] = float(right.double().mean())
    for name in (*((norm,) if norm in ORDER else ()), "l0", "values", "l1", "l2", "linf"):
        numbers[f"median_{name}"] = float(sizes[name].median())
    if norm in ORDER:
        numbers["mean"] = float(sizes[norm].mean())
    return numbers


def ours(classifier: Classifier, norm: str, solver: str, budget: int) -> tuple[Peer, dict[str, float]]:
    """Our attack as a peer, and the numbers of its result, filled when it ran."""
    told: dict[str, float] = {}

    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        config = SmallestFixConfig(norm=norm, solver=solver, budget=budget, quantise=False)
        found = smallest_fix(classifier, x, y, config=config)
        told["median_size"] = float(found.size.nan_to_num(torch.inf).double().median())
        told["passes_max"] = int((found.forwards + found.backwards).max())
        return x + found.delta

    return run, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with models.py and images")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "small_vit"], help="names in models.py")
    parser.add_argument("--norms", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--budget", type=int, default=100, help="forward plus backward passes per error")
    parser.add_argument("--limit", type=int, default=60, help="most errors of a net")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "budget": options.budget,
        "machine": {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()},
        "nets": {},
    }
    for name in options.nets:
        classifier, x, y = errors_of(options.data, name, options.limit)
        report["nets"][name] = {"errors": len(x)}
        for norm in options.norms:
            rows = report["nets"][name][norm] = {}
            for solver in OURS[norm]:
                attack, told = ours(classifier, norm, solver, options.budget)
                rows[f"ours {solver}"] = measure(classifier, x, y, norm, attack) | told
            for peer, attack in (peers_of(norm, options.budget // 2) if norm in ORDER else {}).items():
                rows[peer] = measure(classifier, x, y, norm, attack)
            for kind, row in rows.items():
                key = f"median_{norm}" if norm in ORDER else "median_size"
                print(
                    f"{name:10} {norm:6} {kind:20} {100 * row['success']:6.2f} % {key} {row[key]:9.5f} "
                    f"mean {row.get('mean', float('nan')):9.5f} l0 {row['median_l0']:6.0f} values "
                    f"{row['median_values']:6.0f} passes {row['forwards'] + row['backwards']:6.1f}",
                    flush=True,
                )
            if options.out:
                options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
