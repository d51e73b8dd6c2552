"""Kinds of data are lines of a registry; a toy one needs one file and one entry point."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from whywrong.core.errors import DataError, InputError
from whywrong.core.registry import SourceKind, lines, resolve
from whywrong.data.batches import load_images
from whywrong.data.sources import SourceSpec, open_source

TOY = """
import os
import numpy as np
from whywrong.core.registry import SourceKind
from whywrong.data.sources.base import Entry, Source

class ToySource(Source):
    @classmethod
    def recognise(cls, asked):
        return asked if os.path.exists(os.path.join(asked.path, "toy.txt")) else None

    def _entries(self, ignored):
        for row in range(3):
            yield Entry(str(row), "light" if row else "dark", 12, 0)

    def read(self, entry, max_pixels=0):
        return np.full((4, 4, 3), 100 * int(entry.key), np.uint8)

    def locate(self, label):
        return f"toy:{self.spec.path}"

LINE = SourceKind(
    name="toy", title="a toy", source="toy_source:ToySource", schemes=("toy",), suffixes=(".txt",), folders=True
)
"""


@pytest.fixture
def toy(install_plugin):
    install_plugin("toy_source", TOY, "whywrong.sources")


def test_a_toy_source_serves_its_scheme(toy):
    source = open_source("toy:abc")
    assert (source.spec.kind, source.spec.path, source.class_names) == ("toy", "abc", ("dark", "light"))
    batch = next(iter(load_images(source)))
    assert [round(float(x.mean()), 3) for x in batch.x] == [0.0, 0.392, 0.784]


def test_a_toy_source_is_opened_again_from_what_a_run_stores(toy):
    stored = open_source("toy:abc").spec.to_dict()
    assert [entry.key for entry in SourceSpec(**stored).open().entries()] == ["0", "1", "2"]


def test_a_folder_goes_to_the_first_kind_that_recognises_it(toy, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "toy.txt").touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "mine" / "a.png")
    assert open_source(tmp_path / "mine").spec.kind == "flat"  # built-ins come first
    with pytest.raises(DataError, match="expected one of: a manifest"):
        open_source(tmp_path / "mine" / "toy.txt")  # the ending is its own, but it does not recognise the file


def test_a_stored_kind_whose_plug_in_is_missing_is_named():
    with pytest.raises(DataError, match=r'unknown kind of data "toy".*plug-in'):
        SourceSpec(kind="toy", path="abc").open()


def test_an_unknown_scheme_lists_the_schemes_and_the_nearest():
    with pytest.raises(
        InputError, match=r'"plantd:test": unknown scheme "plantd:"; nearest: "planted"; .*hf:, planted:'
    ):
        open_source("plantd:test")


def test_a_path_with_a_colon_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("odd:name.npz", images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.array([0, 1]))
    assert open_source("odd:name.npz").spec.kind == "arrays"
    with pytest.raises(InputError, match='unknown scheme "odd:"'):
        open_source("odd:other.npz")


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        ("planted:test", {"label_by": "name"}, r"--label-by \(label_by=...\) does not apply to pictures that ship"),
        ("planted:test", {"manifest": "a.csv"}, "--manifest"),
        (".", {"split": "train"}, r"--split .* goes with a Hugging Face data set"),
        (".", {"image_column": "image"}, r"--image-column .* goes with a manifest .* or a Hugging Face data set"),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, monkeypatch, data, options, text):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("a.png")
    with pytest.raises(DataError, match=text):
        open_source(data, **options)


def test_every_built_in_kind_can_be_imported_and_is_reached_by_one_name():
    found = lines(SourceKind).values()
    assert all(callable(resolve(line.source)) for line in found)
    schemes = [scheme for line in found for scheme in line.schemes]
    assert len(schemes) == len(set(schemes))
