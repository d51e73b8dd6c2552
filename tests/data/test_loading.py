"""Items, batches and duplicates."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.pictures import encode, noise, write

from whywrong.core.classes import ClassList
from whywrong.core.errors import DataError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.batches import load_images
from whywrong.data.items import load_item
from whywrong.data.sources import open_source

SPEC = InputSpec(height=8, width=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(["ant/a.png", "ant/b.png", "bee/c.png", "bee/d.png", "bee/e.png"]):
        write(tmp_path / "data" / name, seed=seed)
    return tmp_path / "data"


def test_an_item_carries_pixels_photo_identity_and_geometry(tmp_path):
    photo = noise(20, 10)
    data = encode(photo)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.png").write_bytes(data)
    source = open_source(tmp_path)
    item = load_item(source, next(source.entries()), InputSpec(height=8, width=8, resize=10))
    assert item.image_id == hashlib.sha256(data).hexdigest()
    np.testing.assert_array_equal(item.photo, photo)
    np.testing.assert_array_equal(item.pixels, photo[1:9, 6:14].transpose(2, 0, 1))  # no resize: a crop alone
    assert item.geometry.crop_box == (6, 1, 14, 9)
    small = load_item(source, next(source.entries()), SPEC, photo_side=5)
    assert small.photo.shape == (3, 5, 3)
    assert (small.geometry.width, small.geometry.height) == (20, 10)


def test_the_identity_of_an_array_is_of_its_bytes_and_shape(tmp_path):
    flat = np.arange(24, dtype=np.uint8)
    ids = set()
    for shape in ((1, 2, 12, 1), (1, 3, 8, 1), (1, 4, 2, 3)):
        np.savez(tmp_path / "x.npz", images=flat.reshape(shape))
        source = open_source(tmp_path / "x.npz")
        ids.add(load_item(source, next(source.entries()), SPEC).image_id)
    assert len(ids) == 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 30), (30, 1)])
def test_the_smallest_images_are_enlarged_and_noted(tmp_path, width, height):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.png").write_bytes(encode(noise(width, height)))
    source = open_source(tmp_path)
    item = load_item(source, next(source.entries()), InputSpec(height=8, width=8, resize=9))
    assert item.pixels.shape == (3, 8, 8)
    assert item.notes == (f"tiny image, {width} x {height}, enlarged",)


def test_a_box_outside_the_image_is_noted_and_the_image_still_counts(folder):
    table = folder.parent / "boxes.csv"
    table.write_text("file,x_min,y_min,x_max,y_max\na.png,90,90,99,99\nb.png,4,4,99,99\n")
    source = open_source(folder, boxes=table)
    first, second = (load_item(source, entry, SPEC) for entry in list(source.entries())[:2])
    assert first.mask is None
    assert first.notes[0].startswith("box not used")
    assert second.mask is not None
    assert second.mask.sum() == 16
    assert "reaches beyond" in second.notes[0]


def test_batches_hold_images_in_0_to_1_with_classes(folder):
    images = load_images(folder, spec=SPEC, classes=ClassList(("bee", "ant")), batch_size=2)
    batches = list(images)
    assert [len(batch.items) for batch in batches] == [2, 2, 1]
    assert len(images) == 3
    assert torch.cat([batch.y for batch in batches]).tolist() == [1, 1, 0, 0, 0]
    x = torch.cat([batch.x for batch in batches])
    assert x.dtype == torch.float32
    np.testing.assert_array_equal((x[3] * 255).round().numpy(), noise(8, 8, seed=3).transpose(2, 0, 1))
    assert len(list(images)) == 3  # a second loop starts again


def test_a_bad_item_is_reported_and_its_neighbours_stay(folder):
    (folder / "ant" / "b.png").write_bytes(b"")
    (batch,) = load_images(folder, spec=SPEC)
    assert [item.entry.key for item in batch.items] == ["ant/a.png", "bee/c.png", "bee/d.png", "bee/e.png"]
    assert [(failed.entry.key, failed.reason) for failed in batch.failed] == [("ant/b.png", "empty file")]
    assert len(batch.x) == len(batch.y) == 4


def test_labels_without_a_model_follow_classes_json_then_numbers_then_order(folder):
    (batch,) = load_images(folder)
    assert batch.y.tolist() == [0, 0, 1, 1, 1]
    (folder / "classes.json").write_text('[{"index": 7, "name": "ant"}, {"index": 3, "name": "bee"}]')
    (batch,) = load_images(folder)
    assert batch.y.tolist() == [7, 7, 3, 3, 3]
    (folder / "classes.json").unlink()
    (folder / "ant").rename(folder / "5")
    (folder / "bee").rename(folder / "2")
    (batch,) = load_images(folder)
    assert batch.y.tolist() == [2, 2, 2, 5, 5]


def test_unlabelled_images_have_class_minus_one(tmp_path):
    write(tmp_path / "a.png")
    (batch,) = load_images(tmp_path)
    assert batch.y.tolist() == [-1]


def test_without_a_spec_the_first_image_gives_the_size(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.full((3, 6, 5, 1), 51, np.uint8), labels=np.arange(3))
    (batch,) = load_images(tmp_path / "x.npz")
    assert batch.x.shape == (3, 1, 6, 5)
    assert torch.allclose(batch.x, torch.tensor(0.2))


def test_without_a_spec_images_of_other_sizes_stop(folder):
    write(folder / "ant" / "z.png", size=9)
    with pytest.raises(InputError, match="spec"):
        list(load_images(folder))


def test_wrong_batch_sizes_and_unreadable_sets_are_refused(folder):
    with pytest.raises(InputError, match="batch_size"):
        load_images(folder, batch_size=0)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="no image can be decoded"):
        load_images(folder)


SETS = {
    "imagenet_one_per_class/images": (InputSpec(height=224, width=224, resize=256, interpolation="bicubic"), 1000),
    "imagenet_ccby_a/images": (InputSpec(height=224, width=224, resize=256, interpolation="bicubic"), 500),
    "tiny_imagenet_boxes_a/images": (InputSpec(height=64, width=64), 1000),
    "cifar10_test_a/test_lossless.npz": (InputSpec(height=32, width=32), 509),
    "cifar10_test_a/test_jpeg.npz": (InputSpec(height=32, width=32), 3000),
    "mnist_a/test.npz": (InputSpec(channels=1, height=28, width=28), 5000),
    "mnist_train/train.npz": (InputSpec(channels=1, height=28, width=28), 60_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_every_item_of_the_real_sets_loads_without_a_note(shared_data, name):
    spec, count = SETS[name]
    source = open_source(shared_data / name)
    assert len(source) == count
    assert source.warnings == ()
    for entry in source.entries():
        item = load_item(source, entry, spec)
        assert item.pixels.shape == (spec.channels, spec.height, spec.width)
        assert item.notes == ()
