"""Margins, on logits worked out by hand."""

from __future__ import annotations

import torch

from whywrong.core.margins import best_other, error_margin


def test_the_margin_is_the_best_other_logit_minus_that_of_the_class():
    logits = torch.tensor([[1.0, 4.0, 2.0], [3.0, -1.0, 2.5]])
    assert error_margin(logits, torch.tensor([0, 0])).tolist() == [3.0, -0.5]
    assert error_margin(logits, torch.tensor([1, 2])).tolist() == [-2.0, 0.5]
    assert best_other(logits, torch.tensor([1, 0])).tolist() == [2, 2]
    assert best_other(logits, torch.tensor([0, 1])).tolist() == [1, 0]


def test_the_margin_has_the_gradient_of_the_two_logits():
    logits = torch.tensor([[1.0, 4.0, 2.0]], requires_grad=True)
    error_margin(logits, torch.tensor([2])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 1.0, -1.0]]


def test_negative_logits_are_compared_as_they_are():
    logits = torch.tensor([[-5.0, -4.0, -9.0]])
    assert error_margin(logits, torch.tensor([1])).tolist() == [-1.0]
    assert error_margin(logits, torch.tensor([2])).tolist() == [5.0]
