"""Levels: quantiles that a few carriers among other classes do not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whywrong.explain.spurious import class_components, find_levels
from whywrong.explain.spurious.levels import quantile, without_outliers
from whywrong.explain.spurious.neural_pca import NeuralPCAConfig


@pytest.mark.parametrize("q", [0.0, 0.5, 0.95, 0.99, 1.0])
def test_quantiles_are_those_of_numpy(q):
    values = torch.randn(37, 3, generator=torch.Generator().manual_seed(0)).double()
    np.testing.assert_allclose(quantile(values, q), np.quantile(values, q, axis=0))
    values[5, 1] = torch.nan
    np.testing.assert_allclose(quantile(values, q), np.nanquantile(values, q, axis=0))


def test_outliers_are_left_out_and_nothing_else():
    values = torch.randn(400, 1, generator=torch.Generator().manual_seed(0)).double()
    assert not without_outliers(values).isnan().any()
    values[:80] += 20  # one in five carries the feature
    assert without_outliers(values).isnan()[:, 0].tolist() == [True] * 80 + [False] * 320
    assert not without_outliers(torch.tensor([[0.0], [0.0], [0.0], [9.0]])).isnan().any()  # no width, no outlier


def test_an_outlier_lies_five_standard_deviations_of_a_normal_distribution_above_the_median():
    width = 5 / 0.6744897501960817  # in median absolute deviations, 0.674 standard deviations each
    values = torch.tensor([0.0, *[-1.0, 1.0] * 50, -99.0, -9.0, 0.9999 * width, 1.0001 * width], dtype=torch.float64)
    assert without_outliers(values[:, None]).isnan()[:, 0].nonzero().flatten().tolist() == [len(values) - 1]


def test_carriers_among_other_classes_do_not_raise_the_level():
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(60, 2, generator=generator)
    own[:30, 0] += 10
    others = 0.1 * torch.randn(200, 2, generator=generator)
    parts = class_components(own, own.sum(1), torch.ones(2), 0.0, 0, config=NeuralPCAConfig(min_images=3, components=1))
    clean = find_levels(parts, own, others)
    others[:40, 0] += 10
    carried = find_levels(parts, own, others)
    assert float(carried.others) == pytest.approx(float(clean.others), abs=0.1)
    assert float(carried.bar) == pytest.approx(float(clean.bar), abs=0.1)
    alpha = parts.alphas(others)[:, 0]
    assert bool((alpha[:40] >= carried.bar).all())


def test_without_other_classes_the_mean_of_the_class_is_the_level():
    own = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    parts = class_components(own, own.sum(1), torch.ones(4), 0.0, 0)
    assert find_levels(parts, own, own[:0]).others.tolist() == [0.0] * 4
