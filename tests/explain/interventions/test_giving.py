"""Giving the cause of an error to other images, and the boxes that pixels show."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.edits.estimates import blur_width, luma_of, quiet_noise
from whywrong.explain.interventions import INTERVENTIONS
from whywrong.explain.interventions.boxes import content_box, cover_box
from whywrong.explain.interventions.damages import damage_like
from whywrong.explain.interventions.giving import box_masks, give_change, give_cover, give_mark
from whywrong.models.classifier import Classifier

BOX = torch.tensor([0.75, 0.75, 0.25, 0.25])  # the lower right corner
N = 16


def of(score) -> Classifier:
    return Classifier(lambda x: torch.stack([torch.zeros(len(x)), score(x)], 1))


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 0.4


def marked(n: int = 2) -> Tensor:
    x = pictures(n)
    x[:, :, 24:, 24:] = 1.0
    return x


def corner(x: Tensor) -> Tensor:
    """Positive where the lower right corner is bright."""
    return x[..., 24:, 24:].mean((1, 2, 3)) - 0.8


def mark(classifier: Classifier, x: Tensor, boxes: Tensor, **changes):
    pool = pictures(40, seed=1)
    rows = torch.arange(N).expand(len(x), N)
    options = {"pool": pool, "receivers": rows, "donors": rows + N, "keys": row_keys(0, len(x)), **changes}
    return give_mark(classifier, x, torch.ones(len(x), dtype=torch.int64), boxes, **options)


def test_a_mark_that_carries_the_class_turns_every_image_and_its_control_none():
    found = mark(of(corner), marked(), BOX.expand(2, 4))
    assert found.share.tolist() == [1.0, 1.0]
    assert found.control.tolist() == [0.0, 0.0]
    assert found.wins.tolist() == [N, N]
    assert found.losses.tolist() == [0, 0]


def test_a_model_that_ignores_the_box_gives_exactly_its_control():
    found = mark(of(lambda x: x[..., :8, :8].mean((1, 2, 3)) - 0.2), marked(), BOX.expand(2, 4))
    assert 0 < found.share[0] < 1
    assert torch.equal(found.share, found.control)
    assert found.wins.sum() == found.losses.sum() == 0


def test_an_image_without_box_or_receivers_is_not_tested_and_costs_nothing():
    boxes = torch.stack([BOX, torch.full((4,), torch.nan), BOX])
    rows = torch.arange(N).expand(3, N).clone()
    rows[2, 5] = -1
    classifier = of(corner)
    found = mark(classifier, marked(3), boxes, receivers=rows, donors=rows.clamp(min=0))
    assert found.share.isnan().tolist() == [False, True, True]
    assert found.forwards.tolist() == [2 * N, 0, 0]
    assert classifier.forwards == 2 * N


def test_shares_do_not_depend_on_batch_size_or_order():
    x = pictures(3, seed=4)
    net = of(lambda x: x[..., 16:, 16:].mean((1, 2, 3)) - 0.2)
    whole = mark(net, x, BOX.expand(3, 4), keys=row_keys(3, 3))
    small = of(lambda x: x[..., 16:, 16:].mean((1, 2, 3)) - 0.2)
    small.batch_size = 2
    order = [2, 0, 1]
    parts = mark(small, x[order], BOX.expand(3, 4), keys=row_keys(3, 3)[order])
    assert torch.equal(parts.share, whole.share[order])
    assert torch.equal(parts.control, whole.control[order])
    assert len(set(whole.share.tolist())) > 1


def test_without_images_of_the_prediction_the_control_is_another_place_of_the_error():
    found = mark(of(corner), marked(), BOX.expand(2, 4), donors=torch.full((2, 1), -1))
    assert found.control.tolist() == [0.0, 0.0]


def test_a_cover_on_the_object_turns_images_of_the_label_and_beside_it_none():
    middle = of(lambda x: x[..., 12:20, 12:20].mean((1, 2, 3)) - 0.1)
    covered = pictures(2)
    covered[:, :, 10:22, 10:22] = 0.0
    found = give_cover(
        middle,
        covered,
        torch.ones(2, dtype=torch.int64),
        torch.tensor([10 / 32, 10 / 32, 12 / 32, 12 / 32]).expand(2, 4),
        pool=pictures(N, seed=1),
        receivers=torch.arange(N).expand(2, N),
        keys=row_keys(0, 2),
    )
    assert found.share.tolist() == [1.0, 1.0]
    assert (found.control < 0.3).all()


def test_a_damage_is_compared_with_a_field_of_equal_norm():
    smooth = of(lambda x: 0.02 - (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)))
    pool = torch.full((N, 3, 32, 32), 0.5)
    error = (pool[:2] + 0.1 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    keys = row_keys(0, 2)

    def change(rows: Tensor, into: Tensor) -> Tensor:
        return damage_like("denoise", error[rows], into, keys[rows])

    found = give_change(
        smooth,
        change,
        torch.ones(2, dtype=torch.int64),
        pool=pool,
        receivers=torch.arange(N).expand(2, N),
        keys=keys,
    )
    assert found.share.tolist() == [1.0, 1.0]
    assert found.control.tolist() == [0.0, 0.0]


def test_damage_has_the_strength_that_the_error_shows():
    clean = torch.full((3, 3, 32, 32), 0.5)
    clean[..., 10:22, 10:22] = 0.7
    keys = row_keys(0, 3)
    noise = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noisy = (clean + 0.08 * noise).clamp(0, 1)
    again = damage_like("denoise", noisy, clean, keys)
    assert quiet_noise(luma_of(again)).mean() == pytest.approx(quiet_noise(luma_of(noisy)).mean().item(), rel=0.5)
    dark = damage_like("brighten", clean * 0.3, clean, keys)
    assert dark.mean().item() == pytest.approx((clean * 0.3).mean().item(), rel=0.1)
    flat = damage_like("stretch", 0.4 + 0.1 * clean, clean, keys)
    assert flat.std().item() == pytest.approx(0.1 * clean.std().item(), rel=0.05)
    soft = damage_like("deblur", damage_like("deblur", clean, clean, keys) * 0 + _blurred(clean), clean, keys)
    assert blur_width(soft).mean() > blur_width(clean).mean() + 0.5


def _blurred(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (3, 3, 3, 3), mode="reflect"), 7, stride=1)


def test_every_restoration_has_its_damage():
    x = pictures(2)
    for test in INTERVENTIONS:
        if test.cause == "corruption":
            damaged = damage_like(test.name, pictures(2, seed=1), x, row_keys(0, 2))
            assert damaged.shape == x.shape
            assert bool(((damaged >= 0) & (damaged <= 1)).all())
    with pytest.raises(InputError, match="frost"):
        damage_like("frost", x, x, row_keys(0, 2))


def test_masks_are_the_pixels_of_their_boxes():
    masks = box_masks(torch.stack([BOX, torch.full((4,), torch.nan)]), 32, 32)
    assert masks[0].sum() == 64
    assert bool(masks[0, 0, 24:, 24:].all())
    assert masks[1].sum() == 0


def test_a_plain_board_is_found_as_cover_and_texture_is_not():
    x = pictures(3)
    x[0, :, 8:24, 4:20] = 0.3
    boxes = cover_box(x)
    left, top, width, height = boxes[0].tolist()
    assert left >= 4 / 32
    assert top >= 8 / 32
    assert left + width <= 20 / 32
    assert top + height <= 24 / 32
    assert width * height >= 0.6 * (16 * 16) / 32**2  # cells at its edges may miss
    assert boxes[1:].isnan().all()


def test_the_content_of_a_shrunk_picture_is_found():
    x = torch.full((2, 3, 32, 32), 0.5)
    x[0, :, 8:24, 8:24] = pictures(1)[0, :, :16, :16]
    boxes = content_box(x)
    assert boxes[0, :2].min() <= 0.25
    assert boxes[0, 2:].max() <= 0.75
    assert boxes[1].tolist() == [0, 0, 1, 1]
