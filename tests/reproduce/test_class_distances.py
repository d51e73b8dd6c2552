"""Distances to classes, against the closed form of a linear model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.models.classifier import Classifier
from whywrong.reproduce.class_distances import class_distances


class Linear(nn.Module):
    """Logits <w_k, x> + b_k."""

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.flatten(1).T + self.b


def weights(classes: int, seed: int = 0) -> Tensor:
    return torch.randn(classes, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_distances_of_a_linear_model_are_those_of_point_and_hyperplane():
    w, b = weights(6), torch.tensor([30.0, 0.0, 1.0, 2.0, -1.0, 4.0])
    classifier = Classifier(Linear(w, b), batch_size=2)
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    logits = classifier.logits(x)
    assert (logits.argmax(1) == 0).all()
    for truth in range(1, 6):
        y = torch.full((5,), truth)
        found = class_distances(classifier, x, y)
        for row in range(5):
            distance = [float((logits[row, 0] - logits[row, j]) / (w[0] - w[j]).norm()) for j in range(1, 6)]
            others = distance[: truth - 1] + distance[truth:]
            assert found.rank[row] == 1 + sum(d < distance[truth - 1] for d in others)
            assert found.ranked[row] == 5
            middle = sum(sorted(others)[1:3]) / 2
            assert found.ratio[row].item() == pytest.approx(distance[truth - 1] / middle, rel=1e-4)


def test_only_the_highest_scoring_others_are_ranked_and_each_costs_a_backward_pass():
    classifier = Classifier(Linear(weights(40), torch.arange(40.0)))
    x, y = torch.rand(3, 3, 6, 6), torch.zeros(3, dtype=torch.int64)
    found = class_distances(classifier, x, y, others=10)
    assert found.ranked.tolist() == [11, 11, 11]
    assert (classifier.forwards, classifier.backwards) == (3, 33)
    assert (int(found.forwards.sum()), int(found.backwards.sum())) == (3, 33)


def test_two_classes_leave_nothing_to_compare_with():
    classifier = Classifier(Linear(weights(2), torch.tensor([50.0, 0.0])))
    found = class_distances(classifier, torch.rand(2, 3, 6, 6), torch.ones(2, dtype=torch.int64))
    assert found.ranked.tolist() == [1, 1]
    assert found.ratio.isnan().all()
