"""Metrics of counterfactuals, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals.metrics import (
    changed_share,
    closeness,
    cout,
    diversity,
    frechet,
    mass_inside,
    pix90,
    pooled_features,
    sfid,
    validity,
)
from whywrong.models.classifier import Classifier


class Brightness(nn.Module):
    """Probability of class 1 is the mean of the pixels, that of class 0 the rest."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1).clamp(1e-12, 1 - 1e-12)
        return torch.stack([(1 - mean).log(), mean.log()], 1)


class OnePixel(nn.Module):
    """All but sure of class 1 exactly where the first pixel is bright."""

    def forward(self, x: Tensor) -> Tensor:
        z = 100 * (x[:, :, 0, 0].mean(1) - 0.5)
        return torch.stack([-z, z], 1)


def test_validity_counts_flips_and_averages_probabilities():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0 + 1e-6], [0.0, math.log(9.0)]])
    found = validity(logits, torch.tensor([1, 1, 1]))
    assert found.flip_rate == pytest.approx(2 / 3)
    assert found.mean_probability == pytest.approx((0.25 + 0.5 + 0.9) / 3, abs=1e-6)
    assert found.median_probability == pytest.approx(0.5, abs=1e-6)
    assert found.gap == pytest.approx(1 - found.mean_probability)
    assert found.n == 3


def test_temperature_flattens_the_probability_and_flips_nothing():
    logits, target = torch.tensor([[0.0, math.log(9.0)]]), torch.tensor([1])
    assert validity(logits, target, temperature=2.0).mean_probability == pytest.approx(0.75)
    assert validity(logits, target, temperature=2.0).flip_rate == 1.0


def test_no_image_has_no_validity():
    found = validity(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert math.isnan(found.flip_rate)
    assert math.isnan(found.median_probability)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, math.inf])
def test_distances_of_a_known_change(p):
    x = torch.full((1, 2, 2, 2), 0.5)
    vce = x.clone()
    vce[0, 0, 0, 0], vce[0, 1, 1, 1] = 0.8, 0.1  # changes 0.3 and -0.4
    found = closeness(x, vce, p, eps=1.0)
    expected = 0.4 if math.isinf(p) else (0.3**p + 0.4**p) ** (1 / p)
    assert float(found.lp) == pytest.approx(expected, abs=1e-6)
    assert float(found.l1) == pytest.approx(0.7, abs=1e-6)
    assert float(found.l2) == pytest.approx(0.5, abs=1e-6)
    assert float(closeness(x, vce, p, eps=torch.tensor([2.0])).used) == pytest.approx(expected / 2, abs=1e-6)
    assert math.isnan(float(closeness(x, vce, p, eps=math.inf).used))


def test_a_change_of_one_grey_level_does_not_count_as_changed():
    x = torch.zeros(1, 1, 2, 2)
    vce = torch.tensor([[[[0.0, 1 / 255], [1.001 / 255, 0.5]]]])
    assert float(changed_share(x, vce)) == pytest.approx(0.5)


def test_pix90_of_an_even_change_is_nine_tenths_and_of_one_pixel_its_share():
    x = torch.zeros(3, 3, 10, 10)
    vce = x.clone()
    vce[0] = 0.2
    vce[1, :, 4, 4] = 0.7
    found = pix90(x, vce)
    assert float(found[0]) == pytest.approx(0.9)
    assert float(found[1]) == pytest.approx(0.01)
    assert math.isnan(float(found[2]))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_pix90_is_the_least_number_of_pixels(seed):
    x = torch.zeros(1, 2, 4, 5)
    vce = torch.rand(1, 2, 4, 5, generator=torch.Generator().manual_seed(seed)) ** 4
    masses = sorted((float(v) for v in vce.double().sum(1).flatten()), reverse=True)
    needed = next(n for n in range(1, 21) if sum(masses[:n]) >= 0.9 * sum(masses) * (1 - 1e-9))
    assert float(pix90(x, vce)) == pytest.approx(needed / 20)


def test_the_mass_inside_a_mask_is_its_share_of_the_absolute_change():
    x = torch.full((3, 2, 2, 2), 0.5)
    vce = x.clone()
    vce[0, 0, 0, 0], vce[0, 1, 1, 0] = 0.8, 0.4  # 0.3 inside, 0.1 outside
    vce[1] = vce[0]
    mask = torch.tensor([[True, False], [False, False]]).repeat(3, 1, 1)
    mask[1] = False
    found = mass_inside(x, vce, mask)
    assert float(found[0]) == pytest.approx(0.75)
    assert found[1:].isnan().all()  # an empty mask is not known, and no change lies nowhere


def test_cout_of_a_classifier_that_reads_the_mean_is_the_area_of_its_path():
    """Pasting equal changes raises the mean in a line from a to b: area of target minus source is a + b - 1."""
    x, vce = torch.full((2, 3, 10, 10), 0.2), torch.full((2, 3, 10, 10), 0.6)
    classifier = Classifier(Brightness())
    target, source = torch.tensor([1, 1]), torch.tensor([0, 0])
    found = cout(classifier, x, vce, target, source)
    torch.testing.assert_close(found, torch.full((2,), 0.2 + 0.6 - 1), atol=1e-5, rtol=0)
    assert classifier.forwards == 2 * 51
    torch.testing.assert_close(cout(classifier, x, vce, source, target), -found)


def test_cout_is_all_but_1_where_the_most_changed_pixel_decides():
    x = torch.zeros(1, 1, 10, 10)
    vce = torch.full((1, 1, 10, 10), 0.1)
    vce[0, 0, 0, 0] = 1.0  # pasted first, with two of a hundred pixels
    found = cout(Classifier(OnePixel()), x, vce, torch.tensor([1]), torch.tensor([0]))
    assert float(found) == pytest.approx(1 - 2 * 0.5 / 50, abs=1e-5)  # trapezoid from -1 to 1 over the first step
    vce[0, 0, 0, 0], vce[0, 0, 5, 5] = 0.05, 0.0  # never bright: the target is never reached
    assert float(cout(Classifier(OnePixel()), x, vce, torch.tensor([1]), torch.tensor([0]))) == pytest.approx(-1)


def test_cout_does_not_depend_on_the_split_into_passes():
    draw = torch.Generator().manual_seed(0)
    x, vce = torch.rand((5, 3, 6, 6), generator=draw), torch.rand((5, 3, 6, 6), generator=draw)
    target, source = torch.ones(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)
    few, many = (cout(Classifier(Brightness(), batch_size=b), x, vce, target, source, steps=7) for b in (3, 100))
    torch.testing.assert_close(few, many)


def test_the_frechet_distance_is_that_of_the_matrix_root():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(60, 5)), draw.normal(size=(40, 5)) @ draw.normal(size=(5, 5)) + 1
    s1, s2 = np.cov(first.T), np.cov(second.T)
    gap = first.mean(0) - second.mean(0)
    expected = gap @ gap + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(expected, rel=1e-6)


def test_the_frechet_distance_of_a_shift_is_its_square_and_of_a_scale_that_of_the_spreads():
    first = torch.randn((50, 80), generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # fewer than D
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet(first, first + 0.5) == pytest.approx(0.25 * 80, rel=1e-9)
    spread = float(first.var(0).sum())
    centred = first - first.mean(0)
    assert frechet(centred, 3 * centred) == pytest.approx((3 - 1) ** 2 * spread, rel=1e-9)


def test_sfid_compares_no_image_with_its_own_counterfactual():
    """Features 0 and their copies: halves differ by sampling only, so that equal sets do not score zero."""
    features = torch.randn((40, 3), generator=torch.Generator().manual_seed(0))
    found = sfid(features, features, name="robust net")
    assert found.name == "sFID on robust net features"
    assert 0 < found.value < 2
    assert found.biased
    assert "40 images are too few" in found.note
    moved = sfid(features, features + 4, name="robust net")
    assert moved.value == pytest.approx(3 * 4**2, rel=0.3)


def test_sfid_is_called_unbiased_from_two_thousand_images_on():
    features = torch.randn((2_000, 2), generator=torch.Generator().manual_seed(0))
    found = sfid(features, features, name="m")
    assert not found.biased
    assert "too few" not in found.note


def test_features_are_means_over_places_of_the_last_spatial_layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv, head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    x = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = conv(x).relu().mean((2, 3))
    torch.testing.assert_close(pooled_features(Classifier(net), x), expected)


def test_diversity_is_the_mean_distance_of_the_pairs():
    corners = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]])  # distances 3, 4, 5
    assert float(diversity(corners)) == pytest.approx(4)
    assert float(diversity(corners, p=1)) == pytest.approx((3 + 4 + 7) / 3)
    assert float(diversity(torch.zeros(1, 2, 3, 4, 4))) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: pix90(x, x[:1]), "shape of the images"),
        (lambda x: closeness(x, x, 0.5, 1.0), r"p must be in \[1, inf\]"),
        (lambda x: mass_inside(x, x, torch.ones(2, 4, 4)), "mask must be bool"),
        (lambda x: diversity(x[:, None]), "K at least 2"),
        (lambda x: sfid(x.flatten(1), x.flatten(1), name="m"), "at least 4 images"),
        (lambda x: cout(Classifier(OnePixel()), x, x, torch.tensor([0]), torch.tensor([0, 0])), "targets"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(torch.zeros(2, 3, 4, 4))
