"""What do interactions of patches cost at equal accuracy, beside the published sampling, and beside a plain pass?

On the first lossless CIFAR-10 test images, one thread: pairs within radius 2 of the block in the middle of the grid,
the log-odds of the true class. All estimators are unbiased, so the mean squared error of a pair is its variance: for
the published sampling (``faithful``, K = 100, 400 passes a pair) it is Var(D) / 100, with Var(D) estimated without bias
from fewer contexts of the same law; for ``balanced`` it is the variance between its independent permutations. D has
heavy tails and a set serves all pairs, so both are rough: to a quarter with the defaults, better with more images.

- ``pairs``: passes of ``balanced`` for that error through the passes of ``faithful``, by order.
- ``signed``: the mean over all pairs of players by identity (c), through sampling pairs: once as published (200 random
  pairs, 100 contexts each), once at its best (every draw another pair).
- ``groups``: sampling error of the mean of A and of U over a group, at equal passes, ``balanced`` through ``faithful``.
- ``profiles``: what ``whywrong diagnose`` spends on an error: median share of noise in U, by order, over the first 24
  errors of the net among these images; not among the parts unless asked for.
- ``time``: processor seconds of a pass, in an estimate, through those of a plain batched pass, in turns.

    python benchmarks/interactions_cost.py --data ../shared/data --images 2 --out interactions_cost.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.randomness import row_keys
from whywrong.explain.interactions import (
    ImageGame,
    InteractionsConfig,
    PlayersConfig,
    Profile,
    ValueFunction,
    all_pairs,
    draw_pairs,
    estimate,
    near_pairs,
    orders_of,
    signed_means,
)
from whywrong.explain.interactions.method import interactions
from whywrong.models.classifier import Classifier

RATIOS = (0.05, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 0.95)
BARS = {0.05: 1 / 8, 0.1: 1 / 8, 0.9: 1 / 8, 0.95: 1 / 8} | dict.fromkeys((0.3, 0.4, 0.5, 0.6, 0.7), 1 / 2)
PUBLISHED = {"pairs": 200, "contexts": 100}


class Bench:
    """One net with its images and players."""

    def __init__(self, data: Path, net: str, images: int, grid: int | None, block: int) -> None:
        spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["shared_models"] = module
        spec.loader.exec_module(module)
        self.classifier = Classifier(module.build(net), batch_size=64 if net == "deit_tiny" else 128)
        self.x, self.y = photographs(data, images) if net == "deit_tiny" else cifar(data, images)
        self.players = PlayersConfig(grid=grid)
        game = self.game()
        self.kind, self.shape = game.kind, (game.rows, game.cols)
        rows, cols = ((side - block) // 2 for side in self.shape)
        near = near_pairs(*self.shape, 2)
        row, col = near // self.shape[1] - rows, near % self.shape[1] - cols
        self.pairs = near[((row >= 0) & (row < block) & (col >= 0) & (col < block)).all(1)]

    def game(self, rows: slice = slice(None)) -> ImageGame:
        return ImageGame(self.classifier, self.x[rows], self.y[rows], functions=(ValueFunction(),), config=self.players)

    def order(self, ratio: float) -> int:
        return orders_of(self.shape[0] * self.shape[1], (ratio,))[0]

    def estimate(self, ratio: float, seed: int, pairs: Tensor | None = None, **settings: Any) -> Profile:
        settings = {"permutations": 0, **settings}
        game = self.game()
        return estimate(
            game,
            self.pairs if pairs is None else pairs,
            keys=row_keys(seed, game.images),
            config=InteractionsConfig(orders=(self.order(ratio),), **settings),
        )


def cifar(data: Path, limit: int) -> tuple[Tensor, Tensor]:
    with np.load(data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        return x[:limit], torch.from_numpy(arrays["labels"])[:limit]


def photographs(data: Path, limit: int) -> tuple[Tensor, Tensor]:
    """Centre crops at 224; what the net says of them serves as class."""
    from PIL import Image

    files = sorted((data / "imagenet_ccby_a" / "images").rglob("*.*"))[:limit]
    crops = []
    for file in files:
        image = Image.open(file).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
        left, top = ((side - 224) // 2 for side in image.size)
        crops.append(torch.from_numpy(np.array(image.crop((left, top, left + 224, top + 224)))).permute(2, 0, 1))
    return torch.stack(crops).float() / 255, torch.zeros(len(crops), dtype=torch.int64)


def permutations_for(ratio: float) -> tuple[int, int]:
    """Units and contexts of ``balanced``: permutations, each gone round once, and more where that is cheap."""
    windows = max(1, round(1 / min(max(ratio, 0.02), 1 - min(ratio, 0.98))))
    units = 3 if windows > 6 else 12
    return units, units * windows


def cost_of_pairs(bench: Bench, seed: int, ratios: list[float]) -> dict[str, Any]:
    """Passes at equal mean squared error of a pair, by ratio; and the single contexts of the end orders."""
    found = {}
    for ratio in ratios:
        units, contexts = permutations_for(ratio)
        drawn = bench.estimate(ratio, seed, method="shared", contexts=24)
        variance = float((drawn.mean_se.square() * drawn.draws[..., None]).nanmean())  # of single draws of D
        balanced = bench.estimate(ratio, seed + 1, method="balanced", contexts=contexts, units=units)
        error = float(balanced.mean_se.square().mean())
        passes = float(balanced.forwards.double().mean())
        share = passes / (400 * len(bench.pairs))
        if not balanced.exact[0]:  # an order whose every context is taken has no error, whatever it is measured against
            share *= 100 * error / variance
        found[str(ratio)] = {
            "order": balanced.orders[0],
            "sd_of_D": variance**0.5,
            "rms_I": float(balanced.U.mean().clamp_min(0).sqrt()),
            "exact": balanced.exact[0],
            "passes_a_draw": passes / float(balanced.draws.double().sum(2).mean()),
            "variance_through_independent_draws": error * float(balanced.draws.double().mean()) / variance
            if variance
            else 0.0,
            "passes_through_faithful": share,
            "bar": BARS[ratio],
            "holds": share <= BARS[ratio],
        }
        print(f"  pairs {ratio}: {share:.3f} (bar {BARS[ratio]:.3f})", file=sys.stderr, flush=True)
    for ratio in (0.0, 1.0):
        ends = [bench.estimate(ratio, seed + more, contexts=2) for more in (0, 1)]
        found[f"end {ratio}"] = {
            "exact": all(end.exact[0] for end in ends),
            "largest_difference_between_seeds": float((ends[0].mean - ends[1].mean).abs().max()),
            "passes_through_faithful": int(ends[0].forwards[0]) / (400 * len(bench.pairs)),
        }
    return found


def cost_of_signed_means(bench: Bench, seed: int, ratios: tuple[float, ...] = (0.1, 0.5, 0.9)) -> dict[str, Any]:
    """Passes of identity (c) through those of sampling pairs, for one error of the mean over all pairs."""
    game, found = bench.game(), {}
    keys = row_keys(seed, game.images)
    pairs = draw_pairs(keys, all_pairs(game.players), 40)
    for ratio in ratios:
        before = game.forwards.clone()
        means = signed_means(game, [bench.order(ratio)], keys=keys, draws=96)
        passes = float((game.forwards - before).double().mean())
        ours = passes * float(means.se.square().mean())  # passes times variance: of any number of draws
        sampled = bench.estimate(ratio, seed + 1, pairs, method="faithful", contexts=20)
        within = float((sampled.mean_se.square() * 20).mean())
        between = float((sampled.U - sampled.M.square() + sampled.M_se.square()).mean().clamp_min(0))
        found[str(ratio)] = {
            "variance_of_D": within,
            "variance_of_I_between_pairs": between,
            "through_published": ours / (400 * (between + within / PUBLISHED["contexts"])),
            "through_a_new_pair_each_draw": ours / (4 * (between + within)),
        }
        print(f"  signed {ratio}: {found[str(ratio)]}", file=sys.stderr, flush=True)
    return found


def cost_of_groups(bench: Bench, seed: int, repeats: int) -> dict[str, Any]:
    """Sampling error of a group's A and U at about equal passes, from repeats with other keys.

    The error of a mean over N images is that of one image's statistic through N, but for the bias of A, which the mean
    keeps: both are given for N = 50. The reference of A comes from all draws of all repeats together.
    """
    found = {}
    for ratio in (0.1, 0.5):
        runs: dict[str, list[Profile]] = {}
        for repeat in range(repeats):
            for number, (method, contexts, units) in enumerate((("faithful", 3, 3), ("balanced", 9, 2))):
                profile = bench.estimate(
                    ratio, seed + 2 * repeat + number, method=method, contexts=contexts, units=units
                )
                runs.setdefault(method, []).append(profile)
        weights = {method: sum(float(p.draws.double().mean()) for p in profiles) for method, profiles in runs.items()}
        pooled = sum(
            weights[method] * torch.stack([p.mean.nan_to_num() for p in profiles]).mean(0)
            for method, profiles in runs.items()
        ) / sum(weights.values())
        reference = pooled.abs().mean(2)  # (B, 1, V)
        numbers: dict[str, Any] = {}
        for method, profiles in runs.items():
            A, U = (torch.stack([getattr(p, name) for p in profiles]) for name in ("A", "U"))  # (repeats, B, 1, V)
            passes = float(torch.stack([p.forwards for p in profiles]).double().mean())
            bias = float((A.mean(0) - reference).mean())
            numbers[method] = {
                "passes": passes,
                "squared_error_of_U_of_50": float(U.var(0).mean()) / 50,
                "squared_error_of_A_of_50": bias**2 + float(A.var(0).mean()) / 50,
                "bias_of_A": bias,
            }
        ours, theirs = numbers["balanced"], numbers["faithful"]
        scale = ours["passes"] / theirs["passes"]
        numbers["passes_through_faithful"] = {
            name: scale * ours[f"squared_error_of_{name}_of_50"] / theirs[f"squared_error_of_{name}_of_50"]
            for name in ("A", "U")
        }
        found[str(ratio)] = numbers
        print(f"  groups {ratio}: {numbers['passes_through_faithful']}", file=sys.stderr, flush=True)
    return found


def time_of_a_pass(bench: Bench, rounds: int, ratios: tuple[float, ...]) -> dict[str, Any]:
    """Processor time of a pass within an estimate through that of a plain pass, median over rounds in turns."""
    size = bench.classifier.batch_size
    plain = bench.x[:1].expand(4 * size, -1, -1, -1).contiguous()
    bench.classifier.logits(plain[:size])
    by_ratio: dict[str, list[float]] = {str(ratio): [] for ratio in ratios}
    base = []
    for seed in range(rounds):
        start = time.process_time()
        bench.classifier.logits(plain)
        base.append((time.process_time() - start) / len(plain))
        for ratio in ratios:
            game = bench.game(slice(0, 1))
            config = InteractionsConfig(orders=(bench.order(ratio),), contexts=3, permutations=0)
            start = time.process_time()
            profile = estimate(game, bench.pairs, keys=row_keys(seed, 1), config=config)
            by_ratio[str(ratio)].append((time.process_time() - start) / int(profile.forwards[0]))
    one = float(np.median(base))
    shares = {ratio: float(np.median(times)) / one for ratio, times in by_ratio.items()}
    return {"plain_ms": 1000 * one, "through_plain": shares, "mean": float(np.mean(list(shares.values())))}


def noise_of_profiles(bench: Bench, data: Path, limit: int = 24) -> dict[str, Any]:
    """Share of noise in the profiles of single errors, true class, with the defaults of the method."""
    x, y = cifar(data, 3000)
    wrong = (bench.classifier.predict(x) != y).nonzero().flatten()[:limit]
    result = interactions(bench.classifier, x[wrong], y[wrong])
    assert result.profile is not None
    shares = result.profile.noise_share[..., 0].nanmedian(0).values
    return {
        "errors": len(wrong),
        "orders": result.profile.orders,
        "median_noise_share": shares.tolist(),
        "most_passes": int(result.forwards.max()),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with models.py and images")
    parser.add_argument("--nets", nargs="*", default=["resnet20", "small_vit"])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--grid", type=int, help="players a side; default 16 on resnet20, every token elsewhere")
    parser.add_argument("--block", type=int, default=4, help="players a side of the block whose pairs are measured")
    parser.add_argument("--repeats", type=int, default=4, help="runs behind the errors of the group statistics")
    parser.add_argument("--ratios", nargs="*", type=float, default=list(RATIOS), choices=RATIOS, help="orders of pairs")
    parser.add_argument("--parts", nargs="*", default=["pairs", "signed", "groups", "time"])
    parser.add_argument("--rounds", type=int, default=3, help="turns behind the times of a pass")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: real models and images are not here")
    torch.set_num_threads(options.threads)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()}
    report: dict[str, Any] = {"machine": {**machine, "threads": options.threads}, "nets": {}}
    for net in options.nets:
        grid = options.grid or (16 if net == "resnet20" else None)
        bench = Bench(options.data, net, options.images, grid, options.block)
        print(f"{net}: {bench.kind}, {bench.shape}, {len(bench.pairs)} pairs", file=sys.stderr, flush=True)
        numbers: dict[str, Any] = {"players": bench.kind, "grid": bench.shape, "pairs_measured": len(bench.pairs)}
        numbers["images"], start = options.images, time.perf_counter()
        if "time" in options.parts:
            thirteen = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
            numbers["time"] = time_of_a_pass(
                bench, options.rounds, (0.1, 0.5, 0.9) if bench.kind == "pixels" else thirteen
            )
            print(f"  time: {numbers['time']}", file=sys.stderr, flush=True)
        if "pairs" in options.parts:
            numbers["pairs"] = cost_of_pairs(bench, options.seed, options.ratios)
        if "signed" in options.parts:
            numbers["signed"] = cost_of_signed_means(bench, options.seed)
        if "profiles" in options.parts and net != "deit_tiny":
            numbers["profiles"] = noise_of_profiles(bench, options.data)
        if "groups" in options.parts:
            numbers["groups"] = cost_of_groups(bench, options.seed, options.repeats)
        numbers["seconds"] = time.perf_counter() - start
        report["nets"][net] = numbers
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
