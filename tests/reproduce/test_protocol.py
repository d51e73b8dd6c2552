"""Claims: intervals against bounds, the errors they are measured on, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.models import Classifier
from whywrong.reproduce.protocol import TensorImages, both, decide, error_batches, run_claim


class FirstPixels(nn.Module):
    """Logits are the first three values of the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3]


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(FirstPixels(), classes=ClassList(("a", "b", "c")))


def images(predicted: list[int]) -> torch.Tensor:
    """Images (N, 1, 2, 2) that ``FirstPixels`` reads as the classes given."""
    x = torch.full((len(predicted), 1, 2, 2), 0.25)
    x.flatten(1)[torch.arange(len(predicted)), torch.tensor(predicted)] = 0.75
    return x


@pytest.mark.parametrize(
    ("low", "high", "above", "verdict"),
    [
        (0.997, 1.0, True, "holds"),
        (0.95, 1.0, True, "undecided"),
        (0.90, 0.95, True, "does not hold"),
        (1.0, 1.2, False, "holds"),
        (1.8, 2.0, False, "undecided"),
        (2.0, 2.5, False, "does not hold"),
        (float("nan"), float("nan"), True, "undecided"),
    ],
)
def test_the_verdict_follows_the_whole_interval(low, high, above, verdict):
    bound = 0.9967 if above else 1.96
    assert decide(low, high, bound, above=above) == verdict


def test_one_part_that_does_not_hold_decides():
    assert both("holds", "undecided", "does not hold") == "does not hold"
    assert both("holds", "undecided") == "undecided"
    assert both("holds", "holds") == "holds"


def test_error_batches_hold_the_wrong_images_in_order(classifier):
    predicted, labels = [0, 1, 2, 0, 1, 2], [0, 2, 2, 1, 1, 0]  # rows 1, 3 and 5 are wrong
    data = TensorImages(images(predicted), torch.tensor(labels), batch_size=2)
    found = list(error_batches(classifier, data, limit=None, batch_size=2))
    assert [ids for _, _, ids in found] == [["1", "3"], ["5"]]
    assert torch.cat([y for _, y, _ in found]).tolist() == [2, 1, 0]


def test_a_limit_stops_at_the_first_errors_and_reads_no_further(classifier):
    data = TensorImages(images([0] * 100), torch.ones(100, dtype=torch.int64), batch_size=10)
    [(x, _, ids)] = error_batches(classifier, data, limit=3)
    assert ids == ["0", "1", "2"]
    assert len(x) == 3
    assert classifier.forwards == 10


def test_images_without_a_finite_answer_are_not_errors():
    class Broken(FirstPixels):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x).clone()
            logits[logits.argmax(1) == 2] = torch.nan
            return logits

    classifier = Classifier(Broken(), classes=ClassList(("a", "b", "c")))
    data = TensorImages(images([2, 0, 2, 1]), torch.tensor([0, 1, 0, 0]))
    [(_, _, ids)] = error_batches(classifier, data, limit=None)
    assert ids == ["1", "3"]


def test_unknown_claims_settings_and_model_counts_are_refused(classifier):
    data = TensorImages(images([0]), torch.tensor([1]))
    with pytest.raises(InputError, match=r"inverted\.1"):
        run_claim("inverted.2", [classifier], data)
    with pytest.raises(InputError, match=r'nearest: "inverted\.1\.limit"'):
        run_claim("inverted.1", [classifier], data, {"limt": 3})
    with pytest.raises(InputError, match="takes 1 model"):
        run_claim("inverted.1", [classifier, classifier], data)
    with pytest.raises(InputError, match="at least 1"):
        run_claim("inverted.1", [classifier], data, {"limit": 0})
