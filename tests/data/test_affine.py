"""Affine transforms against answers worked out without them."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.data.affine import IDENTITY, AffineRange, affine


def image() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_identity_changes_nothing():
    assert torch.allclose(affine(image(), torch.tensor(IDENTITY)), image(), atol=1e-6)


def test_a_quarter_turn_is_the_one_of_torch():
    turned = affine(image(), torch.tensor([90.0, 0, 1, 1, 0, 0]))
    assert torch.allclose(turned, image().rot90(-1, (2, 3)), atol=1e-5)  # clockwise


def test_a_shift_moves_whole_pixels_right_and_down_and_zeros_fill():
    moved = affine(image(), torch.tensor([0.0, 0, 1, 1, 2 / 8, 1 / 8]), padding="zeros")
    assert torch.allclose(moved[:, :, 1:, 2:], image()[:, :, :-1, :-2], atol=1e-5)
    assert moved[:, :, 0].abs().max() < 1e-5
    assert moved[:, :, :, :2].abs().max() < 1e-5


def test_a_shear_moves_lower_rows_to_the_right_and_images_need_not_be_square():
    x = torch.zeros(1, 1, 5, 9)
    x[..., 4] = 1.0
    leaned = affine(x, torch.tensor([0.0, 1.0, 1, 1, 0, 0]), padding="zeros")
    assert leaned[0, 0].argmax(1).tolist() == [2, 3, 4, 5, 6]


def test_draws_stay_in_their_ranges_and_do_not_depend_on_the_batch():
    ranges = AffineRange(rotation=10, shear=0.1, scale=0.3, shift=0.05)
    drawn = ranges.draw(row_keys(0, 500))
    centre, most = torch.tensor(IDENTITY), torch.tensor([10, 0.1, 0.3, 0.3, 0.05, 0.05])
    assert ((drawn - centre).abs() <= most).all()
    assert ((drawn - centre).abs().amax(0) > 0.9 * most).all()
    assert torch.equal(ranges.draw(row_keys(0, 500)[7:9]), drawn[7:9])


def test_the_grid_changes_one_number_at_a_time_and_leaves_out_ranges_of_zero():
    grid = AffineRange().grid()
    assert len(grid) == len({name for name, _ in grid}) == 20
    assert dict(grid)["rotation -20"] == (-20.0, 0.0, 1.0, 1.0, 0.0, 0.0)
    assert dict(grid)["scale 1.2"] == (0.0, 0.0, 1.2, 1.2, 0.0, 0.0)
    assert AffineRange(rotation=0, shear=0, scale=0, shift=0).grid() == []


@pytest.mark.parametrize(("field", "value"), [("rotation", -1), ("shear", 2), ("scale", 1), ("shift", float("nan"))])
def test_ranges_that_make_no_sense_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        AffineRange(**{field: value})


def test_bad_numbers_and_paddings_are_refused():
    with pytest.raises(InputError, match="numbers"):
        affine(image(), torch.zeros(2, 5))
    with pytest.raises(InputError, match="positive"):
        affine(image(), torch.zeros(6))
    with pytest.raises(InputError, match="padding"):
        affine(image(), torch.tensor(IDENTITY), padding="circular")  # type: ignore[arg-type]
