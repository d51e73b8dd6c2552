"""How often do statements about an error appear where there is nothing to find?

Each net is asked about its errors, about the null cases of :mod:`whywrong.reproduce.null_cases`, and about images that
it reads right in role play (their runner-up as label), matched to the errors by margin: the control for the margin. For
more than ten classes there is one more null case, labels from the nine next-scoring classes. For `planted:causes` the
places confirmed are counted by cause, with the product's own run.

    python benchmarks/null_cases.py resnet20 small_vit robust_resnet --data ../shared/data
    python benchmarks/null_cases.py mobilenetv2 --data ../shared/data --size 128
    python benchmarks/null_cases.py planted

One JSON object a line. Rates are shares of the images of a case, with Wilson intervals of 95 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.api import diagnose, load_classifier, open_data
from whywrong.core.discoveries import ENOUGH_CONTROLS, confirm
from whywrong.core.matching import match_nearest
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import wilson
from whywrong.data.batches import load_images
from whywrong.explain.covering import CoveringResult, covering
from whywrong.models.classifier import Classifier
from whywrong.reproduce.null_cases import NullCase, null_cases
from whywrong.runs.controls import HELD_OUT, HELD_OUT_COUNT, PER_ERROR

P_BAR = 0.1
NEAR = 9  # next-scoring classes of the null case for many classes
PERMUTED = "permuted weights"
LOCAL = ("spurious", "adversarial")  # planted causes that may sit in one small place


def main() -> None:
    """Print one JSON object for each net."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("nets", nargs="+", help="nets of DATA/models.py, or planted")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=200, help="most images of a case")
    parser.add_argument("--size", type=int, help="input size of a net on photographs, in pixels")
    options = parser.parse_args()
    for name in options.nets:
        start = time.perf_counter()
        found = planted() if name == "planted" else natural(name, options.data, options.images, options.size)
        print(json.dumps({"net": name, **found, "seconds": round(time.perf_counter() - start)}), flush=True)


def natural(name: str, data: Path, most: int, size: int | None) -> dict[str, Any]:
    """Rates on errors of a real net, on the null cases and in role play."""
    classifier = load_classifier(f"{data / 'models.py'}:{name}", batch_size=128)
    x, y = _photographs(classifier, data, size) if name in ("mobilenetv2", "deit_tiny") else _cifar(data)
    with classifier:
        logits = torch.cat([classifier.logits(part) for part in x.split(512)])
        predicted = logits.argmax(1)
        right, wrong = (predicted == y).nonzero().flatten(), (predicted != y).nonzero().flatten()[:most]
        runner_up = logits.topk(2, dim=1).indices[:, 1]
        margin = logits.amax(1) - logits.gather(1, torch.where(predicted == y, runner_up, y)[:, None])[:, 0]
        groups = _role_play(margin.clamp_min(1e-9).log().double().numpy(), right, wrong)
        cases = {"real": NullCase("real", classifier, x[wrong], y[wrong])}
        cases |= {key: NullCase(key, classifier, x[rows], runner_up[rows]) for key, rows in groups.items()}
        cases |= {case.name: case for case in null_cases(classifier, x, y, most=most)}
        if classifier.num_classes > NEAR + 1:
            labels = _next_scoring(logits[wrong], y[wrong])
            cases["error, one of the nine next-scoring labels"] = NullCase("near", classifier, x[wrong], labels)
        bar = _lead_bar(logits[right])
        found = {key: covering(case.classifier, case.x, case.y) for key, case in cases.items()}
        leads = {key: _leads(case) for key, case in cases.items()}
    reference = _v(found["reference"])
    report = {
        "images": len(y),
        "accuracy": float((predicted == y).double().mean()),
        "controls": len(reference),
        "lead_threshold": bar,
        "median_margin": {key: float(result.margin.nanmedian()) for key, result in found.items()},
        "clear_runner_up": {key: _share(lead > bar) for key, lead in leads.items()},
        "cases": {key: _rates(result, reference) for key, result in found.items() if key != "reference"},
    }
    if PERMUTED in cases:
        own = _own_controls(cases[PERMUTED], x, y, found[PERMUTED])
        report["permuted_weights_against_own_controls"] = own
    return report


def _cifar(data: Path) -> tuple[Tensor, Tensor]:
    stored = [np.load(data / "cifar10_test_a" / f"test_{kind}.npz") for kind in ("lossless", "jpeg")]
    images = np.concatenate([part["images"] for part in stored])
    labels = np.concatenate([part["labels"] for part in stored])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels).long()


def _photographs(classifier: Classifier, data: Path, size: int | None) -> tuple[Tensor, Tensor]:
    """The photographs at the net's input size, or at ``size`` pixels."""
    spec = classifier.preprocess
    assert spec is not None
    if size is not None:
        resize = round(size * (spec.resize or spec.height) / spec.height)
        spec = replace(spec, height=size, width=size, resize=resize)
        classifier.preprocess = spec
    parts = []
    for folder in ("imagenet_ccby_a", "imagenet_one_per_class"):
        source = open_data(data / folder / "images")
        batches = load_images(source, spec=spec, classes=classifier.classes, batch_size=64)
        parts += [(batch.x, batch.y) for batch in batches]
    x, y = (torch.cat(column) for column in zip(*parts, strict=True))
    return x, y


def _role_play(log_margin: np.ndarray, right: Tensor, wrong: Tensor) -> dict[str, Tensor]:
    """Images read right, matched to the errors as a run matches them: the reference, and those held out."""
    apart = keyed_uniform(row_keys(1, len(right)), (1,))[:, 0] < HELD_OUT
    least, most = HELD_OUT_COUNT
    counts = {
        "reference": max(PER_ERROR * len(wrong), ENOUGH_CONTROLS),
        "held-out role play": min(max(len(wrong), least), most),
    }
    groups = {}
    for (name, count), pool in zip(counts.items(), (right[~apart], right[apart]), strict=True):
        groups[name] = pool[torch.from_numpy(match_nearest(log_margin[wrong], log_margin[pool], count))]
    return groups


def _next_scoring(logits: Tensor, y: Tensor) -> Tensor:
    """(N,) int64: one of the nine classes that score next and are not the true one, drawn at random."""
    hidden = logits.scatter(1, torch.stack([y, logits.argmax(1)], 1), -torch.inf)
    drawn = (keyed_uniform(row_keys(2, len(y)), (1,)) * NEAR).long()
    return hidden.topk(NEAR, dim=1).indices.gather(1, drawn)[:, 0]


def _lead_bar(logits: Tensor) -> float:
    """The lead that 5 % of random next-scoring classes of images read right exceed; at least 1."""
    ranked = logits.double().topk(min(NEAR, logits.shape[1] - 1) + 1, dim=1).values
    drawn = 1 + (keyed_uniform(row_keys(3, len(ranked)), (1,)) * (ranked.shape[1] - 1)).long()
    rival = ranked.gather(1, torch.where(drawn == 1, 2, 1))[:, 0]
    lead = (ranked[:, 0] - rival) / (ranked[:, 0] - ranked.gather(1, drawn)[:, 0])
    return max(1.0, float(lead.quantile(0.95, interpolation="lower")))


def _leads(case: NullCase) -> Tensor:
    """(N,) float64: how much farther off the best rival is than the class asked for, as a factor."""
    logits = torch.cat([case.classifier.logits(part) for part in case.x.split(512)]).double()
    ours = torch.stack([case.y, logits.argmax(1)], 1)
    rival = logits.scatter(1, ours, -torch.inf).amax(1)
    return (logits.amax(1) - rival) / (logits.amax(1) - logits.gather(1, case.y[:, None])[:, 0])


def _v(result: CoveringResult) -> np.ndarray:
    return result.v[~result.v.isnan()].double().numpy()


def _rates(result: CoveringResult, reference: np.ndarray) -> dict[str, Any]:
    told = ~result.v.isnan()
    found = confirm(_v(result), result.turned[told].numpy(), reference)
    return {
        "p_small": _share(found.p <= P_BAR),
        "place_confirmed": int(found.kept.sum()),
        "turned_by_some_window": _share(result.turned_windows[told] > 0),
    }


def _own_controls(case: NullCase, x: Tensor, y: Tensor, result: CoveringResult) -> dict[str, Any]:
    """The permuted model as a model of its own, compared with the images that it reads right by chance."""
    net = case.classifier
    logits = torch.cat([net.logits(part) for part in x.split(512)])
    order = logits.topk(2, dim=1)
    right = (order.indices[:, 0] == y).nonzero().flatten().numpy()
    if not len(right):
        return {"controls": 0}
    lead = (order.values[:, 0] - order.values[:, 1]).clamp_min(1e-9).log().double().numpy()
    asked = result.margin.clamp_min(1e-9).log().double().numpy()
    rows = torch.from_numpy(right[match_nearest(asked, lead[right], ENOUGH_CONTROLS)])
    own = covering(net, x[rows], order.indices[rows, 1])
    clear = _share(_leads(case) > _lead_bar(logits[right]))
    return {"controls": len(_v(own)), **_rates(result, _v(own)), "clear_runner_up": clear}


def _share(hits: Tensor | np.ndarray) -> dict[str, Any]:
    n, many = len(hits), int(hits.sum())
    interval = wilson(many, n)
    return {"share": round(interval.value, 4), "low": round(interval.low, 4), "high": round(interval.high, 4), "n": n}


def planted() -> dict[str, Any]:
    """Places confirmed by planted cause, in a run of the product on its own planted pictures."""
    with tempfile.TemporaryDirectory() as folder:
        classifier = load_classifier("planted:cnn-spurious")
        run = diagnose(classifier, "planted:causes", Path(folder) / "run", methods=["covering"])
        rows = run.query(
            """select case when i.cause like 'spurious%' then 'spurious' when i.cause is null then 'none'
                else i.cause end as cause, c.p, c.place_confirmed, c.turned_windows
            from covering c join items i using (item_id) where c.status = 'ok'"""
        ).to_pylist()
        controls = run.query("select held_out, p, margin from covering_controls where status = 'ok'").to_pylist()
    causes: dict[str, dict[str, Any]] = {}
    for row in rows:
        word = row["cause"].split(" ")[0]
        entry = causes.setdefault(word, {"errors": 0, "place_confirmed": 0, "p_small": 0, "turned_by_some_window": 0})
        entry["errors"] += 1
        entry["place_confirmed"] += bool(row["place_confirmed"])
        entry["p_small"] += row["p"] <= P_BAR
        entry["turned_by_some_window"] += row["turned_windows"] > 0
    held_out = np.array([row["p"] <= P_BAR for row in controls if row["held_out"]])
    elsewhere = sum(entry["place_confirmed"] for word, entry in causes.items() if word not in LOCAL)
    return {
        "controls": len(controls),
        "held_out_p_small": _share(held_out),
        "causes": causes,
        "confirmed_without_a_local_cause": elsewhere,
    }


if __name__ == "__main__":
    main()
