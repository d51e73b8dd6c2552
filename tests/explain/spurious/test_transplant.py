"""A change put on other images, on a net that looks at one place of one shape."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.explain.spurious import transplant
from whywrong.explain.spurious.change_mass import class_change
from whywrong.models.classifier import Classifier

SIDE = 16


class Stripes(nn.Module):
    """Logit of class 1: the largest answer anywhere to light columns beside dark ones, 4 pixels high."""

    def forward(self, x):
        kernel = torch.tensor([-1.0, 1.0, -1.0, 1.0]).expand(1, 1, 4, 4)
        answer = nn.functional.conv2d(x.mean(1, keepdim=True), kernel).amax((1, 2, 3))
        return torch.stack([torch.full_like(answer, 2.0), answer], 1)


def classifier():
    spec = InputSpec(channels=3, height=SIDE, width=SIDE, resize=None, interpolation="bilinear", mean=None, std=None)
    return Classifier(Stripes(), classes=ClassList(("plain", "striped")), preprocess=spec)


def change(pattern):
    """24 grey images, each with the same change somewhere."""
    x = torch.full((24, 3, SIDE, SIDE), 0.5)
    changed = x.clone()
    for row in range(24):
        top, left = row % 3 * 4, row % 4 * 4
        changed[row, :, top : top + 4, left : left + 4] += pattern
    return class_change(x, changed, 1, side=4, clusters=1)


STRIPES = torch.tensor([-0.4, 0.4, -0.4, 0.4]).expand(4, 4)


def test_what_the_net_looks_for_works_on_other_images_and_shuffled_it_does_not():
    net = classifier()
    x = 0.5 + 0.01 * torch.rand(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    (found,) = transplant(net, x, change(STRIPES), tested=1)
    assert found.confirmed
    assert (found.images, found.reads, found.shuffled) == (24, 24, 0)
    assert found.rise.value > 1.0  # to -0.01 nats (16 pixels of 0.4, against 2); shuffled, the answer is below 2
    assert net.forwards == 24 * 3


def test_two_changes_are_tested_each_against_its_own_shuffle():
    x = 0.5 + 0.01 * torch.rand(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    stripes, even = change(STRIPES), change(torch.full((4, 4), 0.01))
    both = replace(
        stripes,
        deltas=torch.cat([stripes.deltas[:1], even.deltas[:1]]),
        places=torch.cat([stripes.places[:1], even.places[:1]]),
    )
    first, second = transplant(classifier(), x, both, tested=2)
    assert (first.reads, first.shuffled) == (24, 0)
    assert (second.reads, second.shuffled) == (0, 0)
    assert first.rise.value > 1.0
    assert second.rise.value == pytest.approx(0.0, abs=1e-3)


def test_fewer_than_twenty_images_confirm_nothing():
    (found,) = transplant(classifier(), torch.full((19, 3, SIDE, SIDE), 0.5), change(STRIPES), tested=1)
    assert not found.confirmed
    assert found.rise.value > 1.0
    assert math.isnan(found.rise.low)


def test_a_change_that_the_net_does_not_see_is_not_confirmed():
    x = torch.full((24, 3, SIDE, SIDE), 0.5)
    (found,) = transplant(classifier(), x, change(torch.full((4, 4), 0.01)), tested=1)
    assert not found.confirmed
    assert found.rise.value == pytest.approx(0.0, abs=1e-6)  # even: shuffling changes nothing
    assert found.reads == 0


class Brightness(nn.Module):
    """Logit of class 1: 100 times the brightest 4 x 4 pixels, above 0.7."""

    def forward(self, x):
        answer = 100 * (nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4, stride=1).amax((1, 2, 3)) - 0.7)
        return torch.stack([torch.zeros_like(answer), answer], 1)


def test_a_change_that_works_as_well_shuffled_is_counted_on_both_sides_and_not_confirmed():
    bright = Classifier(Brightness(), classes=ClassList(("dark", "bright")), preprocess=classifier().preprocess)
    x = torch.full((24, 3, SIDE, SIDE), 0.5)
    (found,) = transplant(bright, x, change(torch.full((4, 4), 0.4)), tested=1)
    assert (found.reads, found.shuffled, found.confirmed) == (24, 24, False)


def test_more_crops_tested_make_the_bar_higher():
    x = 0.5 + 0.05 * torch.rand(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    few, many = (transplant(classifier(), x, change(STRIPES), tested=n)[0] for n in (1, 500))
    assert many.adjusted_low < few.adjusted_low < few.rise.value
    assert many.rise == few.rise


def test_wrong_use_is_refused():
    made, net = change(STRIPES), classifier()
    with pytest.raises(InputError, match="no image is left"):
        transplant(net, torch.zeros(0, 3, SIDE, SIDE), made, tested=1)
    with pytest.raises(InputError, match="0 crops tested in all, this class alone has 1"):
        transplant(net, torch.zeros(2, 3, SIDE, SIDE), made, tested=0)
    with pytest.raises(InputError, match=r"was made on images of \(16, 16\)"):
        transplant(net, torch.zeros(2, 3, 8, 8), made, tested=1)
    with pytest.raises(InputError, match=r"was made on images of \(16, 16\), got \(2, 1, 16, 16\)"):
        transplant(net, torch.zeros(2, 1, SIDE, SIDE), made, tested=1)
