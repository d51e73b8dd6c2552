"""Geometry agrees with torchvision to the pixel, and maps find their way back to the photograph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.pictures import noise
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from whywrong.core.errors import InputError
from whywrong.core.input_spec import INTERPOLATIONS, InputSpec
from whywrong.data.geometry import Geometry


def torchvision_input(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    mode = InterpolationMode(spec.interpolation)
    size = (spec.height, spec.width)
    steps = Resize(size, mode) if spec.resize is None else Compose([Resize(spec.resize, mode), CenterCrop(size)])
    return np.asarray(steps(Image.fromarray(pixels).convert("RGB"))).transpose(2, 0, 1)


SIZES = [(50, 37), (37, 50), (64, 64), (33, 34), (301, 65), (1, 1), (1, 9), (12, 1), (40, 40), (97, 31)]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("resize", [None, 32, 37, 40])
def test_equals_torchvision_to_the_pixel(interpolation, resize):
    spec = InputSpec(height=32, width=30, resize=resize, interpolation=interpolation)
    for width, height in SIZES:
        pixels = noise(width, height)
        mine = Geometry.plan(width, height, spec).to_input(pixels)
        np.testing.assert_array_equal(mine, torchvision_input(pixels, spec), err_msg=f"{width} x {height}")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_equals_torchvision_for_any_size(width, height, in_width, in_height, more):
    spec = InputSpec(height=in_height, width=in_width, resize=max(in_height, in_width) + more)
    pixels = noise(width, height)
    np.testing.assert_array_equal(Geometry.plan(width, height, spec).to_input(pixels), torchvision_input(pixels, spec))


def test_equals_torchvision_on_photographs(shared_data):
    spec = InputSpec(height=224, width=224, resize=256, interpolation="bicubic")
    for path in sorted((shared_data / "imagenet_one_per_class/images").glob("*/*.jpg"))[::50]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        mine = Geometry.plan(pixels.shape[1], pixels.shape[0], spec).to_input(pixels)
        np.testing.assert_array_equal(mine, torchvision_input(pixels, spec))


def test_grey_becomes_three_equal_channels_as_if_it_had_been_converted_first():
    spec = InputSpec(height=16, width=16, resize=20)
    grey = noise(30, 25, channels=1)
    np.testing.assert_array_equal(Geometry.plan(30, 25, spec).to_input(grey), torchvision_input(grey, spec))


def test_colour_becomes_grey_for_a_model_of_one_channel():
    spec = InputSpec(channels=1, height=20, width=20)
    pixels = noise(20, 20)
    np.testing.assert_array_equal(
        Geometry.plan(20, 20, spec).to_input(pixels)[0], np.asarray(Image.fromarray(pixels).convert("L"))
    )


def test_the_crop_box_is_what_the_model_sees():
    # 200 x 100, shorter side to 50: 100 x 50; a 40 x 40 crop starts at (30, 5), which is (60, 10) of the photograph.
    geometry = Geometry.plan(200, 100, InputSpec(height=40, width=40, resize=50))
    assert geometry.crop_box == (60, 10, 140, 90)
    assert Geometry.plan(200, 100, InputSpec(height=40, width=40)).crop_box == (0, 0, 200, 100)


def test_boxes_are_inclusive_pixels():
    geometry = Geometry.plan(10, 10, InputSpec(height=10, width=10))
    mask = geometry.box_to_input((2, 3, 4, 3))
    assert np.argwhere(mask).tolist() == [[3, 2], [3, 3], [3, 4]]


def test_boxes_and_masks_of_the_same_object_agree():
    geometry = Geometry.plan(200, 100, InputSpec(height=40, width=40, resize=50))
    mask = np.zeros((100, 200), bool)
    mask[20:60, 80:120] = True
    boxed = geometry.box_to_input((80, 20, 119, 59))
    np.testing.assert_array_equal(boxed, geometry.mask_to_input(mask))
    assert np.argwhere(boxed)[[0, -1]].tolist() == [[5, 10], [24, 29]]


def test_an_object_smaller_than_a_pixel_keeps_one_and_one_outside_the_crop_none():
    geometry = Geometry.plan(400, 400, InputSpec(height=10, width=10, resize=20))
    assert geometry.box_to_input((201, 201, 202, 202)).sum() == 1
    assert geometry.box_to_input((0, 0, 20, 20)).sum() == 0
    mask = np.zeros((400, 400), bool)
    mask[205, 205] = True
    assert geometry.mask_to_input(mask).sum() == 1


def test_a_strip_so_long_that_the_resize_would_fill_the_memory_still_loads():
    spec = InputSpec(height=224, width=224, resize=256, interpolation="bicubic")
    geometry = Geometry.plan(200_000, 1, spec)
    assert geometry.windowed
    pixels = np.full((1, 200_000, 3), 77, np.uint8)
    assert (geometry.to_input(pixels) == 77).all()


def test_the_window_of_a_strip_equals_the_crop_within_a_grey_level(monkeypatch):
    spec = InputSpec(height=24, width=24, resize=32, interpolation="bicubic")
    pixels = noise(900, 9)
    geometry = Geometry.plan(900, 9, spec)
    whole = geometry.to_input(pixels).astype(int)
    monkeypatch.setattr("whywrong.data.geometry.MAX_RESIZED_PIXELS", 100)
    assert np.abs(geometry.to_input(pixels) - whole).max() <= 1


def test_another_size_than_planned_is_refused():
    geometry = Geometry.plan(10, 10, InputSpec(height=4, width=4))
    with pytest.raises(InputError, match="10 x 10"):
        geometry.to_input(noise(11, 10))
    with pytest.raises(InputError, match="mask"):
        geometry.mask_to_input(np.zeros((9, 10), bool))
