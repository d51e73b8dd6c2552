"""Does a repair undo a planted cause, does it stay away from nothing, and do suspicions find wrong labels?

1. Planted mark: `planted:cnn-spurious` on `planted:causes`. How many held-out errors does the best arm correct, of all
   and of those that a mark causes, and how many right answers does it lose? The controls are beside it.
2. Nothing to repair: the same net on correct images whose labels are replaced at random for a part of them.
3. Wrong labels: 5 % of the labels of a set are replaced; area under the ROC curve of the suspicion.

    python benchmarks/repair.py --out DIR
    python benchmarks/repair.py --out DIR --model FILE.py:resnet20 --data cifar10_test_a/test_jpeg.npz
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import whywrong as ww
from whywrong.api import load_classifier, open_data
from whywrong.data.batches import load_images
from whywrong.doors.pairs import input_spec


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="planted:cnn")
    parser.add_argument("--data", default="planted:test")
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    load_classifier(options.model), open_data(options.data)  # before hours of work
    labels = wrong_labels(options.out / "labels", options.model, options.data, options.images)
    found = {"planted mark": planted(options.out / "mark"), "nothing": nothing(options.out / "nothing")}
    print(json.dumps({"wrong labels": labels, **found}, indent=1))


def planted(folder: Path) -> dict[str, Any]:
    """Repair the demo; causes are those that were planted."""
    ww.diagnose(load_classifier("planted:cnn-spurious"), open_data("planted:causes"), folder, methods=["cam"])
    ww.verdict(folder)
    report = ww.repair(folder)
    arms = report.tables["repair"].to_pylist()
    lists = report.tables["repair_lists"].to_pylist()
    return {"chosen": report.record["chosen"], "arms": [_short(row) for row in arms], "lists": lists}


def nothing(folder: Path) -> dict[str, Any]:
    """Give a third of the images that the net classifies correctly random labels."""
    classifier, x, y = _images("planted:cnn", "planted:test", 1000)
    right = (classifier.predict(x) == y).nonzero().flatten()
    x, y = x[right], _replaced(y[right].numpy(), 1 / 3, int(y.max()) + 1)[0]
    run = ww.diagnose(classifier, (x, y), folder, methods=[])
    report = ww.repair(run, classifier, (x, y))
    return {"chosen": report.record["chosen"], "arms": [_short(row) for row in report.tables["repair"].to_pylist()]}


def wrong_labels(folder: Path, model: str, data: str, count: int) -> dict[str, Any]:
    """Replace 5 % of the labels, and rank all items by suspicion; correct ones have none."""
    classifier, x, y = _images(model, data, count)
    labels, replaced = _replaced(y.numpy(), 0.05, int(y.max()) + 1)
    run = ww.diagnose(classifier, (x, labels), folder, methods=[])
    report = ww.repair(run, classifier, (x, labels), train=False)
    rows = run.query("select item_id, key from predictions").to_pylist()
    place = {row["item_id"]: int(row["key"].split("-")[0]) for row in rows}
    suspicion = np.zeros(len(labels))
    for row in report.tables["work"].to_pylist():
        suspicion[place[row["item_id"]]] = row["suspicion"]
    listed = [place[row["item_id"]] for row in report.tables["work"].to_pylist() if row["work"] == "relabel"]
    return {
        "images": len(labels),
        "wrong": int(replaced.sum()),
        "auroc": float(roc_auc_score(replaced, suspicion)),
        "relabel": len(listed),
        "of them wrong": int(replaced[listed].sum()),
    }


def _images(model: str, data: str, count: int) -> tuple[Any, Any, Any]:
    import torch

    classifier, source = load_classifier(model), open_data(data)
    spec = input_spec(classifier, source)
    parts = list(load_images(source, spec=spec, classes=classifier.classes, batch_size=64, limit=count))
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    return classifier, x, y


def _replaced(labels: np.ndarray, share: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    chosen = rng.random(len(labels)) < share
    other = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(chosen, other, labels), chosen


def _short(row: dict[str, Any]) -> dict[str, Any]:
    names = ("arm", "fixed", "errors", "lost", "accuracy_before", "accuracy_after", "gain_low", "gain_high", "safe")
    return {name: row[name] for name in names}


if __name__ == "__main__":
    main()
