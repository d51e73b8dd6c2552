"""How often is the stated cause of a natural error the one that a reader saw?

The rules of :mod:`whywrong.verdicts.natural.rules` are applied to the errors of a model that were read by eye, and
compared with the readings: *right* if the cause is the main reason of both readings, *arguable* if it is a main or
second reason of one of them, otherwise *wrong*. Beside them stand the baseline that calls the errors with the most
probable labels confusion, at equal counts, and what the rules say of correct images in role play. --exchange gives
every error the label of another one, where hardly anything is to be found; nothing is scored then. With --run, the
verdicts of a finished run are scored as well.

    python benchmarks/natural_errors.py mobilenetv2 ../shared/data ../shared/data/natural_errors_a/annotations.json \\
        --helper deit_tiny
    python benchmarks/natural_errors.py deit_tiny ../shared/data benchmarks/natural_readings/deit_tiny.json \\
        --helper mobilenetv2 --reference 140

Prints one JSON object; shares have Wilson intervals of 95 %.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whywrong.api import load_classifier, open_data
from whywrong.core.randomness import item_keys
from whywrong.core.statistics import wilson
from whywrong.data.batches import load_images
from whywrong.data.outside import outside_views
from whywrong.explain.signs import SIGNS, SignsConfig, sign_matrix, signs
from whywrong.explain.spurious.features import image_features
from whywrong.models.classifier import Classifier
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.natural.maps import MAP_SIGNS, map_signs
from whywrong.verdicts.natural.rules import NaturalFinding, comparable, natural_findings
from whywrong.verdicts.normalise import runner_up

FOLDER = "imagenet_ccby_a"  # of readings that name none
NAMES = (*(sign.name for sign in SIGNS if sign.stage), *MAP_SIGNS)
Reading = Mapping[str, Any]
Statement = tuple[str, bool]  # cause, and whether it is stated or only looked like


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="net of DATA/models.py")
    parser.add_argument("data", type=Path)
    parser.add_argument("readings", type=Path, help="JSON of the readings")
    parser.add_argument("--helper", help="second net of DATA/models.py")
    parser.add_argument("--run", type=Path, action="append", default=[], help="finished run with verdicts")
    parser.add_argument("--reference", type=int, default=300, help="correct images; half of them are measured")
    parser.add_argument("--exchange", action="store_true", help="give every error the label of another one")
    parser.add_argument("--store", type=Path, help="folder that keeps the measurements")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    readings = json.loads(options.readings.read_text())
    found: dict[str, NaturalFinding | None] = {}
    log_p: dict[str, float] = {}
    nulls: Counter[str] = Counter()
    for folder in sorted({one.get("folder", FOLDER) for one in readings}):
        keys = {one["key"] for one in readings if one.get("folder", FOLDER) == folder}
        errors, reference = measured(options, folder, keys)
        for key, finding in zip(errors.item_ids, natural_findings(errors, reference), strict=True):
            found[f"{folder}/{key}"] = finding
        log_p |= {
            f"{folder}/{key}": value for key, value in zip(errors.item_ids, errors.sign("log_p_label"), strict=True)
        }
        nulls += count_nulls(errors, reference)
    by_key = {f"{one.get('folder', FOLDER)}/{one['key']}": one for one in readings}
    statements = {
        key: ("placeholder" if one.kind == "placeholder" else one.cause, one.stated)
        for key, one in found.items()
        if one is not None
    }
    if options.exchange:
        kinds = Counter(one.kind if one else "nothing" for one in found.values())
        print(
            json.dumps({"model": options.model, "errors": len(readings), "said_of_exchanged_labels": kinds}, indent=1)
        )
        return
    report = {
        "model": options.model,
        "helper": options.helper,
        "errors": len(readings),
        "readings": agreement(readings),
        "rules": scores(statements, by_key, log_p),
        "rules_on_nothing": dict(sorted(nulls.items())),
        "said": {key: [cause, stated] for key, (cause, stated) in sorted(statements.items())},
    }
    if options.run:
        of_runs: dict[str, Statement] = {}
        for run in options.run:
            of_runs |= read_verdicts(run, by_key)
        report["verdict"] = scores(of_runs, by_key, log_p)
    report["seconds"] = round(time.perf_counter() - start)
    print(json.dumps(report, indent=1))


def agreement(readings: Sequence[Reading]) -> dict[str, Any]:
    """Share of errors with the same main reason in both readings, Cohen's kappa, and counts of agreed reasons."""
    first, second = ([one[name]["primary"] for one in readings] for name in ("first", "second"))
    same = sum(a == b for a, b in zip(first, second, strict=True)) / len(readings)
    counts = Counter(first), Counter(second)
    chance = sum(counts[0][reason] * counts[1][reason] for reason in counts[0]) / len(readings) ** 2
    agreed = Counter(one["agreed"] for one in readings if one["agreed"])
    return {"agreement": round(same, 3), "kappa": round((same - chance) / (1 - chance), 3), "agreed": dict(agreed)}


def scores(statements: Mapping[str, Statement], by_key: Mapping[str, Reading], log_p: Mapping[str, float]) -> Any:
    """Score what is stated, and the same with what is only looked like, by cause and beside the baseline."""
    result: dict[str, Any] = {}
    for name, chosen in (
        ("stated", {key: cause for key, (cause, stated) in statements.items() if stated}),
        ("stated_or_looks_like", {key: cause for key, (cause, _) in statements.items()}),
    ):
        most_probable = sorted(log_p, key=lambda key: -log_p[key])[: len(chosen)]
        parts = {cause: [key for key in chosen if chosen[key] == cause] for cause in sorted(set(chosen.values()))}
        result[name] = {
            "all": score(chosen, by_key),
            "all_but_confusion": score({k: c for k, c in chosen.items() if c != "confusion"}, by_key),
            "by_cause": {cause: score(dict.fromkeys(keys, cause), by_key) for cause, keys in parts.items()},
            "baseline": score(dict.fromkeys(most_probable, "confusion"), by_key),
        }
    return result


def score(chosen: Mapping[str, str], by_key: Mapping[str, Reading]) -> dict[str, Any]:
    """Count right, arguable and wrong statements."""
    counts = Counter(mark(cause, by_key[key]) for key, cause in chosen.items())
    n = len(chosen)
    found: dict[str, Any] = {"n": n, "coverage": round(n / len(by_key), 3)}
    for name in ("right", "arguable", "wrong"):
        interval = wilson(counts[name], n)
        found[name] = [counts[name], *(round(x, 3) for x in (interval.value, interval.low, interval.high))]
    return found


def mark(cause: str, reading: Reading) -> str:
    """Compare a cause with the two readings of an error."""
    if reading["agreed"] == cause:
        return "right"
    reasons = {reading[name][place] for name in ("first", "second") for place in ("primary", "secondary")}
    return "arguable" if cause in reasons else "wrong"


def count_nulls(errors: Measured, reference: Measured) -> Counter[str]:
    """Count what the rules say of correct images in role play, each half against the other."""
    rows = comparable(errors, reference)
    found: Counter[str] = Counter()
    for part, others in ((rows[::2], rows[1::2]), (rows[1::2], rows[::2])):
        for one in natural_findings(reference.at(part), reference.at(np.concatenate([others, others]))):
            found["role play"] += 1
            if one is not None:
                found[f"role play: {one.kind}"] += 1
    return found


def read_verdicts(run: Path, by_key: Mapping[str, Reading]) -> dict[str, Statement]:
    """Read what the verdicts of a run say of the errors that were read."""
    from whywrong.api import open_run

    rows = open_run(run).query(
        "select p.key, v.cause, v.kind, v.why_text from verdicts v join predictions p using (item_id)"
    )
    found = {}
    for row in rows.to_pylist():
        for key in by_key:
            if key.endswith(f"/{row['key']}"):
                said = row["why_text"]
                stated, looks = said.startswith("Probably"), said.startswith("Looks like")
                if stated or looks:
                    found[key] = ("placeholder" if row["kind"] == "placeholder" else row["cause"], stated)
    return found


def measured(options: argparse.Namespace, folder: str, keys: set[str]) -> tuple[Measured, Measured]:
    """Measure the errors that were read and the correct images that the rules compare them with."""
    name = f"{options.model}_{folder}{'_exchanged' * options.exchange}.npz"
    stored = options.store / name if options.store else None
    if stored is not None and stored.is_file():
        return load(stored, "errors"), load(stored, "reference")
    net, helper = (
        load_classifier(f"{options.data / 'models.py'}:{name}", batch_size=32) if name else None
        for name in (options.model, options.helper)
    )
    assert net is not None
    plain = read(net, helper, options.data / folder / "images")
    chosen = np.flatnonzero(plain.test("right") == 1)
    order = np.argsort(item_keys(0, [plain.item_ids[row] for row in chosen], "reference").numpy(), kind="stable")
    reference = plain.at(np.sort(chosen[order[: options.reference]]))
    wrong = np.array([key in keys for key in plain.item_ids]) & (plain.test("right") == 0)
    if options.exchange:
        plain = exchanged(plain, np.flatnonzero(wrong))
    errors = plain.at(wrong)
    rows = comparable(errors, reference)
    wanted = {*errors.item_ids, *(reference.item_ids[row] for row in rows)}
    with_signs = dict(measure(net, options.data / folder / "images", plain, wanted))
    errors, reference = (fill(part, with_signs) for part in (errors, reference))
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        save(stored, errors=errors, reference=reference)
    return errors, reference


def exchanged(plain: Measured, wrong: np.ndarray) -> Measured:
    """Give every error the label of another one, which the model does not predict for it."""
    label = plain.label.copy()
    order = wrong[np.argsort(item_keys(0, [plain.item_ids[row] for row in wrong], "exchange").numpy(), kind="stable")]
    for row, other in zip(order, np.roll(order, 1), strict=True):
        if plain.label[other] != plain.predicted[row]:
            label[row] = plain.label[other]
    return replace(plain, label=label)


def read(net: Classifier, helper: Classifier | None, folder: Path) -> Measured:
    """Predict all images; correct ones get their runner-up as the label, and ``right`` says which they are."""
    ids, logits, features, labels, others = [], [], [], [], []
    for batch in load_images(open_data(folder), spec=net.preprocess, classes=net.classes, batch_size=64):
        with net:
            found, bad = image_features(net, batch.x, batch.y)
        assert not bad
        ids += [item.entry.key for item in batch.items]
        logits.append(found.logits.numpy())
        features.append(found.phi.numpy())
        labels.append(batch.y.numpy())
        if helper is not None:
            others.append(helper.logits(batch.x).numpy())
    z, y = np.concatenate(logits), np.concatenate(labels)
    predicted = z.argmax(1)
    return Measured(
        item_ids=tuple(ids),
        sources=tuple(ids),
        label=np.where(predicted == y, runner_up(z, predicted), y),
        predicted=predicted,
        logits=z,
        features=np.concatenate(features),
        sign_names=NAMES,
        signs=np.full((len(z), len(NAMES)), np.nan, np.float32),
        test_names=("right",),
        restored=(predicted == y)[:, None].astype(np.float32),
        detail=np.zeros((len(z), 3, 0, 0), np.float16),
        helper_logits=np.stack([np.concatenate(others)]) if others else np.zeros((0, len(z), 0), np.float32),
        forwards=np.ones(len(z), np.int64),
        backwards=np.zeros(len(z), np.int64),
    )


def measure(net: Classifier, folder: Path, plain: Measured, wanted: set[str]) -> Any:
    """Yield the signs of the wanted images by item."""
    place = {item: row for row, item in enumerate(plain.item_ids)}
    for batch in load_images(open_data(folder), spec=net.preprocess, classes=net.classes, batch_size=32):
        rows = [row for row, item in enumerate(batch.items) if item.entry.key in wanted]
        if not rows:
            continue
        items = [batch.items[row] for row in rows]
        at = [place[item.entry.key] for item in items]
        x, label = batch.x[rows], torch.from_numpy(plain.label[at])
        views, there = outside_views(items)
        outside = torch.from_numpy(views).float() / 255
        outside[~torch.from_numpy(there)] = torch.nan
        keys = item_keys(0, [item.entry.item_id for item in items], "signs")
        stages = SignsConfig(stages=("pixels", "scores", "survival"))
        with net:
            common = sign_matrix(signs(net, x, label, keys=keys, config=stages))
            maps, _, _ = map_signs(net, x, label, torch.from_numpy(plain.logits[at]), outside)
        for row, values in zip(at, torch.cat([common, maps], 1).numpy(), strict=True):
            yield plain.item_ids[row], values


def fill(part: Measured, found: Mapping[str, np.ndarray]) -> Measured:
    """Put the signs of some images in their rows."""
    values = part.signs.copy()
    for row, item in enumerate(part.item_ids):
        if item in found:
            values[row] = found[item]
    return replace(part, signs=values)


_ARRAYS = ("label", "predicted", "logits", "features", "signs", "restored", "detail", "helper_logits")


def save(path: Path, **parts: Measured) -> None:
    """Store measurements as arrays."""
    values = {f"{name}_{array}": getattr(part, array) for name, part in parts.items() for array in _ARRAYS}
    np.savez(path, **values, **{f"{name}_items": np.array(part.item_ids) for name, part in parts.items()})


def load(path: Path, name: str) -> Measured:
    """Read what :func:`save` stored."""
    with np.load(path) as found:
        items = tuple(str(item) for item in found[f"{name}_items"])
        passes = np.zeros(len(items), np.int64)
        return Measured(
            item_ids=items,
            sources=items,
            sign_names=NAMES,
            test_names=("right",),
            forwards=passes,
            backwards=passes,
            **{array: found[f"{name}_{array}"] for array in _ARRAYS},
        )


if __name__ == "__main__":
    main()
