"""Fine content is what a blur removes."""

from __future__ import annotations

import numpy as np
import torch
from tests.verdicts.recurrence.made import pictures

from whywrong.verdicts.recurrence import fine_content


def test_small_images_keep_their_size_and_large_ones_are_reduced_to_48_pixels():
    assert fine_content(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)
    assert fine_content(torch.rand(2, 3, 224, 224)).shape == (2, 3, 48, 48)
    assert fine_content(torch.rand(2, 1, 40, 224)).shape == (2, 3, 40, 40)
    assert fine_content(torch.rand(1, 3, 32, 32)).dtype == torch.float16


def test_flat_and_evenly_shaded_images_have_none():
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    assert fine_content(torch.full((1, 3, 32, 32), 0.4)).abs().max() < 1e-3
    assert fine_content(ramp)[..., 6:-6].abs().max() < 1e-3


def test_one_channel_is_used_three_times():
    grey = torch.rand(2, 1, 32, 32)
    assert torch.equal(fine_content(grey), fine_content(grey.expand(-1, 3, -1, -1)))


def test_an_image_does_not_depend_on_its_batch():
    x = torch.from_numpy(np.kron(pictures(7), np.ones((1, 1, 2, 2), np.float32)))
    assert torch.equal(fine_content(x)[3:4], fine_content(x[3:4]))
