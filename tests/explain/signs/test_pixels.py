"""Signs of the pixels: each finds what was planted, and is quiet where nothing was."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import row_keys
from whywrong.data.corruptions import corrupt
from whywrong.data.corruptions.digital import jpeg_compression
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.signs.jpeg import comb
from whywrong.explain.signs.pixels_global import global_signs
from whywrong.explain.signs.pixels_local import local_signs

N = 24


def pictures(side: int = 32, seed: int = 0) -> Tensor:
    """Draw smooth coloured pictures with some grain, on whole grey levels."""
    noise = torch.rand(N, 3, side, side, generator=torch.Generator().manual_seed(seed))
    coarse, fine = gaussian_filter(noise, 3.0) - 0.5, gaussian_filter(noise.flip(3), 0.7) - 0.5
    return torch.round((0.5 + 2.5 * coarse + 0.3 * fine).clamp(0, 1) * 255) / 255


def through_jpeg(x: Tensor, quality: int) -> Tensor:
    return jpeg_compression(x, row_keys(0, len(x)), quality)


def share_above(low: Tensor, high: Tensor) -> float:
    """Area under the curve: how often a value of the second group exceeds one of the first."""
    return float((high[:, None] > low[None]).float().mean())


def test_blocks_are_found_after_jpeg_and_not_before() -> None:
    plain, blocky = (global_signs(x)["blockiness"] for x in (pictures(), through_jpeg(pictures(), 50)))
    assert abs(float(plain.mean())) < 0.15
    assert share_above(plain, blocky) > 0.9


def test_jpeg_traces_are_found_after_jpeg_and_not_before() -> None:
    plain, mild = global_signs(pictures()), global_signs(through_jpeg(pictures(), 75))
    for name in ("jpeg_zeros", "jpeg_comb"):
        assert abs(float(plain[name].mean())) < 0.15, name
        assert share_above(plain[name], mild[name]) > 0.9, name
    assert share_above(-plain["chroma_spectrum"], -mild["chroma_spectrum"]) > 0.9


def test_the_comb_is_nearly_one_on_exact_steps_and_gone_after_a_shift() -> None:
    x = through_jpeg(pictures(side=64), 60).mean(1, keepdim=True)
    assert float(comb(x).mean()) > 3 * float(comb(x.roll((3, 3), (2, 3))).mean())


def test_repeated_pixels_are_found_after_pixelation() -> None:
    x = pictures(side=64)
    pixelated = corrupt(x, "pixelate", 5, keys=row_keys(0, N))
    plain, odd = global_signs(x)["repeated_share"], global_signs(pixelated)["repeated_share"]
    assert float(plain.max()) < 0.1
    assert share_above(plain, odd) > 0.95


def test_a_pasted_board_is_found_by_its_straight_edges() -> None:
    x = pictures(side=48)
    board = x.clone()
    board[..., 10:40, 14:30] = torch.tensor([0.9, 0.2, 0.1])[:, None, None]
    plain, pasted = local_signs(x), local_signs(board)
    for name in ("step_vertical", "step_horizontal"):
        assert share_above(plain[name], pasted[name]) > 0.95, name
    assert float(pasted["cell_dead"].mean()) > 0.05 > float(plain["cell_dead"].mean())


def test_one_detailed_place_is_found() -> None:
    x = gaussian_filter(pictures(side=64), 1.0)
    mark = x.clone()
    mark[..., 40:48, 48:56] = torch.rand(8, 8, generator=torch.Generator().manual_seed(1))
    assert share_above(local_signs(x)["cell_detail"], local_signs(mark)["cell_detail"]) > 0.95


def test_single_odd_pixels_are_counted() -> None:
    x = torch.full((1, 3, 20, 20), 0.5)
    x[..., 5, 5] = x[..., 12, 9] = 1.0
    torch.testing.assert_close(global_signs(x)["impulse_share"], torch.tensor([2 / 400]))


def test_tone_and_colour_of_even_images_are_exact() -> None:
    grey, red = torch.full((1, 3, 20, 20), 0.25), torch.zeros(1, 3, 20, 20)
    red[:, 0] = 0.8
    found = global_signs(torch.cat([grey, red]))
    torch.testing.assert_close(found["luma"], torch.tensor([0.25, 0.299 * 0.8]))
    torch.testing.assert_close(found["saturation"], torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found["value_high"], torch.tensor([0.25, 0.8]))
    torch.testing.assert_close(found["flat_share"], torch.ones(2))
    torch.testing.assert_close(found["contrast"], torch.zeros(2), atol=1e-5, rtol=0)


def test_the_spectrum_knows_fine_detail_and_its_direction() -> None:
    wave = torch.arange(32)
    fine = (0.5 + 0.4 * torch.cos(torch.pi * 0.75 * wave)).expand(1, 3, 32, 32)
    coarse = (0.5 + 0.4 * torch.cos(torch.pi * 0.3 * wave)).expand(1, 3, 32, 32)
    found = global_signs(torch.cat([fine, coarse, pictures()[:1]]))
    assert found["spectrum_fine"][0] > 0.95
    assert found["spectrum_middle"][1] > 0.95
    assert bool((found["spectrum_anisotropy"][:2] > 0.9).all())
    assert found["spectrum_anisotropy"][2] < 0.6


def test_mirrored_images_have_the_same_signs_but_for_the_grid() -> None:
    x = pictures()
    one, other = global_signs(x) | local_signs(x), global_signs(x.flip(3)) | local_signs(x.flip(3))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0.05, atol=0.02, msg=name)


def test_exchanged_colours_leave_the_signs_that_weigh_them_alike() -> None:
    x = pictures()
    one, other = global_signs(x), global_signs(x[:, [1, 2, 0]])
    for name in ("impulse_share", "saturated_share", "saturation", "value_high", "repeated_share", "flat_share"):
        torch.testing.assert_close(one[name], other[name])


def test_exaggerated_colours_and_bright_shadows_are_found() -> None:
    x = pictures()
    plain, vivid = global_signs(x), global_signs(corrupt(x, "saturate", 5, keys=row_keys(0, N)))
    assert share_above(plain["saturation_full"], vivid["saturation_full"]) > 0.9
    pale = global_signs(corrupt(x, "saturate", 2, keys=row_keys(0, N)))
    assert share_above(-plain["saturation_high"], -pale["saturation_high"]) > 0.9
    bright = global_signs(corrupt(x, "brightness", 4, keys=row_keys(0, N)))
    assert share_above(plain["value_low"], bright["value_low"]) > 0.9
