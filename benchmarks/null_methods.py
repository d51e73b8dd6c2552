"""How often do counterfactuals and patch groups say the same where there is nothing to find?

A shipped net is asked about its errors and about the null cases of :mod:`whywrong.reproduce.null_cases`. Counted are
counterfactuals into the label that judges call semantic, which the report draws as explanations, and groups of at most
a quarter of the patches that give the prediction alone, change it, or turn it into the label; the report says of these
that they speak of no cause. Places, and the lead of the true class, are measured in ``null_cases.py``. Of spurious
features, counted are components called harmful, of all that were searched: found in half of the pictures of a case and
judged on the other half, beside all pictures with their own labels.

    python benchmarks/null_methods.py planted:cnn --judges planted:vit planted:cnn-robust --images 200
    python benchmarks/null_methods.py planted:cnn --methods patch_groups --images 200
    python benchmarks/null_methods.py planted:cnn --methods spurious --images 960

One JSON object a case; shares with Wilson intervals of 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from whywrong.api import load_classifier, open_data
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import wilson
from whywrong.data.batches import load_images
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual
from whywrong.explain.patch_groups.config import PatchGroupsConfig
from whywrong.explain.patch_groups.method import patch_groups
from whywrong.explain.spurious import (
    Features,
    NeuralPCAConfig,
    class_components,
    find_levels,
    harmful,
    image_features,
)
from whywrong.models.layers.last_layer import find_last_layer
from whywrong.reproduce.null_cases import NullCase, null_cases

FEWEST = 8  # images of a class that components are taken from


def share(said: Tensor) -> dict[str, float]:
    found = wilson(int(said.sum()), len(said))
    return {"share": found.value, "low": found.low, "high": found.high, "n": len(said)}


def of_counterfactuals(case: NullCase, judges: Sequence[str]) -> dict[str, Any]:
    config = CounterfactualConfig(judges=tuple(judges))
    found = counterfactual(case.classifier, case.x, case.y, config=config).entries
    said = torch.zeros(len(case.x), dtype=torch.bool)
    for row, role, trust, guide in zip(found.row.tolist(), found.role, found.trust, found.guide, strict=True):
        said[row] |= role == "true" and trust == "semantic" and guide != "none"
    return {"semantic": share(said)}


def of_patch_groups(case: NullCase) -> dict[str, Any]:
    found = patch_groups(case.classifier, case.x, case.y, config=PatchGroupsConfig())
    groups = {"enough": found.sufficient, "changes the prediction": found.breaking, "to the label": found.targeted}
    return {name: share(torch.tensor([bool(hit) for hit in group.found])) for name, group in groups.items()}


def of_spurious(case: NullCase) -> dict[str, Any]:
    rows = torch.arange(len(case.x)).split(240)
    features = Features.cat([image_features(case.classifier, case.x[some], case.y[some])[0] for some in rows])
    order = keyed_uniform(row_keys(0, len(features)), ()).argsort()
    reference, held_out = features[order[: len(order) // 2]], features[order[len(order) // 2 :]]
    last = find_last_layer(case.classifier, (case.x.shape[1], case.x.shape[2], case.x.shape[3]))
    found, config = [], NeuralPCAConfig(min_images=FEWEST)
    for index in range(case.classifier.num_classes):
        own, others = reference[reference.label == index], reference[reference.label != index]
        if len(own) >= FEWEST:
            weight, bias = last.weight[index], float(last.bias[index])
            parts = class_components(own.phi, own.logits[:, index], weight, bias, index, config=config)
            found.append((parts, find_levels(parts, own.phi, others.phi)))
    searched = sum(len(parts) for parts, _ in found)
    judged = [harmful(parts, levels, held_out, searched=searched) for parts, levels in found]
    return {"harmful": share(torch.tensor([harm.verdict == "harmful" for harms in judged for harm in harms]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", nargs="?", default="planted:cnn")
    parser.add_argument("--judges", nargs="*", default=["planted:vit", "planted:cnn-robust"])
    parser.add_argument("--methods", nargs="+", default=["counterfactuals", "patch_groups"])
    parser.add_argument("--images", type=int, default=40)
    options = parser.parse_args()
    classifier = load_classifier(options.net, batch_size=64)
    parts = list(load_images(open_data("planted:test"), spec=classifier.preprocess, classes=classifier.classes))
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    wrong = (classifier.predict(x) != y).nonzero().flatten()[: options.images]
    cases = [NullCase("errors", classifier, x[wrong], y[wrong]), *null_cases(classifier, x, y, most=options.images)]
    if options.methods == ["spurious"]:
        cases[0] = NullCase("pictures as they are", classifier, x[: options.images], y[: options.images])
    for case in cases:
        start = time.perf_counter()
        numbers: dict[str, Any] = {"net": options.net, "case": case.name}
        if "counterfactuals" in options.methods:
            numbers["counterfactuals"] = of_counterfactuals(case, options.judges)
        if "patch_groups" in options.methods:
            numbers["patch_groups"] = of_patch_groups(case)
        if "spurious" in options.methods and case.name != "errors":
            numbers["spurious"] = of_spurious(case)
        print(json.dumps(numbers | {"seconds": round(time.perf_counter() - start)}), flush=True)
        print(f"{case.name} done", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
