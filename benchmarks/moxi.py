"""Patch groups beside other rankings: accuracy with few patches shown, and with few patches hidden.

Photographs that the net reads rightly, drawn by seed. Per image: plain greedy insertion (MoXI) of a few patches; greedy
deletion of 10 % of them, ended at the flip; the first-order part alone (MoXI(-)), sampled Shapley values, attention
rollout and Grad-CAM in the same game. An image whose class has once been lost within the first 10 % counts as wrong
from there on (`hidden`); `hidden_exactly` is the accuracy with exactly 10 % hidden, where MoXI's order goes on from the
flip by the values of its last step. `log_odds` are those of the true class. Rivals that know one order use it for both.
Passes are those that an order takes; the few that read accuracy off an order are not in it. `--full N` adds the full
greedy order of the first N images, counted and timed.

    python benchmarks/moxi.py --data ../shared/data --limit 50 --grid 7
    python benchmarks/moxi.py --data ../shared/data --limit 50 --grid 7 --first 24 2> rest.lines
    python benchmarks/moxi.py --lines first.lines rest.lines
    python benchmarks/moxi.py --data ../shared/data --limit 0 --full 3
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from inverted_whitebox import build
from PIL import Image
from torch import Tensor

from whywrong.core.randomness import keyed_bits, row_keys
from whywrong.core.statistics import wilson
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.patch_groups.game import PatchGame, column
from whywrong.explain.patch_groups.greedy import greedy, greedy_order, whole_order
from whywrong.explain.patch_groups.rankings import RANKINGS, curves, order_of
from whywrong.explain.patch_groups.search import Search
from whywrong.models.classifier import Classifier

HIDDEN = 0.10
VALUE = "log_odds_true"
FOLDER = "imagenet_one_per_class"


def main() -> None:
    """Print one JSON object; a line for each image goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--net", default="deit_tiny")
    parser.add_argument("--limit", type=int, default=50, help="images of the table")
    parser.add_argument("--first", type=int, default=0, help="images of the table to pass over")
    parser.add_argument("--lines", type=Path, nargs="+", help="files of lines of earlier runs, made into one table")
    parser.add_argument("--full", type=int, default=0, help="images whose full order is found")
    parser.add_argument("--grid", type=int, help="patches a side; default every token")
    parser.add_argument("--shown", type=float, nargs="+", default=[0.04, 0.1, 0.2], help="shares of patches shown")
    parser.add_argument("--permutations", type=int, default=5, help="of the Shapley values")
    parser.add_argument("--seconds", type=float, default=1e9, help="no further image is begun after this time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.lines:
        lines = (line for file in options.lines for line in file.read_text().splitlines() if line.startswith("{"))
        rows = [row for row in map(json.loads, lines) if "moxi" in row]
        assert len({row["image"] for row in rows}) == len(rows)
        print(json.dumps({"images": len(rows), "players": rows[0]["players"], "table": table(rows, options.shown)}))
        return
    start = time.perf_counter()
    classifier = build(options.data, options.net)
    x, y, seen = right_photographs(classifier, options.data, max(options.limit, options.full), options.seed)
    players = PlayersConfig(grid=options.grid)
    rows = []
    for number in range(options.first, min(options.limit, len(y))):
        if time.perf_counter() - start > options.seconds:
            break
        rows.append(one_image(classifier, x[number : number + 1], y[number : number + 1], number, players, options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    orders = []
    for number in range(min(options.full, len(y))):
        orders.append(full_order(classifier, x[number : number + 1], y[number : number + 1], players))
        print(json.dumps(orders[-1]), file=sys.stderr, flush=True)
    report = {
        "net": options.net,
        "folder": FOLDER,
        "seed": options.seed,
        "looked_at": seen,
        "images": len(rows),
        "asked_for": options.limit,
        "permutations": options.permutations,
        "table": table(rows, options.shown),
        "full_orders": orders,
        "seconds": time.perf_counter() - start,
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    }
    print(json.dumps(report, indent=1))


def right_photographs(classifier: Classifier, data: Path, number: int, seed: int) -> tuple[Tensor, Tensor, int]:
    """Photographs (N, 3, 224, 224) read rightly, in an order drawn by seed; labels; how many were looked at."""
    index = {c["wnid"]: i for i, c in enumerate(json.loads((data / FOLDER / "classes.json").read_text()))}
    files = sorted((data / FOLDER / "images").glob("*/*.*"))
    order = keyed_bits(row_keys(seed, 1), (len(files),))[0].argsort().tolist()
    xs: list[Tensor] = []
    ys: list[int] = []
    seen = 0
    for place in order:
        if len(xs) >= number:
            break
        seen += 1
        pixels, label = photograph(files[place]), index[files[place].parent.name]
        if int(classifier.predict(pixels[None])) == label:
            xs.append(pixels)
            ys.append(label)
    return torch.stack(xs), torch.tensor(ys), seen


def photograph(file: Path) -> Tensor:
    """(3, 224, 224) in [0, 1]: shorter side to 256 (bicubic), centre crop."""
    with Image.open(file) as image:
        rgb = image.convert("RGB")
    scale = 256 / min(rgb.size)
    rgb = rgb.resize(tuple(round(side * scale) for side in rgb.size), Image.Resampling.BICUBIC)
    left, top = (rgb.width - 224) // 2, (rgb.height - 224) // 2
    crop = np.asarray(rgb.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(crop.copy()).permute(2, 0, 1).float() / 255


def one_image(
    classifier: Classifier, x: Tensor, y: Tensor, number: int, players: PlayersConfig, options: argparse.Namespace
) -> dict:
    """Every ranking of one image: whether its class holds, passes, seconds."""
    game = PatchGame(classifier, x, y, config=players)
    shown = [max(1, round(share * game.players)) for share in options.shown]
    hidden = max(1, round(HIDDEN * game.players))
    keys = row_keys(options.seed, number + 1)[number:]
    row: dict = {"image": number, "label": int(y), "players": game.players, "kind": game.kind}
    for name in RANKINGS:
        if name == "rollout" and game.kind != "tokens":
            continue
        before, start = classifier.forwards + classifier.backwards, time.perf_counter()
        if name == "moxi":
            insertion = order_of(name, classifier, x, y, game, steps=max(shown))
            deletion, one_step = deletion_to_the_flip(game, y, hidden)
        elif name == "moxi_minus":  # its deletion scores are the first step of MoXI's deletion, asked above
            insertion = order_of(name, classifier, x, y, game)
            deletion = one_step
        else:
            insertion = deletion = order_of(name, classifier, x, y, game, keys, permutations=options.permutations)
        passes = classifier.forwards + classifier.backwards - before
        if name == "moxi_minus":
            passes += game.players
        seconds = time.perf_counter() - start
        found = curves(game, insertion, deletion_order=deletion, steps=max(*shown, hidden))
        lost = (found.deletion_winner[0, : hidden + 1] != y).nonzero().flatten()
        row[name] = {
            "shown": [bool(found.insertion_winner[0, k] == y) for k in shown],
            "log_odds_shown": [round(float(found.insertion[0, k]), 3) for k in shown],
            "log_odds_hidden": round(float(found.deletion[0, hidden]), 3),
            "hidden": len(lost) == 0,
            "hidden_exactly": bool(found.deletion_winner[0, hidden] == y),
            "flip": int(lost[0]) if len(lost) else None,
            "passes": passes,
            "seconds": round(seconds, 2),
        }
    return row


def deletion_to_the_flip(game: PatchGame, y: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Two orders (1, n): MoXI's deletion, searched until the flip, and the order of its first step."""
    rows, value = torch.arange(1), torch.tensor([column(game, VALUE)])
    first = greedy_order(game, VALUE, adds=False, steps=1, watched=y)
    by_first = whole_order(first, highest=False)
    if bool(first.found) or steps == 1:
        return by_first, by_first
    rest = Search(
        rows=rows,
        value=value,
        adds=False,
        highest=False,
        steps=steps - 1,
        start=first.present,
        watched=y,
        until_wins=False,
    )
    [path] = greedy(game, [rest])
    taken = torch.cat([first.order, path.order[:, : int(path.length)]], 1)
    score = path.last.masked_fill(path.last.isnan(), torch.inf)
    score[0, taken[0]] = -torch.inf
    left = score.argsort(dim=1, stable=True)[:, taken.shape[1] :]
    return torch.cat([taken, left], 1), by_first


def full_order(classifier: Classifier, x: Tensor, y: Tensor, players: PlayersConfig) -> dict:
    """Insertion order of every patch of one image, counted and timed."""
    start, before = time.perf_counter(), classifier.forwards
    game = PatchGame(classifier, x, y, config=players)
    order = order_of("moxi", classifier, x, y, game, value=VALUE)[0]
    seconds, passes = time.perf_counter() - start, classifier.forwards - before
    n = game.players
    assert sorted(order.tolist()) == list(range(n))
    return {"players": n, "passes": passes, "allowed": n * (n + 1) // 2, "seconds": round(seconds, 1)}


def table(rows: list[dict], shown: list[float]) -> dict:
    """Accuracy with Wilson intervals, passes and seconds of every ranking."""
    report = {}
    for name in RANKINGS:
        mine = [row[name] for row in rows if name in row]
        if not mine:
            continue
        line: dict = {}
        hits = {f"shown {share:g}": [entry["shown"][at] for entry in mine] for at, share in enumerate(shown)}
        hits |= {what: [entry[what] for entry in mine] for what in ("hidden", "hidden_exactly")}
        for what, right in hits.items():
            found = wilson(sum(right), len(right))
            line[what] = " ".join(f"{bound:.3f}" for bound in (found.value, found.low, found.high))
        line["log_odds_shown"] = np.mean([entry["log_odds_shown"] for entry in mine], axis=0).round(2).tolist()
        line["log_odds_hidden"] = round(float(np.mean([entry["log_odds_hidden"] for entry in mine])), 2)
        flips = [entry["flip"] for entry in mine if entry["flip"] is not None]
        line["median_flip"] = float(np.median(flips)) if flips else None
        line["passes_an_image"] = sum(entry["passes"] for entry in mine) / len(mine)
        line["seconds_an_image"] = sum(entry["seconds"] for entry in mine) / len(mine)
        report[name] = line
    return report


if __name__ == "__main__":
    main()
