"""Filling hidden pixels: what is known stays, what is filled comes from it, alone and in a batch alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.masking.inpainting import inpaint


def holes(count: int, height: int, width: int) -> Tensor:
    return keyed_uniform(row_keys(5, count), (1, height, width)) > 0.7


@pytest.mark.parametrize("size", [(16, 16), (13, 22), (1, 7)])
def test_known_pixels_stay_and_filled_ones_lie_within_their_range(size):
    x = keyed_uniform(row_keys(0, 4), (3, *size))
    known = holes(4, *size)
    known[..., 0, 0] = True
    found = inpaint(x, known, torch.full((4, 3, 1, 1), 9.0))
    assert torch.equal(found.where(known, 0.0), x.where(known, 0.0))
    for row in range(4):
        for channel in range(3):
            seen = x[row, channel][known[row, 0]]
            assert found[row, channel].min() >= seen.min() - 1e-6
            assert found[row, channel].max() <= seen.max() + 1e-6


def test_hidden_pixels_do_not_matter():
    x, known = keyed_uniform(row_keys(0, 2), (3, 16, 16)), holes(2, 16, 16)
    other = torch.where(known, x, 0.123)
    fallback = torch.zeros(2, 3, 1, 1)
    assert torch.equal(inpaint(x, known, fallback), inpaint(other, known, fallback))


def test_a_hole_in_a_slope_is_filled_with_about_the_slope():
    slope = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    known[..., 14:18, 14:18] = False
    gap = (inpaint(slope, known, torch.zeros(1, 1, 1, 1)) - slope).abs()
    assert float(gap.max()) < 0.06  # two steps of the slope; the mean colour would be off by up to 0.5


def test_an_image_of_which_nothing_is_known_takes_the_fallback():
    fallback = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    found = inpaint(torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool), fallback)
    torch.testing.assert_close(found, fallback.expand(1, 3, 8, 8))


def test_an_image_is_filled_alone_as_in_a_batch():
    x, known = keyed_uniform(row_keys(0, 5), (3, 16, 16)), holes(5, 16, 16)
    fallback = torch.zeros(5, 3, 1, 1)
    assert torch.equal(inpaint(x, known, fallback)[2:3], inpaint(x[2:3], known[2:3], fallback[2:3]))
