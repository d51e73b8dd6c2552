"""Where there is nothing to find, tests rarely support a cause."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whywrong.core.randomness import row_keys
from whywrong.core.statistics import wilson
from whywrong.data.planted import open_set
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier
from whywrong.verdicts.measure import Measures, measure
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.stages.reference import TAKEN_AWAY
from whywrong.verdicts.tests_of_causes import run_tests

EVERYTHING = Measures(basics=True, signs=("pixels", "scores", "survival"), tests=TAKEN_AWAY)


def role_played(classifier: Classifier, x: torch.Tensor) -> Measured:
    """Images in the part of errors: the prediction is their class, and the runner-up the class asked for."""
    first, second = classifier.logits(x).topk(2, dim=1).indices.unbind(1)
    names = tuple(f"i{row}" for row in range(len(x)))
    return measure(
        classifier, x, second, first, item_ids=names, sources=names, keys=row_keys(1, len(x)), measures=EVERYTHING
    )


def permuted(classifier: Classifier) -> None:
    """Shuffle the values of every weight, which keeps their distribution and loses what was learnt."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in classifier.module.parameters():  # type: ignore[union-attr]
            order = torch.randperm(weight.numel(), generator=draw)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [True, False], ids=["permuted weights", "trained"])
def test_role_played_correct_images_rarely_have_a_supported_cause(shuffled):
    classifier = load_classifier("planted:cnn")
    if shuffled:
        permuted(classifier)
    pictures = open_set("test")
    x = pictures.draw(torch.arange(400)).images.float() / 255
    measured = role_played(classifier, x)
    errors, reference = measured.at(np.arange(200)), measured.at(np.arange(200, 400))
    tests = run_tests(errors, reference, [("label", *TAKEN_AWAY)] * len(errors))
    hits = sum(any(test.outcome == "supported" for test in of_error) for of_error in tests)
    assert hits <= 0.05 * len(errors)
    assert wilson(hits, len(errors)).high <= 0.08


@pytest.mark.slow
def test_random_labels_support_no_cause_of_the_image():
    classifier = load_classifier("planted:cnn")
    x = open_set("test").draw(torch.arange(300)).images.float() / 255
    reference = role_played(classifier, x[100:])
    first = classifier.predict(x[:100])
    label = (first + 1 + torch.arange(100) % (classifier.num_classes - 1)) % classifier.num_classes
    names = tuple(f"e{row}" for row in range(100))
    errors = measure(
        classifier, x[:100], label, first, item_ids=names, sources=names, keys=row_keys(2, 100), measures=EVERYTHING
    )
    tests = run_tests(errors, reference, [TAKEN_AWAY] * len(errors))
    assert sum(any(test.outcome == "supported" for test in of_error) for of_error in tests) <= 5
