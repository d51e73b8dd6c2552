"""Data sets of Hugging Face as objects: features name the classes, columns are asked for, formats are left aside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.objects.sets import pixels, tensors
from torch.utils.data import DataLoader

from whywrong.core.errors import DataError, InputError
from whywrong.data.objects.opening import open_any

datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")

IMAGES = [Image.fromarray(image) for image in pixels()]
CLASSES = datasets.ClassLabel(names=["cat", "dog", "fox"])


def make(*, label=CLASSES, images=IMAGES, values=(0, 1, 2, 0, 1, 2), **columns):
    features = {"image": datasets.Image(), "label": label, **{name: kind for name, (kind, _) in columns.items()}}
    cells = {"image": images, "label": list(values), **{name: given for name, (_, given) in columns.items()}}
    return datasets.Dataset.from_dict(cells, features=datasets.Features(features))


def names(source) -> list[str | None]:
    return [entry.label for entry in source.entries()]


@pytest.mark.parametrize(
    "form",
    [
        lambda d: d,
        lambda d: d.with_format("torch"),
        lambda d: DataLoader(d.with_format("torch"), batch_size=2),
        lambda d: d.select(range(6)),
        lambda d: datasets.DatasetDict({"test": d, "train": d}),
        lambda d: d.to_iterable_dataset(),
    ],
    ids=["plain", "torch", "loader", "selected", "splits", "stream"],
)
def test_a_data_set_gives_its_class_names_and_files(form):
    data = form(make())
    source = open_any(data, **({"split": "test"} if isinstance(data, dict) else {}))
    assert names(source) == ["cat", "dog", "fox", "cat", "dog", "fox"]
    assert source.facts.classes == ("cat", "dog", "fox")
    first = source.read(next(source.entries()))
    assert isinstance(first, bytes) or np.array_equal(first, pixels()[0])


def test_a_transform_of_its_own_gives_tensors_as_a_model_gets_them():
    x = tensors()
    data = make().with_transform(lambda rows: {"pixel_values": [x[0]] * len(rows["label"]), "label": rows["label"]})
    source = open_any(data)
    assert source.facts.prepared
    assert names(source)[:3] == ["cat", "dog", "fox"]
    assert torch.equal(torch.from_numpy(source.read(next(source.entries()))), torch.from_numpy(pixels()[0]))


@pytest.mark.parametrize(
    ("data", "reading", "text"),
    [
        (lambda: datasets.DatasetDict({"a": make(), "b": make()}), {}, "which split to read with split=...; .* a, b"),
        (lambda: make().remove_columns("image"), {}, "no image among label"),
        (lambda: make(mask=(datasets.Image(), IMAGES)), {"image_column": "none"}, "no part 'none' for the image"),
        (lambda: make().remove_columns("label"), {}, "no label: let it yield"),
        (lambda: make(images=[None] * 6), {}, "none of its 6 items can be used; item 0: the item holds no image"),
        (lambda: make(label=datasets.Value("float32"), values=[0.5] * 6), {}, "label 0.5 is not a whole number"),
    ],
    ids=["splits", "no image", "no such column", "no label", "no images", "fraction"],
)
def test_what_cannot_be_told_is_asked_for(data, reading, text):
    with pytest.raises((InputError, DataError), match=text):
        open_any(data(), **reading)


def test_of_two_image_columns_the_one_that_is_named_is_taken():
    data = make(mask=(datasets.Image(), IMAGES[::-1]))
    with pytest.raises(InputError, match=r"images may be in image, mask; .*image_column"):
        open_any(data)
    first, other = (open_any(data, image_column=name) for name in ("image", "mask"))
    assert first.read(next(first.entries())) == other.read(list(other.entries())[5])


def test_a_row_without_image_or_label_is_an_item_of_its_own():
    source = open_any(make(images=[None, *IMAGES[1:]], values=[0, -1, 2, 0, 1, 2]))
    entries = list(source.entries())
    assert [entry.label for entry in entries] == [None, None, "fox", "cat", "dog", "fox"]
    with pytest.raises(DataError, match="the item holds no image"):
        source.read(entries[0])
