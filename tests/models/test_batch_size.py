"""Batch sizes are planned from the model alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whywrong.models import batch_size
from whywrong.models.batch_size import plan_batch_size, saved_bytes
from whywrong.models.classifier import Classifier


def test_saved_bytes_are_those_of_the_activations():
    # Exp saves its own result and nothing else: one copy of 3 x 8 x 8 float32. The sum over pixels saves nothing.
    class Net(nn.Module):
        def forward(self, x):
            return x.exp().flatten(1).sum(1, keepdim=True).expand(-1, 2)

    classifier = Classifier(Net())
    assert saved_bytes(classifier, torch.rand(1, 3, 8, 8)) == 3 * 8 * 8 * 4
    assert classifier.forwards == 0


def test_weights_do_not_count():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 1000))
    assert saved_bytes(Classifier(net), torch.rand(1, 3, 8, 8)) <= 192 * 4 * 2


@pytest.mark.parametrize(("budget", "size"), [(768, 1), (768 * 9, 8), (768 * 64, 64), (10**12, 128), (1, 1)])
def test_the_plan_is_the_power_of_two_that_fits_the_budget(monkeypatch, budget, size):
    class Net(nn.Module):
        def forward(self, x):
            return x.exp().flatten(1).sum(1, keepdim=True).expand(-1, 2)

    monkeypatch.setattr(batch_size, "BUDGET_CPU", budget)
    assert plan_batch_size(Classifier(Net()), torch.rand(1, 3, 8, 8)) == size


def test_models_without_gradient_get_the_default():
    assert plan_batch_size(Classifier(lambda x: x), torch.rand(1, 3, 8, 8)) == 32


def test_a_model_that_cannot_answer_a_plain_image_gets_the_default():
    class Net(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    assert plan_batch_size(Classifier(Net()), torch.rand(1, 3, 8, 8)) == 32


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_probe_that_does_not_fit_gets_the_default(error):
    class Net(nn.Module):
        def forward(self, x):
            raise error

    assert plan_batch_size(Classifier(Net()), torch.rand(1, 3, 8, 8)) == 32
