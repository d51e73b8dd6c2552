"""Ranks by distance to classes, against the closed form of a linear model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.models.classifier import Classifier
from whywrong.reproduce.class_ranks import class_ranks


class Linear(nn.Module):
    """Logits <w_k, x> + b_k."""

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.flatten(1).T + self.b


def weights(classes: int, seed: int = 0) -> Tensor:
    return torch.randn(classes, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [6, 17, 18, 40])  # 16 classes are differentiated at once
def test_distances_of_a_linear_model_are_those_of_point_and_hyperplane(classes):
    w, b = weights(classes), torch.linspace(-3, 3, classes)
    b[2] = 60.0
    classifier = Classifier(Linear(w, b), batch_size=2)
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    logits = classifier.logits(x)
    assert (logits.argmax(1) == 2).all()
    for truth in (0, 1, 3, classes - 1):
        rank, ratio = class_ranks(classifier, x, torch.full((5,), truth))
        for row in range(5):
            distance = {j: float((logits[row, 2] - logits[row, j]) / (w[2] - w[j]).norm()) for j in range(classes)}
            del distance[2]
            mine = distance.pop(truth)
            assert rank[row] == 1 + sum(d < mine for d in distance.values())
            middle = torch.tensor(list(distance.values())).quantile(0.5)
            assert ratio[row].item() == pytest.approx(mine / float(middle), rel=1e-4)


def test_every_other_class_costs_a_backward_pass_and_sixteen_of_them_a_forward_pass():
    classifier = Classifier(Linear(weights(40), torch.arange(40.0)))
    class_ranks(classifier, torch.rand(3, 3, 6, 6), torch.zeros(3, dtype=torch.int64))
    assert (classifier.forwards, classifier.backwards) == (3 * (1 + 3), 3 * 39)


def test_two_classes_leave_nothing_to_compare_with():
    classifier = Classifier(Linear(weights(2), torch.tensor([50.0, 0.0])))
    rank, ratio = class_ranks(classifier, torch.rand(2, 3, 6, 6), torch.ones(2, dtype=torch.int64))
    assert rank.tolist() == [1, 1]
    assert ratio.isnan().all()


def test_no_error_has_no_rank():
    classifier = Classifier(Linear(weights(3), torch.zeros(3)))
    classifier.logits(torch.rand(1, 3, 6, 6))
    rank, ratio = class_ranks(classifier, torch.rand(0, 3, 6, 6), torch.zeros(0, dtype=torch.int64))
    assert len(rank) == len(ratio) == 0
