"""Does the inverted attack fix every error, with few candidates, and how near is the fix?

For each net: all errors on its images (none left out), the default attack, the share fixed with its Wilson interval,
candidates an error, passes, distances, and the fixes of whole grey levels written as PNG, read back and tested again.
With ``--a1`` the iterative sign attack at 1/255 too. With ``--compare N`` also DDN and FMN of adv-lib, 100 steps each,
on the first N errors; medians are over the errors that all three fix. FMN gets contiguous images, since adv-lib's
projections work in place on a flattened view; DDN also runs without its default rounding to 256 levels.

    python benchmarks/inverted_whitebox.py --data ../shared/data --nets resnet20 --a1 --compare 100 --out resnet20.json
    python benchmarks/inverted_whitebox.py --merge resnet20.json resnet56.json
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import platform
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, InvertedResult, invert
from whywrong.core.statistics import wilson
from whywrong.models.classifier import Classifier

ORDINARY = ("resnet20", "resnet56", "small_vit", "deit_tiny", "mobilenetv2")
ROBUST = ("robust_resnet", "robust_vit")
PHOTOGRAPHS = ("deit_tiny", "mobilenetv2")
QUANTILES = (0.1, 0.5, 0.9)


class TimedClassifier(Classifier):
    """A classifier that adds up the time spent in its passes."""

    seconds = 0.0

    def logits(self, x: Tensor, **given: Any) -> Tensor:
        start = time.perf_counter()
        try:
            return super().logits(x, **given)
        finally:
            self.seconds += time.perf_counter() - start

    def gradient(self, x, objective, **given):
        start = time.perf_counter()
        try:
            return super().gradient(x, objective, **given)
        finally:
            self.seconds += time.perf_counter() - start


def build(data: Path, net: str) -> TimedClassifier:
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    return TimedClassifier(module.build(net), batch_size=16 if net in PHOTOGRAPHS else 128)


def cifar(data: Path) -> list[tuple[str, Tensor, Tensor]]:
    """Pixels (N, 3, 32, 32) uint8 and labels of the lossless and the JPEG-compressed images."""
    sets = []
    for name in ("test_lossless", "test_jpeg"):
        with np.load(data / "cifar10_test_a" / f"{name}.npz") as arrays:
            pixels = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous()
            sets.append((name, pixels, torch.from_numpy(arrays["labels"])))
    return sets


def photographs(data: Path) -> list[tuple[str, Tensor, Tensor]]:
    """Pixels (N, 3, 224, 224) uint8 and labels: shorter side to 256 (bicubic), centre crop 224."""
    sets = []
    for folder in ("imagenet_one_per_class", "imagenet_ccby_a"):
        index = {c["wnid"]: i for i, c in enumerate(json.loads((data / folder / "classes.json").read_text()))}
        pixels, labels = [], []
        for file in sorted((data / folder / "images").glob("*/*.*")):
            with Image.open(file) as image:
                rgb = image.convert("RGB")
            scale = 256 / min(rgb.size)
            if scale != 1:
                rgb = rgb.resize(tuple(round(side * scale) for side in rgb.size), Image.Resampling.BICUBIC)
            left, top = (rgb.width - 224) // 2, (rgb.height - 224) // 2
            crop = np.asarray(rgb.crop((left, top, left + 224, top + 224)))
            pixels.append(torch.from_numpy(crop.copy()).permute(2, 0, 1))
            labels.append(index[file.parent.name])
        sets.append((folder, torch.stack(pixels), torch.tensor(labels)))
    return sets


def errors_of(classifier: Classifier, sets: list, limit: int | None) -> tuple[Tensor, Tensor, dict[str, int]]:
    """All misclassified images as pixels in [0, 1], their true classes, and how many each set has."""
    xs, ys, counts = [], [], {}
    for name, pixels, labels in sets:
        predicted = torch.cat([classifier.predict(part.float() / 255) for part in pixels.split(256)])
        wrong = (predicted != labels).nonzero().flatten()
        counts[name] = len(wrong)
        wrong = wrong[:limit]
        xs.append(pixels[wrong].float() / 255)
        ys.append(labels[wrong])
    return torch.cat(xs), torch.cat(ys), counts


def attack(classifier: TimedClassifier, x: Tensor, y: Tensor, config: InvertedConfig) -> tuple[list, dict]:
    """Results of blocks of 128 errors, and how the time was spent."""
    results, seconds, classifier.seconds = [], time.perf_counter(), 0.0
    before = classifier.forwards, classifier.backwards
    for part_x, part_y in zip(x.split(128), y.split(128), strict=True):
        nothing = torch.zeros(len(part_x), dtype=torch.bool)
        results.append(invert(classifier, part_x, part_y, detail=nothing, config=config))
        done = sum(len(r.status) for r in results)
        print(f"  {done}/{len(x)} errors, {time.perf_counter() - seconds:.0f} s", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - seconds
    counted = (classifier.forwards - before[0], classifier.backwards - before[1])
    ours = tuple(int(sum(getattr(r, name).sum() for r in results)) for name in ("forwards", "backwards"))
    if counted != ours:
        raise SystemExit(f"counts differ: classifier {counted}, result {ours}")
    return results, {"seconds": seconds, "pass_seconds": classifier.seconds}


def column(results: list[InvertedResult], name: str) -> Tensor:
    return torch.cat([getattr(result, name) for result in results])


def reread(levels: Tensor) -> Tensor:
    """Grey levels (B, 3, H, W) uint8 through a PNG file each, as pixels in [0, 1]."""
    back = []
    for image in levels.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        with Image.open(io.BytesIO(file.getvalue())) as png:
            back.append(torch.from_numpy(np.asarray(png).copy()))
    return torch.stack(back).permute(0, 3, 1, 2).float() / 255


def measure(classifier: TimedClassifier, x: Tensor, y: Tensor, config: InvertedConfig) -> tuple[dict, list]:
    results, spent = attack(classifier, x, y, config)
    fixed = column(results, "fixed")
    q = column(results, "q_candidates")
    again = classifier.predict(x + column(results, "delta")) == y
    png = classifier.predict(reread(column(results, "fix_u8"))) == y
    passes = column(results, "forwards") + column(results, "backwards")
    interval = wilson(int(fixed.sum()), len(fixed))
    numbers = {
        "errors": len(fixed),
        "fixed": int(fixed.sum()),
        "success": float(fixed.float().mean()),
        "wilson": [interval.low, interval.high],
        "right_again": int((again & fixed).sum()),
        "unstable": int(column(results, "unstable").sum()),
        "q_all": float(q.float().mean()),
        "q_fixed": float(q[fixed].float().mean()),
        "q_histogram": torch.bincount(q).tolist(),
        "png_right": int((png & fixed).sum()),
        "forwards": float(column(results, "forwards").float().mean()),
        "backwards": float(column(results, "backwards").float().mean()),
        "passes_mean": float(passes.float().mean()),
        "passes_max": int(passes.max()),
        "q_shrink": float(column(results, "q_shrink").float().mean()),
        **spent,
        "overhead": spent["seconds"] / spent["pass_seconds"] - 1,
    }
    for name in ("l2", "linf", "rho_l2", "rho_linf", "u8_l2", "u8_linf"):
        values = column(results, name)[fixed]
        values = values[values.isfinite()].double()
        numbers[name] = torch.quantile(values, torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
    return numbers, results


def compare(classifier: Classifier, x: Tensor, y: Tensor, ours: list[InvertedResult]) -> dict:
    """Medians of l2 over the errors that ours, DDN and FMN fix, and the passes each spends on an error."""
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # adv-lib imports it for plots that are not drawn
    from adv_lib.attacks import ddn, fmn

    peers = {
        "ddn": lambda part, target: ddn(classifier.module, part, target, targeted=True, steps=100),
        "ddn_unrounded": lambda part, target: ddn(
            classifier.module, part, target, targeted=True, steps=100, levels=None
        ),
        "fmn": lambda part, target: fmn(classifier.module, part, target, norm=2, targeted=True, steps=100),
        "fmn_linf": lambda part, target: fmn(
            classifier.module, part, target, norm=float("inf"), targeted=True, steps=100
        ),
    }
    n = len(x)
    rows = {"ours": (column(ours, "fixed")[:n], column(ours, "l2")[:n], column(ours, "rho_linf")[:n])}
    for name, run in peers.items():
        with classifier:
            torch.manual_seed(0)
            size = classifier.batch_size
            fixes = torch.cat(
                [run(a.contiguous(), b) for a, b in zip(x.split(size), y.split(size), strict=True)]
            ).detach()
        change = (fixes - x).flatten(1)
        rows[name] = (classifier.predict(fixes) == y, change.norm(dim=1), change.abs().amax(1))
        print(f"  {name} done", file=sys.stderr, flush=True)
    all_fix = torch.stack([rows[name][0] for name in ("ours", "ddn", "ddn_unrounded", "fmn")]).all(0)
    l2 = {name: float(values[all_fix].double().median()) for name, (_, values, _) in rows.items() if name != "fmn_linf"}
    linf_rows = rows["ours"][0] & rows["fmn_linf"][0]
    passes = (column(ours, "forwards") + column(ours, "backwards"))[:n][all_fix]
    best = min(l2["ddn"], l2["fmn"])
    return {
        "errors": n,
        "fixed": {name: int(ok.sum()) for name, (ok, _, _) in rows.items()},
        "all_fix": int(all_fix.sum()),
        "median_l2": l2,
        "ratio": l2["ours"] / best,
        "ratio_to_unrounded": l2["ours"] / min(best, l2["ddn_unrounded"]),
        "median_rho_linf": float(rows["ours"][2][linf_rows].median()),
        "median_linf_fmn": float(rows["fmn_linf"][2][linf_rows].median()),
        "passes": {"ours": float(passes.float().mean()), "ours_max": int(passes.max()), "ddn": 200, "fmn": 200},
    }


def pooled(nets: dict[str, dict]) -> dict:
    chosen = [nets[name]["default"] for name in ORDINARY if name in nets]
    if not chosen:
        return {}
    errors, fixed = (sum(net[key] for net in chosen) for key in ("errors", "fixed"))
    return {
        "nets": [name for name in ORDINARY if name in nets],
        "errors": errors,
        "fixed": fixed,
        "success": fixed / errors,
        "wilson": [wilson(fixed, errors).low, wilson(fixed, errors).high],
        "q_all": sum(net["q_all"] * net["errors"] for net in chosen) / errors,
        "png_right_of_fixed": sum(net["png_right"] for net in chosen) / fixed,
    }


def show(report: dict) -> None:
    print(
        f"{'net':14} {'errors':>6} {'fixed':>6} {'Wilson 95 %':>17} {'q':>6} {'PNG':>6} {'fwd':>5} {'bwd':>5} "
        f"{'max':>4} {'l2':>7} {'linf':>8} {'u8 l2':>6} {'unst':>4} {'extra':>6}"
    )
    for name, net in report["nets"].items():
        for kind in ("default", "a1"):
            if (d := net.get(kind)) is None:
                continue
            print(
                f"{name + (' A1' if kind == 'a1' else ''):14} {d['errors']:6} {100 * d['success']:6.2f} "
                f"{100 * d['wilson'][0]:8.2f}-{100 * d['wilson'][1]:6.2f} % {d['q_all']:6.3f} "
                f"{100 * d['png_right'] / max(d['fixed'], 1):6.2f} {d['forwards']:5.1f} {d['backwards']:5.1f} "
                f"{d['passes_max']:4} {d['l2'][1]:7.4f} {d['rho_linf'][1]:8.5f} {d['u8_l2'][1]:6.3f} "
                f"{d['unstable']:4} {100 * d['overhead']:5.1f}%"
            )
    for name, net in report["nets"].items():
        if c := net.get("compare"):
            medians = ", ".join(f"{peer} {value:.5f}" for peer, value in c["median_l2"].items())
            print(
                f"{name}: median l2 over {c['all_fix']} of {c['errors']}: {medians}; ratio {c['ratio']:.3f} "
                f"({c['ratio_to_unrounded']:.3f} with unrounded DDN); linf {c['median_rho_linf']:.5f}, FMN "
                f"{c['median_linf_fmn']:.5f}; passes {c['passes']['ours']:.1f} (most {c['passes']['ours_max']}) "
                f"against 200 and 200"
            )
    if p := report["pooled"]:
        print(
            f"pooled over {', '.join(p['nets'])}: {p['fixed']} of {p['errors']} fixed, {100 * p['success']:.2f} % "
            f"({100 * p['wilson'][0]:.2f}-{100 * p['wilson'][1]:.2f} %), {p['q_all']:.3f} candidates an error, "
            f"PNG right {100 * p['png_right_of_fixed']:.2f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with models.py and images")
    parser.add_argument("--nets", nargs="+", default=[*ORDINARY, *ROBUST], help="names in models.py")
    parser.add_argument("--limit", type=int, help="most errors of each image set")
    parser.add_argument("--a1", action="store_true", help="also the iterative sign attack at 1/255")
    parser.add_argument("--compare", type=int, default=0, metavar="N", help="DDN and FMN on the first N errors")
    parser.add_argument("--overshoot", type=float, default=InvertedConfig().overshoot)
    parser.add_argument("--rivals", type=int, default=InvertedConfig().rivals)
    parser.add_argument("--norm", default="l2")
    parser.add_argument(
        "--search-only", action="store_true", help="leave the fix as found: same success and candidates"
    )
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--merge", nargs="+", type=Path, help="show JSON files together instead of measuring")
    options = parser.parse_args()
    report: dict = {"nets": {}}
    for file in options.merge or []:
        report["nets"] |= json.loads(file.read_text())["nets"]
    if not options.merge:
        report["machine"] = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()}
        report["machine"]["threads"] = torch.get_num_threads()
        shrink = {"polish": 0, "polish_other": 0, "tighten": 0} if options.search_only else {}
        config = InvertedConfig(overshoot=options.overshoot, rivals=options.rivals, norm=options.norm, **shrink)
        for net in options.nets:
            classifier = build(options.data, net)
            sets = photographs(options.data) if net in PHOTOGRAPHS else cifar(options.data)
            x, y, counts = errors_of(classifier, sets, options.limit)
            print(f"{net}: {counts}", file=sys.stderr, flush=True)
            numbers, results = measure(classifier, x, y, config)
            report["nets"][net] = {"sets": counts, "default": numbers}
            if options.a1:
                report["nets"][net]["a1"] = measure(classifier, x, y, InvertedConfig(attack="sign"))[0]
            if options.compare:
                chosen = slice(0, options.compare)
                report["nets"][net]["compare"] = compare(classifier, x[chosen], y[chosen], results)
            if options.out:
                options.out.write_text(json.dumps(report, indent=1))
    report["pooled"] = pooled(report["nets"])
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))
    show(report)


if __name__ == "__main__":
    main()
