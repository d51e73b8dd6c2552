"""Images and labels in every form in which data sets give them: read as meant, or refused in one sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.objects.sets import SIDE, Samples, Stream, labels, pixels, tensors
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torchvision import transforms

from whywrong.core.errors import DataError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.items import load_item
from whywrong.data.objects.opening import open_any

X, Y, PIXELS = tensors(), labels(), pixels()
SPEC = InputSpec(height=SIDE, width=SIDE)


def images(source) -> np.ndarray:
    """(N, H, W, 3) as a model would get them."""
    return np.stack([load_item(source, entry, SPEC).pixels.transpose(1, 2, 0) for entry in source.entries()])


def names(source) -> list[str | None]:
    return [entry.label for entry in source.entries()]


def as_mapping(rows):
    """A collate function that gives a dictionary."""
    return {"x": torch.stack([row[0] for row in rows]), "y": [row[1] for row in rows]}


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "made",
    [
        lambda: TensorDataset(X, Y),
        lambda: (X, Y),
        lambda: (PIXELS, Y.numpy()),
        lambda: (X.double().numpy(), Y.numpy()),
        lambda: (X.permute(0, 2, 3, 1).numpy(), Y),
        lambda: (PIXELS.transpose(0, 3, 1, 2), Y),
        lambda: (torch.from_numpy(PIXELS), Y),
        lambda: [(Image.fromarray(image), int(y)) for image, y in zip(PIXELS, Y, strict=True)],
        lambda: Samples({"image": Image.fromarray(image), "label": y} for image, y in zip(PIXELS, Y, strict=True)),
        lambda: Samples({"pixel_values": x, "labels": y} for x, y in zip(X, Y, strict=True)),
        lambda: Samples((png(image), int(y)) for image, y in zip(PIXELS, Y, strict=True)),
        lambda: Samples((int(y), x) for x, y in zip(X, Y, strict=True)),
        lambda: ((x, y) for x, y in zip(X, Y, strict=True)),
        lambda: Stream([(x, y) for x, y in zip(X, Y, strict=True)]),
        lambda: DataLoader(Stream([(x, y) for x, y in zip(X, Y, strict=True)]), batch_size=4),
        lambda: DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
        lambda: DataLoader(TensorDataset(X, Y), batch_size=None),
        lambda: DataLoader(TensorDataset(X, Y), batch_size=2, collate_fn=as_mapping),
        lambda: ConcatDataset([TensorDataset(X[:2], Y[:2]), TensorDataset(X[2:], Y[2:])]),
        lambda: Subset(TensorDataset(X.flip(0), Y.flip(0)), [5, 4, 3, 2, 1, 0]),
        lambda: (np.array([*PIXELS, None], dtype=object)[:-1], Y),
        lambda: (X, torch.eye(3)[Y]),
        lambda: (X, Y.float()),
        lambda: (X, Y[:, None]),
        lambda: Samples((x[None], y) for x, y in zip(X, Y, strict=True)),
    ],
)  # fmt: skip
def test_every_form_gives_the_same_images_and_labels(made):
    source = open_any(made())
    assert names(source) == ["0", "1", "2", "0", "1", "2"]
    assert np.array_equal(images(source), PIXELS)


def test_files_are_read_from_the_paths_that_a_data_set_yields(tmp_path):
    for number, image in enumerate(PIXELS):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    source = open_any(Samples((tmp_path / f"{n}.png", f"class {n % 3}") for n in range(6)))
    assert np.array_equal(images(source), PIXELS)
    assert names(source)[:3] == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_pillow_images_of_any_mode_become_8_bit(mode):
    source = open_any([(Image.fromarray(image).convert(mode), 0) for image in PIXELS])
    assert images(source).shape == PIXELS.shape


def test_where_both_layouts_fit_that_of_the_library_counts():
    low = pixels(2, side=8)[:, :3]
    assert open_any((low, Y[:2])).facts.size == (3, 3, 8)
    assert open_any((torch.from_numpy(low), Y[:2])).facts.size == (3, 8, 3)


@pytest.mark.parametrize("x", [X[:, :1], X[:, 0], PIXELS[..., 0], PIXELS[..., :1]], ids=["CHW", "HW", "uint8", "HWC"])
def test_one_channel_is_grey(x):
    assert np.array_equal(images(open_any((x, Y)))[..., 2], PIXELS[..., 0])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ((X * 255, Y), "floats from .* to 255, not in \\[0, 1\\]: divide them by 255"),
        ((X * 4 - 2, Y), r"seem to be normalised: pass the normalisation, as mean=\(0.485"),
        ((X + torch.nan, Y), "none of its 6 items can be used; item 0: pixels are NaN or infinite"),
        (((X * 65535).numpy().astype(np.uint16), Y), "type uint16 have no agreed range.*65535"),
        (((X * 255).long(), Y), "type int64 have no agreed range; give uint8"),
        ((X > 0.5, Y), "type bool"),
        ((X.repeat(1, 2, 1, 1)[:, :4], Y), r"1 or 3 channels, got shape \(4, 8, 8\), an alpha channel"),
        ((X.flatten(1), Y), "expected an image|no image among"),
        (Samples([(X, Y)]), r"expected one image, got a batch \(6, 3, 8, 8\)"),
        ((X, Y[:4]), "6 images came with 4 labels"),
        ((X[:0], Y[:0]), "it holds no samples"),
        ((X, Y - 1), "item 0: label -1 is negative; classes count from 0"),
        ((X, Y + 0.5), "item 0: label 0.5 is not a whole number"),
        ((X, Y > 0), "item 0: the label is False"),
        ((X, X.flatten(1)[:, :3]), "vector of 3 numbers that is not one-hot; give the index of one class"),
        (X, 'item 0 holds an image and no label: .*label_column="none"'),
        (TensorDataset(X), 'holds an image and no label: let it yield \\(image, label\\).*label_column="none"'),
        (DataLoader(TensorDataset(X)), "holds an image and no label"),
        (Samples({"image": x} for x in X), "holds an image and no label"),
        (Samples({"a": x, "b": x, "label": 0} for x in X), "images may be in a, b; .*image_column"),
        (Samples({"image": x, "a": 0, "b": 1} for x in X), "labels may be in a, b; .*label_column"),
        (Samples({"label": 0} for _ in X), r"no image among label \(int\); .*image_column"),
        (Samples(object() for _ in X), r"expected \(image, label\) or a mapping with both, got object"),
        (Samples((x, 0) if n else (None, 0) for n, x in enumerate(X)), "no image among|image"),
        (DataLoader(TensorDataset(X, Y), collate_fn=lambda rows: (torch.zeros(2, 3, 8, 8), 0)), "not a batch of one"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_in_one_sentence(data, text):
    with pytest.raises((InputError, DataError), match=text):
        open_any(data)


def test_a_data_set_without_length_is_asked_for_one():
    class Endless(Samples):
        __len__ = None  # type: ignore[assignment]

    with pytest.raises(InputError, match="has no length: define __len__"):
        open_any(Endless([]))


def test_labels_beyond_the_class_names_are_refused():
    data = Samples([(X[0], 3)])
    data.classes = ["a", "b", "c"]
    with pytest.raises(DataError, match="label 3 is beyond the data set's 3 class names"):
        open_any(data)


def test_class_names_of_a_data_set_are_the_labels():
    data = TensorDataset(X, Y)
    data.classes = ["a", "b", "c"]
    assert names(open_any(Subset(data, [2, 0]))) == ["c", "a"]
    assert open_any(data).facts.classes == ("a", "b", "c")


def test_numbers_that_a_target_transform_changed_have_no_names():
    data = TensorDataset(X, Y)
    data.classes, data.target_transform = ["a", "b", "c"], lambda y: y
    assert names(open_any(data))[0] == "0"


def test_a_further_part_is_left_out_with_a_note():
    source = open_any(Samples((x, y, n) for n, (x, y) in enumerate(zip(X, Y, strict=True))))
    assert names(source)[1] == "1"
    assert "the samples have 3 parts" in source.warnings[0]
    assert names(open_any(Samples((x, 7, y) for x, y in zip(X, Y, strict=True)), label_column=2))[1] == "1"


def test_images_without_labels_are_read_if_asked_for():
    assert names(open_any(X, label_column="none")) == [None] * 6
    assert names(open_any(TensorDataset(X), label_column="none")) == [None] * 6


def test_what_cannot_be_read_is_an_item_with_its_reason():
    broken = Samples([*((x, 0) for x in X), (torch.zeros(5, 8, 8), 0)])
    source = open_any(broken)
    assert len(source) == 7
    with pytest.raises(DataError, match="1 or 3 channels"):
        source.read(list(source.entries())[6])


def test_an_exception_of_the_data_set_is_the_reason_of_its_item():
    class Raising(Samples):
        def __getitem__(self, number):
            if number == 1:
                raise KeyError("lost")
            return super().__getitem__(number)

    source = open_any(Raising([(x, 0) for x in X]))
    with pytest.raises(DataError, match="the data set raised KeyError: 'lost'"):
        source.read(list(source.entries())[1])


@pytest.mark.parametrize("given", [True, False], ids=["given", "read"])
def test_a_normalisation_is_undone_to_the_grey_level(given):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    normalise = transforms.Normalize(mean, std)
    data = TensorDataset(normalise(X), Y)
    if not given:
        data.transform = transforms.Compose([normalise])
    source = open_any(data, **({"mean": mean, "std": std} if given else {}))
    assert np.array_equal(images(source), PIXELS)
    assert (source.facts.mean, source.facts.std) == (mean, std)


def test_a_wrong_normalisation_is_found_out():
    normalised = transforms.Normalize((0.5,) * 3, (0.1,) * 3)(X)
    with pytest.raises(InputError, match=r"gives values from .* instead of \[0, 1\]"):
        open_any((normalised, Y), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("given", [{"mean": (0.5,) * 3}, {"mean": (0.5,), "std": (0.0,)}, {"mean": "a", "std": "b"}])
def test_half_a_normalisation_is_refused(given):
    with pytest.raises(InputError, match="mean and std"):
        open_any((X, Y), **given)


def test_smooth_resizing_may_lead_slightly_out_of_range():
    x = X.clone()
    x[0, 0, 0, 0] = 1.04
    source = open_any((x, Y))
    assert "clipped" in source.warnings[0]


@pytest.mark.parametrize(
    ("loader", "text"),
    [
        (lambda d: DataLoader(d, shuffle=True), "shuffles: its data set is read in order"),
        (lambda d: DataLoader(d, sampler=WeightedRandomSampler([1.0] * 6, 6)), "WeightedRandomSampler is not followed"),
        (lambda d: DataLoader(d, batch_size=4, drop_last=True), "drops the last, smaller batch"),
        (lambda d: DataLoader(d, batch_sampler=[[5, 4], [3, 2]]), "list is not followed"),
    ],
)
def test_a_loader_is_read_through_its_data_set_and_says_so(loader, text):
    source = open_any(loader(TensorDataset(X, Y)))
    assert np.array_equal(images(source), PIXELS)
    assert any(text in warning for warning in source.warnings)


def test_a_loader_of_a_part_reads_that_part_in_order():
    source = open_any(DataLoader(TensorDataset(X, Y), sampler=SubsetRandomSampler([4, 1])))
    assert np.array_equal(images(source), PIXELS[[1, 4]])


def test_random_transforms_are_found_by_name_and_by_asking_twice():
    data = TensorDataset(X, Y)
    data.transform = transforms.RandomHorizontalFlip()
    with pytest.raises(InputError, match=r"draws random numbers \(RandomHorizontalFlip\)"):
        open_any(data)

    class Noisy(Samples):
        def __getitem__(self, number):
            return torch.rand(3, 8, 8), 0

    with pytest.raises(InputError, match="item 0 is another image each time it is asked for"):
        open_any(Noisy([0, 1, 2]))


def test_the_same_items_are_the_same_source_whatever_holds_them():
    specs = {open_any(data).spec.path for data in [(X, Y), TensorDataset(X, Y), DataLoader(TensorDataset(X, Y))]}
    assert len(specs) == 1
    assert open_any((X.flip(0), Y)).spec.path not in specs
    assert open_any((X, Y.flip(0))).spec.path not in specs
    assert open_any((X[:5], Y[:5])).spec.path not in specs


def test_items_are_named_by_number_and_content():
    first, second = (list(open_any((x, Y)).entries()) for x in (X, X.flip(0)))
    assert [entry.key.partition("-")[0] for entry in first] == ["0", "1", "2", "3", "4", "5"]
    assert first[0].key.partition("-")[2] == second[5].key.partition("-")[2]
    assert not {entry.item_id for entry in first} & {entry.item_id for entry in second}


def test_options_of_a_folder_do_not_go_with_a_data_set_in_memory(tmp_path):
    with pytest.raises(InputError, match="manifest goes with a folder"):
        open_any((X, Y), manifest="labels.csv")
    with pytest.raises(InputError, match="mean belongs to the model where the data are files"):
        open_any(tmp_path, mean=(0.5,), std=(0.5,))


def test_labels_beside_images_may_be_a_list():
    for given in ([f"c{label}" for label in Y.tolist()], tuple(Y.tolist())):
        source = open_any((X, given))
        assert len(list(source.entries())) == len(X)
        assert names(source) == [str(label) for label in given]
