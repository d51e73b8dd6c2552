"""Losses of capsule networks against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from whywrong.models.architectures.losses import margin_loss, reconstruction_loss, share_loss, spread_loss


def test_the_margin_loss_has_the_value_worked_out_by_hand():
    lengths, y = torch.tensor([[0.5, 0.5]]), torch.tensor([0])
    assert float(margin_loss(lengths, y)) == pytest.approx(0.16 + 0.5 * 0.16)


def test_the_margin_loss_is_zero_beyond_both_margins_and_a_mean_over_images():
    good = torch.tensor([[0.95, 0.1, 0.02]])
    assert float(margin_loss(good, torch.tensor([0]))) == 0
    both = torch.cat([good, torch.tensor([[0.5, 0.5, 0.0]])])
    assert float(margin_loss(both, torch.tensor([0, 0]))) == pytest.approx(0.12)


def test_the_spread_loss_counts_other_classes_within_the_margin():
    active, y = torch.tensor([[0.6, 0.5, 0.1]]), torch.tensor([0])
    assert float(spread_loss(active, y, 0.2)) == pytest.approx(0.1**2)
    assert float(spread_loss(active, y, 0.9)) == pytest.approx(0.8**2 + 0.4**2)


def test_the_likelihood_of_shares_has_the_value_worked_out_by_hand():
    assert float(share_loss(torch.tensor([[0.6, 0.2]]), torch.tensor([0]))) == pytest.approx(-math.log(0.75))


def test_the_reconstruction_loss_sums_over_pixels():
    assert float(reconstruction_loss(torch.ones(2, 1, 4, 5), torch.zeros(2, 1, 4, 5))) == pytest.approx(0.0005 * 20)
