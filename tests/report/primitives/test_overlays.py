"""Maps and regions as pictures, against answers worked out by hand."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from whywrong.report.primitives.overlays import (
    WRONG_RGB,
    amplification,
    amplified,
    cells_path,
    common_scale,
    density,
    magnitude_png,
    outline,
    photograph,
    picture,
    signed_png,
    smoothed,
)


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def shoelace(path: str) -> float:
    """Area inside an SVG path of closed polygons; holes run the other way round and count negative."""
    total = 0.0
    for piece in path.split("M")[1:]:
        points = np.array([[float(v) for v in pair.split()] for pair in piece.rstrip("Z").split("L")])
        x, y = points.T
        total += 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return abs(total)


def test_a_density_does_not_depend_on_the_resolution():
    coarse = np.full((4, 4), 1.0)  # 16 logits over the whole area: 0.16 a percent
    fine = np.full((8, 8), 0.25)
    np.testing.assert_allclose(density(coarse), 0.16)
    np.testing.assert_allclose(density(fine), 0.16)


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (225, 130)])
def test_smoothing_keeps_the_sum(size):
    values = np.random.default_rng(0).normal(size=size)
    cells = smoothed(values)
    assert max(cells.shape) <= 56
    assert cells.sum() == pytest.approx(values.sum(), abs=1e-6)


def test_positive_is_orange_negative_is_blue_and_zero_is_transparent():
    pixels = np.asarray(opened(signed_png(np.array([[-1.0, 0.0, 1.0]]), 1.0)).convert("RGBA"))[0]
    blue, nothing, orange = pixels
    assert blue[2] > blue[0]
    assert tuple(orange[:3]) == WRONG_RGB
    assert nothing[3] == 0
    assert blue[3] == orange[3] > 150


def test_maps_of_one_image_share_one_scale():
    quiet, loud = np.full((10, 10), 0.1), np.full((10, 10), 2.0)
    assert common_scale([quiet, loud]) == pytest.approx(2.0)
    alpha = np.asarray(opened(signed_png(quiet, 2.0)).convert("RGBA"))[..., 3]
    assert alpha.max() < 30
    assert common_scale([]) == 0.0


@pytest.mark.parametrize("size", [32, 224])
def test_an_outline_encloses_the_area_of_its_mask(size):
    mask = np.zeros((size, size))
    mask[size // 4 : size // 2, size // 8 : size // 2] = 1
    assert shoelace(outline(mask)) == pytest.approx(mask.sum(), rel=0.03)


def test_an_outline_keeps_holes_and_reaches_the_border():
    mask = np.ones((32, 32))
    mask[8:24, 8:24] = 0
    path = outline(mask)
    assert path.count("M") == 2
    assert shoelace(path) == pytest.approx(mask.sum(), rel=0.03)
    values = [float(v) for v in re.findall(r"-?[\d.]+", path)]
    assert (min(values), max(values)) == (0, 32)


def test_an_empty_mask_has_no_outline():
    assert outline(np.zeros((16, 16))) == ""


def test_a_change_is_multiplied_by_the_factor_that_is_told():
    change = np.zeros((3, 8, 8), np.float32)
    change[0, 2, 3], change[1, 4, 4] = 1, -1
    uri, factor = amplified(change)
    assert factor == 100
    pixels = np.asarray(opened(uri)).astype(int)
    assert pixels[2, 3].tolist() == [228, 128, 128]
    assert pixels[4, 4].tolist() == [128, 28, 128]
    assert pixels[0, 0].tolist() == [128, 128, 128]


def test_a_large_change_is_not_amplified():
    assert amplification(np.full((1, 4, 4), 90.0)) == 1
    assert amplification(np.full((1, 4, 4), 5.0)) == 20


def test_a_photograph_is_written_as_webp_where_that_is_smaller_and_a_png_stays_exact():
    detail = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).resize((300, 200))
    stored = io.BytesIO()
    detail.save(stored, "JPEG", quality=92)
    assert photograph(stored.getvalue()).startswith("data:image/webp")
    assert len(photograph(stored.getvalue())) < 4 / 3 * len(stored.getvalue())
    assert opened(photograph(stored.getvalue())).size == (300, 200)
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    exact = io.BytesIO()
    small.save(exact, "PNG")
    np.testing.assert_array_equal(np.asarray(opened(photograph(exact.getvalue()))), np.asarray(small))


def test_cells_are_outlined_along_their_common_border():
    assert cells_path(np.array([[1, 1], [0, 0]], bool)) == "M0 0L2 0L2 1L0 1Z"
    assert cells_path(np.zeros((2, 2), bool)) == ""
    hole = np.ones((3, 3), bool)
    hole[1, 1] = False
    assert cells_path(hole).count("M") == 2


def test_cells_that_touch_at_a_corner_are_both_outlined():
    path = cells_path(np.array([[1, 0], [0, 1]], bool))
    corners = {tuple(map(float, corner.split())) for loop in path.strip("MZ").split("ZM") for corner in loop.split("L")}
    assert {(0, 0), (2, 2), (1, 0), (2, 1), (0, 1), (1, 2)} <= corners


def test_a_magnitude_is_transparent_at_zero_and_darker_the_higher():
    pixels = np.asarray(opened(magnitude_png(np.array([[0.0, 0.3, 1.0]]))).convert("RGBA"))[0].astype(int)
    assert pixels[0, 3] == 0
    assert 0 < pixels[1, 3] < pixels[2, 3]
    assert pixels[1, :3].sum() > pixels[2, :3].sum()


def test_pictures_of_few_pixels_stay_exact():
    levels = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    assert (np.moveaxis(np.asarray(opened(picture(levels))), -1, 0) == levels).all()
    large = picture(np.repeat(np.repeat(levels, 10, axis=1), 10, axis=2))
    assert max(opened(large).size) < 320
    assert np.asarray(opened(picture(levels[:1]))).shape == (32, 32)
    assert np.asarray(opened(picture(np.concatenate([levels, levels[:2]])))).shape == (32, 32)  # channels, no colours
