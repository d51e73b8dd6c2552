"""The patch attack against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Linear, SmallNet
from tests.attacks.real_nets import right_images
from torch import Tensor

from whywrong.attacks.patch import PatchConfig, patch
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def linear(lead: float, batch: int = 5) -> tuple[Linear, Tensor, Tensor, Tensor]:
    """Two classes, the first ahead by about ``lead``, and the slope toward the second."""
    draw = torch.Generator().manual_seed(0)
    w = torch.randn((2, 192), generator=draw)
    x = torch.rand((batch, 3, 8, 8), generator=draw)
    slope = (w[1] - w[0]).view(1, 3, 8, 8)
    bias = torch.stack([lead + (x * slope).flatten(1).sum(1).amax(), torch.tensor(0.0)])
    return Linear(w, bias), x, torch.zeros(batch, dtype=torch.int64), slope


@pytest.mark.parametrize("universal", [False, True])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_patch_of_a_linear_model_is_white_up_and_black_down_the_slope(universal, targeted):
    model, x, y, slope = linear(50.0)
    config = PatchConfig(area=0.25, place=(1, 3), steps=60, loss="margin", universal=universal)
    result = patch(Classifier(model), x, y, targets=y + 1 if targeted else None, config=config)
    expected = x.clone()
    expected[:, :, 1:5, 3:7] = (slope[:, :, 1:5, 3:7] > 0).float()
    torch.testing.assert_close(result.x_adv, expected)
    mask = torch.zeros(5, 8, 8, dtype=torch.bool)
    mask[:, 1:5, 3:7] = True
    assert torch.equal(result.mask, mask)
    assert result.side.tolist() == [4] * 5
    assert not result.success.any()
    assert result.forwards.tolist() == [62] * 5
    assert result.backwards.tolist() == [60] * 5


def test_every_place_that_holds_the_square_is_drawn():
    model, x, y, _ = linear(1000.0, batch=300)
    result = patch(Classifier(model), x, y, config=PatchConfig(area=0.5625, steps=1, loss="margin"))
    assert {tuple(place) for place in result.place.tolist()} == {(row, col) for row in range(3) for col in range(3)}


@given(
    seed=st.integers(0, 10_000),
    area=st.floats(0.001, 1.0),
    jitter=st.integers(0, 4),
    brightness=st.sampled_from([0.0, 0.5]),
    universal=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_pixels_off_the_mask_are_untouched_and_those_on_it_in_range(seed, area, jitter, brightness, universal):
    x = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    model = SmallNet(seed)
    config = PatchConfig(area=area, jitter=jitter, brightness=brightness, universal=universal, steps=3, restarts=2)
    result = patch(Classifier(model), x, model(x).argmax(1), config=config)
    mask = result.mask[:, None].expand_as(x)
    assert torch.equal(result.x_adv[~mask], x[~mask])
    assert 0 <= float(result.x_adv.min()) <= float(result.x_adv.max()) <= 1
    side = min(max(1, round((area * 64) ** 0.5)), 8)
    assert result.mask.flatten(1).sum(1).tolist() == [side * side] * 3
    for row, (top, left) in enumerate(result.place.tolist()):
        assert result.mask[row, top : top + side, left : left + side].all()


def test_a_universal_patch_is_the_same_on_every_image():
    model, x, y, _ = linear(50.0)
    config = PatchConfig(area=0.25, steps=5, universal=True, stop_early=False)
    result = patch(Classifier(model), x, y, config=config)
    places = result.place.tolist()
    squares = [
        image[:, top : top + 4, left : left + 4] for image, (top, left) in zip(result.x_adv, places, strict=True)
    ]
    assert all(torch.equal(square, squares[0]) for square in squares)
    assert len({tuple(place) for place in places}) > 1


def test_a_patch_trained_under_jitter_still_works_one_pixel_aside():
    model, x, y, slope = linear(0.0, batch=12)
    rates = {}
    for jitter in (0, 1):
        config = PatchConfig(area=0.3, jitter=jitter, steps=80, loss="margin", place=(2, 2), stop_early=False)
        result = patch(Classifier(model), x, y, config=config)
        square = result.x_adv[:, :, 2:6, 2:6]
        gain = [
            (square * slope[:, :, 2 + down : 6 + down, 2 + right : 6 + right]).flatten(1).sum(1)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        rates[jitter] = torch.stack(gain).mean(0)
    assert (rates[1] > rates[0]).all()


def test_restarts_give_other_places_and_fool_more_images():
    model, x = SmallNet(), torch.rand((40, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    targets = (y + 2) % 5
    found = [
        patch(Classifier(model), x, y, targets=targets, config=PatchConfig(area=0.03, steps=20, restarts=restarts))
        for restarts in (1, 4)
    ]
    assert (found[1].success >= found[0].success).all()
    assert int(found[1].success.sum()) > int(found[0].success.sum())
    assert torch.equal(found[1].predicted[found[1].success], targets[found[1].success])


def test_rows_without_a_patch_have_an_empty_mask():
    model, x, y, _ = linear(50.0)
    result = patch(Classifier(model), x, 1 - y, config=PatchConfig(steps=2))
    assert not result.mask.any()
    assert result.side.tolist() == [0] * 5
    assert result.place.unique().tolist() == [-1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"area": 0.0}, r"area must be in \(0, 1\]"),
        ({"area": float("nan")}, r"area must be in \(0, 1\]"),
        ({"step_size": 25.0}, r"step_size must be in \(0, 1\]"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"brightness": -0.1}, r"brightness must be in \[0, 1\)"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"jitter": -1}, "jitter must be at least 0"),
        ({"place": (0, -1)}, "place must be a row and a column"),
        ({"loss": "mse"}, "loss must be one of ce, dlr, margin"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        PatchConfig(**settings)


def test_a_square_that_leaves_the_image_is_refused():
    model, x, y, _ = linear(1.0)
    with pytest.raises(InputError, match=r"a square of 4 pixels at place \(5, 0\) leaves the image of 8 x 8"):
        patch(Classifier(model), x, y, config=PatchConfig(area=0.25, place=(5, 0)))


def test_a_twentieth_of_the_area_fools_an_ordinary_net_on_most_images(shared_data, shared_models):
    classifier, x, y = right_images(shared_data, shared_models, "resnet20", 40)
    result = patch(classifier, x, y, config=PatchConfig(steps=30))
    assert float(result.success.float().mean()) >= 0.6
