"""The joint objective: the target up, the class that is left down."""

from __future__ import annotations

import pytest
import torch
from tests.explain.counterfactuals.analytic import images
from torch import nn

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual
from whywrong.explain.counterfactuals.objectives import ClassObjective, JointObjective
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.models.classifier import Classifier


class Linear4(nn.Module):
    """Four classes, logits linear in the pixels."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(scale * keyed_normal(row_keys(3, 4), (3, 6, 6)) / 4)

    def forward(self, x):
        return (x - 0.5).flatten(1) @ self.w.flatten(1).T


def test_on_a_linear_model_one_call_of_the_oracle_is_the_answer_and_the_gap_is_zero():
    net, x = Linear4(), images(5)
    source, target = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])
    classifier = Classifier(net)
    with classifier:
        found = maximize(JointObjective(classifier, source), x, target, p=1.5, eps=1.0, steps=4)
    slope = (net.w[target] - net.w[source]).detach()
    best, _ = Domain.around(x, torch.ones(5, dtype=torch.float64), 1.5).best(slope)
    torch.testing.assert_close(found.z, best, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.value, ((best - 0.5) * slope).sum((1, 2, 3)), atol=1e-4, rtol=1e-4)
    assert float(found.gap.max()) < 1e-3


def test_value_and_gradient_are_the_difference_of_two_log_probabilities():
    classifier, x = Classifier(Linear4()), images(3)
    source, target = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 1])
    with classifier:
        value, grad, logits = JointObjective(classifier, source, 2.0).gradient(x, target)
        parts = [ClassObjective(classifier, temperature=2.0).gradient(x, classes) for classes in (target, source)]
        again, _ = JointObjective(classifier, source, 2.0).value(x, target)
    torch.testing.assert_close(value, parts[0][0] - parts[1][0])
    torch.testing.assert_close(grad, parts[0][1] - parts[1][1])
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(logits, parts[0][2])


def test_rows_that_leave_early_do_not_mix_up_the_sources_of_those_that_stay():
    net, x = Linear4(4.0), images(6)
    classifier = Classifier(net)
    source, target = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 2, 3, 0, 2, 3])
    eps = torch.tensor([3.0, 0.05, 3.0, 0.05, 3.0, 0.05], dtype=torch.float64)
    with classifier:
        found = maximize(JointObjective(classifier, source), x, target, p=2, eps=eps, steps=8, stop_conf=0.9)
    assert found.steps.tolist() == [1, 8, 1, 8, 1, 8]  # where the ball is large, the first step is enough
    slope = (net.w[target] - net.w[source]).detach()
    best, _ = Domain.around(x, eps, 2.0).best(slope)
    torch.testing.assert_close(found.z, best, atol=1e-4, rtol=0)


def test_a_counterfactual_leaves_the_predicted_class_and_deeper_the_true_one():
    net, x = Linear4(), images(4)
    predicted = net(x).argmax(1)
    y = (predicted + 1) % 4
    result = counterfactual(
        Classifier(net), x, y, config=CounterfactualConfig(objective="joint", trust=False, radii=(1.0,))
    )
    entries = result.entries
    for entry, (row, role) in enumerate(zip(entries.row.tolist(), entries.role, strict=True)):
        up, down = (y[row], predicted[row]) if role == "true" else (predicted[row], y[row])
        slope = (net.w[up] - net.w[down]).detach()[None]
        best, _ = Domain.around(x[row : row + 1], torch.ones(1, dtype=torch.float64), 1.5).best(slope)
        torch.testing.assert_close(entries.z[entry : entry + 1], best, atol=1e-4, rtol=0)


def test_the_plain_objective_names_the_joint_one_and_a_bad_temperature_is_refused():
    classifier = Classifier(Linear4())
    with pytest.raises(InputError, match="use JointObjective"):
        ClassObjective(classifier, "joint")
    with pytest.raises(InputError, match="temperature must be positive"):
        JointObjective(classifier, torch.tensor([0]), 0.0)
