"""Small edits of images: ranges, independence of the batch, and what each does."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.edits import CROPS, EDITS, SURVIVAL, crop_around, edited
from whywrong.explain.edits.estimates import blur_width, luma_of, mean_noise, quiet_noise

KEYS = row_keys(0, 4)


def scene(batch: int = 4, channels: int = 3, side: int = 24, seed: int = 0) -> Tensor:
    """Draw smooth pictures with a sharp square."""
    noise = torch.rand(batch, channels, side, side, generator=torch.Generator().manual_seed(seed))
    x = (gaussian_filter(noise, 3.0) - 0.5) * 2 + 0.5
    x[..., side // 4 : side // 2, side // 3 : 2 * side // 3] = 0.85
    return x.clamp(0, 1)


def apply(name: str, x: Tensor, keys: Tensor | None = None) -> Tensor:
    return edited(x, row_keys(0, len(x)) if keys is None else keys, [name])[0]


def test_the_lists_hold_the_promised_numbers_of_edits() -> None:
    assert len(set(SURVIVAL)) == 23
    assert len(set(CROPS)) == 11
    assert set(SURVIVAL) | set(CROPS) <= set(EDITS)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("side", [5, 16])
def test_every_edit_returns_images_in_range_and_leaves_its_input(channels: int, side: int) -> None:
    x = torch.rand(3, channels, side, side + 1, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    for name, y in zip(EDITS, edited(x, KEYS[:3], EDITS), strict=True):
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert bool(((y >= 0) & (y <= 1)).all()), name  # also refuses NaN
    assert torch.equal(x, before)


def test_every_edit_but_those_of_colour_changes_a_soft_grey_picture() -> None:
    x = gaussian_filter(scene(channels=1), 1.0) * 0.5
    for name, edit in EDITS.items():
        nothing = edit.colour or name == "despeckle"  # a soft picture has no odd pixels
        assert torch.equal(apply(name, x), x) == nothing, name


def test_odd_pixels_are_replaced_and_the_others_kept() -> None:
    x = torch.full((1, 3, 32, 32), 0.4)
    x[..., 16:] = 0.6  # an edge is no odd pixel
    spoiled = x.clone()
    spoiled[0, :, [3, 20, 30], [5, 9, 25]] = 1.0
    assert torch.equal(apply("despeckle", spoiled), x)
    assert torch.equal(apply("despeckle", x), x)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)), size=st.integers(1, 4))
def test_an_edit_does_not_depend_on_the_rest_of_the_batch(order: list[int], size: int) -> None:
    x, rows = scene(), torch.tensor(order[:size])
    torch.testing.assert_close(edited(x[rows], KEYS[rows], EDITS), edited(x, KEYS, EDITS)[:, rows], rtol=0, atol=0)


def test_noise_has_the_named_strength_and_two_independent_draws() -> None:
    x = torch.full((4, 3, 32, 32), 0.5)
    first, second = (apply(f"noise 6/255 {draw}", x) - x for draw in "ab")
    assert float(first.std()) == pytest.approx(6 / 255, rel=0.03)
    both = torch.stack([first.flatten(), second.flatten(), (apply("noise 2/255 a", x) - x).flatten()])
    assert float(torch.corrcoef(both).triu(1).abs().max()) < 0.05


def test_jpeg_is_what_pillow_writes_and_reads() -> None:
    x = torch.round(scene(1) * 255) / 255
    picture = (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with io.BytesIO() as stream:
        Image.fromarray(picture).save(stream, "JPEG", quality=60)
        due = np.array(Image.open(stream))
    assert np.array_equal((apply("jpeg 60", x)[0] * 255).round().permute(1, 2, 0).numpy(), due)


def test_the_median_is_that_of_the_neighbourhood() -> None:
    x = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(2))
    due = ndimage.median_filter(x.numpy(), size=(1, 1, 3, 3), mode="nearest")
    assert np.array_equal(apply("median 3", x).numpy(), due)


@pytest.mark.parametrize("weight", [0.06, 0.15])
def test_total_variation_comes_near_the_optimum(weight: float) -> None:
    x = (scene(2) + 0.05 * torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    planes = [[denoise_tv_chambolle(plane.numpy(), weight, eps=1e-9, max_num_iter=2000) for plane in row] for row in x]

    def objective(u: Tensor) -> float:
        down, across = torch.zeros_like(u), torch.zeros_like(u)
        down[..., :-1, :], across[..., :-1] = u[..., 1:, :] - u[..., :-1, :], u[..., 1:] - u[..., :-1]
        return float(((u - x) ** 2).sum() / 2 + weight * (down**2 + across**2).sqrt().sum())

    optimum = objective(torch.from_numpy(np.array(planes)).float())
    assert optimum * 0.999 <= objective(apply(f"tv {weight}", x)) < 1.1 * optimum < objective(x)


def test_denoising_removes_noise_and_spares_a_clean_picture() -> None:
    clean = scene(side=48)
    noisy = (clean + 0.08 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4))).clamp(0, 1)

    def error(x: Tensor) -> float:
        return float((x - clean).square().mean().sqrt())

    assert error(apply("denoise", noisy)) < 0.5 * error(noisy)
    assert error(apply("denoise", clean)) < 0.01


def test_deblurring_undoes_part_of_a_blur_and_spares_a_sharp_picture() -> None:
    sharp = scene(side=48)
    blurred = gaussian_filter(sharp, 1.5)

    def error(x: Tensor) -> float:
        return float((x - sharp).square().mean())

    assert error(apply("deblur", blurred)) < 0.7 * error(blurred)
    assert error(apply("deblur", sharp)) < 0.1 * error(blurred)


@pytest.mark.parametrize(("name", "down", "across"), [("right", 0, 1), ("left", 0, -1), ("down", 1, 0), ("up", -1, 0)])
def test_a_shift_moves_the_picture_by_a_thirty_second(name: str, down: int, across: int) -> None:
    x = scene(1, side=64)
    inner = slice(4, -4)
    assert torch.equal(
        apply(f"shift {name}", x)[..., inner, inner], x.roll((2 * down, 2 * across), (2, 3))[..., inner, inner]
    )


def test_the_stretch_spans_the_range_and_leaves_a_flat_picture() -> None:
    x = 0.4 + 0.1 * scene()
    assert bool((x.amax((1, 2, 3)) - x.amin((1, 2, 3)) < 0.11).all())
    y = luma_of(apply("stretch", x)).flatten(1)
    assert bool((y.amax(1) - y.amin(1) > 0.9).all())
    flat = torch.full((2, 3, 16, 16), 0.3)
    assert torch.equal(apply("stretch", flat), flat)


def test_the_gamma_brings_the_mean_near_the_target() -> None:
    means = luma_of(apply("gamma to 0.45", scene() * 0.5)).mean((1, 2, 3))
    assert float((means - 0.45).abs().max()) < 0.05


def test_restored_chroma_lies_nearer_to_the_picture_than_half_the_resolution() -> None:
    x = torch.full((1, 3, 32, 32), 0.2)
    x[:, 0, :, 13:] = 0.9  # a red edge between two sampling places of the chroma
    luma = luma_of(x)
    coarse = torch.nn.functional.avg_pool2d(x - luma, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    halved = (luma + coarse).clamp(0, 1)
    assert float((apply("restore chroma", halved) - x).square().mean()) < 0.8 * float((halved - x).square().mean())


def test_deblocking_lowers_the_steps_between_blocks_only() -> None:
    x = torch.linspace(0.2, 0.8, 4)[None, None, None].repeat_interleave(8, 3).expand(1, 1, 32, 32) * 0.1 + 0.4
    y = apply("deblock", x.contiguous())
    steps = (y[..., 1:] - y[..., :-1]).abs()
    assert float(steps.max()) < 0.8 * float((x[..., 1:] - x[..., :-1]).abs().max())
    strong = x.round()  # a step of 1 is an edge of the picture
    assert torch.equal(apply("deblock", strong.contiguous()), strong)


def test_a_crop_around_the_middle_is_the_central_zoom() -> None:
    x, middle = scene(2), torch.full((2,), 0.5)
    inner = slice(2, -2)  # the zoom repeats its own border, the crop reads beyond it
    assert torch.allclose(
        crop_around(x, 0.5, middle, middle)[..., inner, inner], apply("zoom 0.5", x)[..., inner, inner], atol=1e-5
    )


def test_a_crop_around_a_corner_stays_inside_the_image() -> None:
    x = scene(2)
    y = crop_around(x, 0.5, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    assert torch.allclose(y[0].mean((1, 2)), x[0, :, :12, :12].mean((1, 2)), atol=0.02)
    assert torch.allclose(y[1].mean((1, 2)), x[1, :, 12:, 12:].mean((1, 2)), atol=0.02)


def test_an_unknown_edit_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r'no edit "jpg 85"; nearest: "jpeg 85"'):
        edited(scene(), KEYS, ["jpg 85"])


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("textured", [False, True])
def test_the_noise_level_lies_within_ten_percent_of_a_planted_one(sigma: float, textured: bool) -> None:
    x = scene(16, 1, 48) if textured else torch.full((16, 1, 48, 48), 0.5)
    noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    assert float(quiet_noise(noisy).mean()) == pytest.approx(sigma, rel=0.1)
    if not textured:
        assert float(mean_noise(noisy).mean()) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_the_width_of_a_planted_blur_is_found(sigma: float) -> None:
    x = torch.zeros(1, 1, 48, 48)
    x[..., 16:32, 16:32] = 1.0
    assert float(blur_width(gaussian_filter(x, sigma))) == pytest.approx(sigma, rel=0.15)


def test_a_sharp_step_is_narrow_and_a_picture_without_edges_is_wide() -> None:
    x = torch.zeros(2, 1, 48, 48)
    x[0, :, 16:32, 16:32] = 1.0
    narrow, wide = blur_width(x).tolist()
    assert narrow < 0.6
    assert wide == 3.0
