"""Power of the tests of causes on planted errors, and how often they support a cause where there is none.

    python benchmarks/interventions.py planted:cnn planted:test
    python benchmarks/interventions.py DATA/models.py:resnet20 DATA/cifar10_test_a/test_lossless.npz

Plants errors of the causes that an edit can take away, measures all interventions on them, on natural errors and on
correct images in role play, and applies the rule of docs/methods/interventions.md. Every error is tested for its own
cause and for `adversarial` and `corruption`, one cause at a time. Role play: each correct image is tested as an error
against the other ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whywrong.api.reading import load_classifier, open_pair
from whywrong.core.randomness import item_keys
from whywrong.core.statistics import wilson
from whywrong.explain.interventions import INTERVENTIONS, interventions, restored_matrix
from whywrong.explain.signs import SIGNS, SignsConfig, sign_matrix, signs
from whywrong.models.classifier import Classifier
from whywrong.planting.mistakes import Tally
from whywrong.planting.perturbations import PlantConfig
from whywrong.planting.plant import plant
from whywrong.runs.labelled import LabelledSource, Settled
from whywrong.verdicts.controls import FEWEST_CONTROLS, logit_scale, margins, matched_controls
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.tests_of_causes import run_tests

PLANTED = ("label", "corruption", "adversarial", "spurious", "occluded")
TESTED = ("corruption", "adversarial")
ROLE_PLAYED = 500


@dataclass(frozen=True, slots=True)
class Images:
    """Images with the class asked for, the key of their source, and their true cause and kind."""

    x: Tensor
    y: Tensor
    keys: tuple[str, ...]
    cause: tuple[str, ...]
    kind: tuple[str, ...]


def planted(classifier: Classifier, data: LabelledSource, settled: Settled, per_cause: int) -> Iterator[Images]:
    for cause in PLANTED:
        wanted = 2 * per_cause if cause == "corruption" else per_cause
        config = PlantConfig(causes=(cause,), per_cause=wanted, tries=12)
        for some in plant(classifier, data, settled, config=config, tally=Tally(wanted)):
            n = len(some.label)
            yield Images(some.image.float() / 255, some.label, some.keys, (cause,) * n, (some.kind,) * n)


def read(classifier: Classifier, data: LabelledSource, settled: Settled, limit: int) -> tuple[Images, Images]:
    """Natural errors, and correct images with their runner-up."""
    found: dict[bool, list[tuple[Tensor, Tensor, list[str]]]] = {True: [], False: []}
    for x, y, items in data.read(classifier, settled, limit=limit):
        order = classifier.logits(x).argsort(1, descending=True)
        right = order[:, 0] == y
        for wanted, asked in ((True, order[:, 1]), (False, y)):
            rows = (right == wanted).nonzero().flatten()
            found[wanted].append((x[rows], asked[rows], [items[row].entry.key for row in rows.tolist()]))
    made = []
    for wanted, name in ((False, "ordinary"), (True, "role play")):
        x, y, keys = (list(part) for part in zip(*found[wanted], strict=True))
        names = tuple(key for some in keys for key in some)
        made.append(Images(torch.cat(x), torch.cat(y), names, (name,) * len(names), (name,) * len(names)))
    return made[0], made[1]


def measure(classifier: Classifier, images: Images) -> Measured:
    keys = item_keys(0, images.keys, "interventions")
    logits = classifier.logits(images.x).numpy()
    tested = interventions(classifier, images.x, images.y, keys=keys)
    pixels = signs(classifier, images.x, images.y, keys=keys, config=SignsConfig(stages=("pixels",)))
    n = len(images.y)
    return Measured(
        item_ids=tuple(f"{key}/{row}" for row, key in enumerate(images.keys)),
        sources=images.keys,
        label=images.y.numpy(),
        predicted=logits.argmax(1),
        logits=logits,
        features=np.zeros((n, 0), np.float32),
        sign_names=tuple(sign.name for sign in SIGNS if sign.stage),
        signs=sign_matrix(pixels).numpy(),
        test_names=tuple(test.name for test in INTERVENTIONS),
        restored=restored_matrix(tested).numpy(),
        detail=np.zeros((n, 3, 0, 0), np.float16),
        helper_logits=np.zeros((0, n, logits.shape[1]), np.float32),
        forwards=tested.forwards.numpy(),
        backwards=tested.backwards.numpy(),
    )


def joined(parts: list[Images]) -> Images:
    def flat(name: str) -> tuple[str, ...]:
        return tuple(word for part in parts for word in getattr(part, name))

    return Images(
        torch.cat([part.x for part in parts]),
        torch.cat([part.y for part in parts]),
        flat("keys"),
        flat("cause"),
        flat("kind"),
    )


def shares(hit: np.ndarray, of: np.ndarray) -> dict[str, str]:
    return {str(name): f"{int(hit[of == name].sum())}/{int((of == name).sum())}" for name in np.unique(of)}


def role_play(reference: Measured) -> dict[str, str]:
    """How often P <= 0.05 on correct images that are left out of their own controls, by intervention."""
    rows = np.random.default_rng(0).permutation(len(reference))[:ROLE_PLAYED]
    held = reference.at(rows)
    scale = logit_scale(reference)
    controls = matched_controls(
        margins(held, scale),
        margins(reference, scale),
        held.predicted,
        reference.predicted,
        sources=held.sources,
        pool_sources=reference.sources,
    )
    known = controls[:, FEWEST_CONTROLS - 1] >= 0
    found = {"tested": f"{int(known.sum())} of {len(rows)}"}
    for test in INTERVENTIONS:
        values = reference.test(test.name)[controls]
        more = ((values >= held.test(test.name)[:, None] - 1e-6) & (controls >= 0)).sum(1)
        p = (1 + more) / (1 + (controls >= 0).sum(1))
        hits = int((p[known] <= 0.05).sum())
        found[test.name] = (
            f"{hits} ({100 * hits / known.sum():.1f} %, to {100 * wilson(hits, int(known.sum())).high:.1f})"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--per-cause", type=int, default=40)
    parser.add_argument("--limit", type=int, default=4000, help="images that are read")
    options = parser.parse_args()
    classifier, source = open_pair(load_classifier(options.model, batch_size=128), options.data)
    data = LabelledSource(source, None)
    settled = data.settle(classifier)
    ordinary, correct = read(classifier, data, settled, options.limit)
    errors = joined([*planted(classifier, data, settled, options.per_cause), ordinary])
    measured, reference = measure(classifier, errors), measure(classifier, correct)
    cause, kind = np.array(errors.cause), np.array(errors.kind)
    found: dict[str, object] = {"errors": len(errors.y), "correct": len(correct.y), "role play": role_play(reference)}
    for natural in (False, True):
        for tested in TESTED:
            tests = [test for [test] in run_tests(measured, reference, [[tested]] * len(measured), natural=natural)]
            supported = np.array([test.outcome == "supported" for test in tests])
            name = f"supported {tested}{', further controls' if natural else ''}"
            found[name] = shares(supported, cause)
            found[f"{name}, by kind"] = shares(supported[cause == tested], kind[cause == tested])
            reasons = np.array([test.reason or "supported" for test in tests])[cause == tested]
            found[f"{name}, reasons"] = {str(word): int((reasons == word).sum()) for word in np.unique(reasons)}
    held = reference.at(np.random.default_rng(0).permutation(len(reference))[:ROLE_PLAYED])
    both = run_tests(held, reference, [list(TESTED)] * len(held), natural=False)
    found["role play supported"] = sum(any(test.outcome == "supported" for test in tests) for tests in both)
    found["role play with further controls"] = sum(
        any(test.outcome == "supported" for test in tests)
        for tests in run_tests(replace(held), reference, [list(TESTED)] * len(held), natural=True)
    )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
