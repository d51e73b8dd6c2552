"""Are planted marks and clusters found, is nothing found where nothing is, and what does grouping cost?

Four questions, on pictures and errors made of random numbers:

1. Cost. Time, processor time and peak memory of the search for recurring marks among many errors.
2. Marks. A mark is pasted into 60 of 360 errors, in two versions, exactly or with jitter in place, size, opacity and
   colour: which share is found, and which share of a group carries its mark? How many unmarked errors are flagged?
3. Clusters. 40 of 240 errors have alike features: purity and recall of the best group with cause, beside k-means and a
   Gaussian mixture on the same descriptors. How many groups does each find if the columns are shuffled?
4. Free groups. What share of errors is grouped if predictions are permuted?

    python benchmarks/groups.py --errors 10000 --edge 32 48 --seeds 5
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, zoom

from whywrong.core.classes import ClassList
from whywrong.core.statistics import holm
from whywrong.verdicts.groups import Rows, free_groups, mark_groups
from whywrong.verdicts.groups.held_out import checked_clusters
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import fine_content, recurrence

CLASSES = 10
MARKED, OTHERS, SIDE = 60, 300, 7
JITTERS: dict[str, dict[str, float]] = {
    "exact": {},
    "place by 2 pixels": {"place": 2},
    "place and size": {"place": 2, "size": 1},
    "opacity 0.6 to 1": {"opacity": 0.6},
    "all, and colour": {"place": 2, "size": 1, "opacity": 0.6, "colour": 0.1},
}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--errors", type=int, default=10_000)
    parser.add_argument("--edge", type=int, nargs="*", default=[32, 48], help="sides in pixels; none leaves cost out")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "marks": {name: marks(jitter, options.seeds) for name, jitter in JITTERS.items()},
        "clusters": clusters(options.seeds),
        "permuted": [permuted(seed) for seed in range(options.seeds)],
        "cost": [cost(options.errors, edge) for edge in options.edge],
    }
    print(json.dumps(report, indent=1))


def cost(errors: int, edge: int) -> dict[str, float]:
    """Measure the search among errors of noise, with 60 marked ones."""
    random = np.random.default_rng(0)
    detail = np.empty((errors, 3, edge, edge), np.float16)
    for start in range(0, errors, 1000):
        part = detail[start : start + 1000]
        part[:] = random.normal(0, 0.05, part.shape)
    predicted = random.integers(0, CLASSES, errors)
    predicted[:MARKED] = 0
    side = edge // 4
    detail[:MARKED, :, -side - 2 : -2, -side - 2 : -2] = random.normal(0, 0.1, (3, side, side))
    items = measured(detail, predicted)
    wall, processor = time.perf_counter(), time.process_time()
    found = recurrence(items)
    return {
        "errors": errors,
        "edge": edge,
        "classes": CLASSES,
        "seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "marked_found": int((found.count[:MARKED] > 0).sum()),
        "others_found": int((found.count[MARKED:] > 0).sum()),
    }


def marks(jitter: dict[str, float], seeds: int) -> dict[str, float]:
    """Paste two versions of a mark into 60 of 360 errors and search for them."""
    recall, purity, flagged, groups, apart = [], [], [], [], []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        x = pictures(MARKED + OTHERS, random)
        predicted = np.concatenate([np.zeros(MARKED, np.int64), random.integers(0, CLASSES, OTHERS)])
        versions = random.random((2, 3, SIDE, SIDE)).astype(np.float32)
        for row in range(MARKED):
            paste(x[row], versions[row % 2], random, **jitter)
        errors = measured(fine_content(torch.from_numpy(x)).numpy(), predicted)
        found = recurrence(errors)
        members = [[int(item[1:]) for item in one.members] for one in mark_groups(rows(errors), errors, found)]
        inside = [[row for row in one if row < MARKED] for one in members]
        recall.append(len({row for one in inside for row in one}) / MARKED)
        purity += [len(a) / len(b) for a, b in zip(inside, members, strict=True)]
        apart += [max(sum(row % 2 for row in one), sum(1 - row % 2 for row in one)) / len(one) for one in inside if one]
        flagged.append(float((found.count[MARKED:] > 0).mean()))
        groups.append(len(members))
    return {
        "recall": float(np.mean(recall)),
        "purity": float(np.mean(purity)) if purity else float("nan"),
        "one_version": float(np.mean(apart)) if apart else float("nan"),
        "groups": float(np.mean(groups)),
        "unmarked_flagged": float(np.mean(flagged)),
    }


def clusters(seeds: int) -> dict[str, Any]:
    """Compare the checked clusters with k-means and a Gaussian mixture."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        x = random.normal(size=(240, 34))
        x[:40] = 1.2 * random.normal(size=34) + 0.4 * random.normal(size=(40, 34))
        shuffled = random.permuted(x, axis=0)
        for name, method in METHODS.items():
            values = found.setdefault(name, {"purity": [], "recall": [], "groups": [], "groups_if_shuffled": []})
            groups = method(x, seed)
            best = max(groups, key=lambda group: (group < 40).sum(), default=np.zeros(0, int))
            values["purity"].append(float((best < 40).mean()) if len(best) else 0.0)
            values["recall"].append(float((best < 40).sum() / 40))
            values["groups"].append(len(groups))
            values["groups_if_shuffled"].append(len(method(shuffled, seed)))
    return {name: {key: float(np.mean(one)) for key, one in values.items()} for name, values in found.items()}


def checked(x: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the groups of whywrong, as rows."""
    some = checked_clusters(x, [f"s{seed}-{row}" for row in range(len(x))], 5)
    p = holm(np.array([one.p for one in some]))
    return [one.members for one, value in zip(some, p, strict=True) if value <= 0.05 and one.cohesion >= 0.4]


def k_means(x: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the clusters of k-means with the best silhouette for 2 to 10 clusters."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    labels = [KMeans(k, n_init=10, random_state=seed).fit_predict(x) for k in range(2, 11)]
    return members_of(max(labels, key=lambda one: silhouette_score(x, one)))


def mixture(x: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the components of a Gaussian mixture with the best BIC for 1 to 10 components."""
    from sklearn.mixture import GaussianMixture

    fits = [GaussianMixture(k, covariance_type="diag", random_state=seed).fit(x) for k in range(1, 11)]
    return members_of(min(fits, key=lambda one: one.bic(x)).predict(x))


METHODS = {"whywrong": checked, "k-means": k_means, "mixture": mixture}


def members_of(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each cluster."""
    return [(labels == one).nonzero()[0] for one in np.unique(labels)]


def permuted(seed: int) -> float:
    """Return the share of errors that is in any free group if predictions are permuted."""
    random = np.random.default_rng(seed)
    label = random.integers(0, CLASSES, 600)
    confidence = random.beta(5, 2, 600)
    predicted = random.permutation(label)
    made = Rows(
        item_ids=tuple(f"i{row}" for row in range(600)),
        sources=tuple(f"s{row}" for row in range(600)),
        label=label,
        predicted=predicted,
        confidence=confidence,
        true_confidence=np.where(label == predicted, confidence, (1 - confidence) * random.random(600)),
        rank=np.where(label == predicted, 1, random.integers(2, CLASSES + 1, 600)),
        classes=ClassList(tuple(f"class {index}" for index in range(CLASSES))),
        features=random.normal(size=(600, 32)).astype(np.float32),
        pictures=(255 * pictures(600, random)).astype(np.uint8),
        sharpness=random.normal(size=600).astype(np.float32),
    )
    grouped = {item for group in free_groups(made) for item in group.members}
    return len(grouped) / len(made.wrong)


def pictures(n: int, random: np.random.Generator, side: int = 32) -> np.ndarray:
    """Draw (n, 3, side, side) pictures of smooth colours, edges and grain."""
    smooth = 2 * gaussian_filter(random.normal(size=(n, 3, side, side)), (0, 0, 3, 3))
    edges = 0.25 * np.sign(gaussian_filter(random.normal(size=(n, 1, side, side)), (0, 0, 4, 4)))
    grain = 0.02 * random.normal(size=(n, 3, side, side))
    return np.clip(0.5 + smooth + edges + grain, 0, 1).astype(np.float32)


def paste(
    x: np.ndarray,
    mark: np.ndarray,
    random: np.random.Generator,
    place: float = 0,
    size: float = 0,
    opacity: float = 1,
    colour: float = 0,
) -> None:
    """Paste a mark near the lower right corner of one picture (3, S, S), in place."""
    side = SIDE + int(random.integers(-int(size), int(size) + 1))
    mark = zoom(mark, (1, side / SIDE, side / SIDE), order=1) if side != SIDE else mark
    mark = np.clip(mark + random.normal(0, colour, (3, 1, 1)), 0, 1) if colour else mark
    top, left = (x.shape[1] - 3 - SIDE + random.integers(-int(place), int(place) + 1, 2)).tolist()
    part = x[:, top : top + side, left : left + side]
    part += random.uniform(opacity, 1) * (mark - part)


def measured(detail: np.ndarray, predicted: np.ndarray) -> Measured:
    """Return errors with fine content and nothing else."""
    n = len(detail)
    nothing = np.zeros((n, 0), np.float32)
    return Measured(
        item_ids=tuple(f"i{row}" for row in range(n)),
        sources=tuple(f"s{row}" for row in range(n)),
        label=(predicted + 1) % CLASSES,
        predicted=predicted,
        logits=nothing,
        features=nothing,
        sign_names=(),
        signs=nothing,
        test_names=(),
        restored=nothing,
        detail=detail,
        helper_logits=np.zeros((0, n, 0), np.float32),
        forwards=np.zeros(n, np.int64),
        backwards=np.zeros(n, np.int64),
    )


def rows(errors: Measured) -> Rows:
    """Return the errors as rows of a run without correct images."""
    n = len(errors)
    return Rows(
        item_ids=errors.item_ids,
        sources=errors.sources,
        label=errors.label,
        predicted=errors.predicted,
        confidence=np.full(n, np.nan),
        true_confidence=np.full(n, np.nan),
        rank=np.zeros(n, np.int64),
        classes=ClassList(tuple(f"class {index}" for index in range(CLASSES))),
    )


if __name__ == "__main__":
    main()
