"""Ranking curves: which cells are taken, and what a known net then predicts."""

from __future__ import annotations

import torch
from tests.explain.suppression.pairs_of import pairs_of
from torch import Tensor, nn

from whywrong.explain.suppression.curves import ranking_curves
from whywrong.models.classifier import Classifier


class Lit(nn.Module):
    """Class 1 if at least two of the 16 cells of 2 x 2 pixels in the top row of cells are lit, otherwise class 0."""

    def forward(self, x: Tensor) -> Tensor:
        lit = x[:, 0, :2].sum((1, 2)) / 4
        return torch.stack([torch.full_like(lit, 1.5), lit], 1)


def test_strong_cells_are_enough_and_weak_ones_are_not():
    ref, alt = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    pairs = pairs_of(ref, alt, torch.tensor([0]), torch.tensor([1]))
    strength = torch.zeros(1, 16).double()
    strength[0, :4] = torch.tensor([4.0, 3.0, 2.0, 1.0]).double()
    curves = ranking_curves(
        Classifier(Lit()), pairs, strength, torch.tensor([7]), shares=(1 / 16, 1 / 8, 3 / 16), orders=("top", "bottom")
    )
    reads = curves.reads(torch.tensor([1]))[0]  # (action, order, share)
    assert reads[1, 0].tolist() == [0, 1, 1]  # kept, strongest first: two cells are enough
    assert reads[1, 1].tolist() == [0, 0, 0]
    assert reads[0, 0].tolist() == [1, 1, 0]  # removed: the third leaves one
    assert reads[0, 1].tolist() == [1, 1, 1]
    assert curves.forwards == 12


def test_random_orders_are_averaged_and_belong_to_the_image():
    ref, alt = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    two = pairs_of(ref, alt, torch.tensor([0, 0]), torch.tensor([1, 1]))
    one = pairs_of(ref[1:], alt[1:], torch.tensor([0]), torch.tensor([1]))
    strength = torch.zeros(2, 16).double()
    keys = torch.tensor([3, 4])
    both = ranking_curves(Classifier(Lit()), two, strength, keys, orders=("norm", "random"))
    alone = ranking_curves(Classifier(Lit()), one, strength[1:], keys[1:], orders=("norm", "random"))
    assert both.predicted.shape == (2, 2, 6, 5)
    assert both.predicted[1].equal(alone.predicted[0])
    assert both.reads(torch.tensor([1, 1])).shape == (2, 2, 2, 5)
