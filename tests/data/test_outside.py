"""Views of a photograph beyond the model's crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from whywrong.core.input_spec import InputSpec
from whywrong.data.items import LoadedItem, load_item
from whywrong.data.outside import VIEWS, outside_views
from whywrong.data.sources import open_source


def loaded(folder: Path, pixels: np.ndarray, spec: InputSpec, **options: int) -> LoadedItem:
    (folder / "a").mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "a" / "one.png")
    source = open_source(str(folder))
    return load_item(source, next(iter(source.entries())), spec, **options)


def test_the_windows_show_the_corners_and_the_first_view_shows_everything(tmp_path: Path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:4, :4, 0], pixels[-4:, -4:, 1] = 255, 255
    item = loaded(tmp_path, pixels, InputSpec(height=32, width=32, resize=40))
    views, there = outside_views([item])
    assert views.shape == (1, VIEWS, 3, 32, 32)
    assert there.tolist() == [True]
    assert not item.pixels.any()
    red, green = (views[0, :, channel].astype(float).sum((1, 2)) > 0 for channel in (0, 1))
    assert red.tolist() == [True, True, False, False, False]
    assert green.tolist() == [True, False, False, False, True]


def test_a_photograph_that_the_model_sees_whole_has_no_outside(tmp_path: Path):
    pixels = np.full((40, 40, 3), 9, np.uint8)
    item = loaded(tmp_path, pixels, InputSpec(height=32, width=32, resize=32))
    views, there = outside_views([item])
    assert there.tolist() == [False]
    assert not views.any()


def test_a_reduced_photograph_has_no_outside(tmp_path: Path):
    pixels = np.full((80, 120, 3), 9, np.uint8)
    item = loaded(tmp_path, pixels, InputSpec(height=32, width=32, resize=40), photo_side=60)
    assert outside_views([item])[1].tolist() == [False]
