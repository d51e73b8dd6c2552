"""Interpretability score against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.suppression.interpretability import (
    interpretability,
    of_other_images,
    peak_regions,
    regions_of,
    top_regions,
)

AREAS = (0.15, 0.3, 0.5)


def maps(batch: int = 2, side: int = 8) -> torch.Tensor:
    return keyed_uniform(row_keys(0, batch), (1, side, side)) - 0.5


def test_a_uniform_change_scores_the_root_of_the_area():
    found = interpretability(torch.full((2, 3, 32, 32), 0.1), maps(), AREAS)
    for number, area in enumerate(AREAS):
        assert found.score[:, 0, number].tolist() == pytest.approx([math.sqrt(area)] * 2, abs=1 / (32 * 32))
    assert found.excess.abs().max() < 1e-6


def test_a_change_inside_scores_one_and_outside_zero():
    region = regions_of(maps(), 32, 32, (0.3,))[:, 0, 0]
    inside = 0.1 * region[:, None].float().expand(-1, 3, -1, -1)
    found = interpretability(inside, maps(), (0.3,))
    assert found.score.flatten().tolist() == pytest.approx([1.0] * 2)
    assert found.excess.flatten().tolist() == pytest.approx([1.0] * 2)
    away = interpretability(0.1 - inside, maps(), (0.3,))
    assert away.score.flatten().tolist() == [0.0] * 2
    share = float(region.double().mean())
    assert away.excess.flatten().tolist() == pytest.approx([-share / (1 - share)] * 2)


def test_regions_of_all_maps_have_the_same_size_and_negative_values_count():
    values = -torch.arange(16.0).view(1, 1, 4, 4) - 1
    region = top_regions(values, 0.25)
    assert region.flatten().nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert not peak_regions(values).any()
    assert int(peak_regions(values + 11).sum()) == 8


def test_a_constant_map_and_a_change_of_zero_have_no_score():
    flat = interpretability(torch.ones(1, 3, 8, 8), torch.ones(1, 1, 4, 4))
    assert flat.score.isnan().all()
    zero = interpretability(torch.zeros(1, 3, 8, 8), maps(1))
    assert zero.score.isnan().all()
    with pytest.raises(InputError, match="area must be a share"):
        top_regions(maps(), 0.0)


def test_maps_of_other_images_show_a_bias_towards_the_centre():
    """Changes and maps that all sit in the centre score no higher than those of other images."""
    centre = torch.zeros(6, 1, 8, 8)
    centre[:, :, 2:6, 2:6] = 1.0
    delta = torch.nn.functional.interpolate(centre, (32, 32)).expand(-1, 3, -1, -1) * 0.1
    same = centre + 0.01 * maps(6)
    own = interpretability(delta, same, (0.3,)).score
    assert float(own.min()) > 0.9
    assert (own - of_other_images(delta, same, (0.3,), shifts=3)).abs().max() < 0.05
    corners = torch.zeros(4, 1, 8, 8)
    for row in range(4):
        corners[row, 0, 4 * (row // 2) : 4 * (row // 2) + 4, 4 * (row % 2) : 4 * (row % 2) + 4] = 1.0
    apart = torch.nn.functional.interpolate(corners, (32, 32)).expand(-1, 3, -1, -1) * 0.1
    others = of_other_images(apart, corners + 0.01 * maps(4), (0.25,))
    assert others.max() < 0.5
    assert of_other_images(apart[:1], corners[:1]).isnan().all()
