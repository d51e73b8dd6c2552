"""Hugging Face data sets: columns by option, never guessed; nothing of this machine is looked for elsewhere."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.data.pictures import encode, noise

from whywrong.core.errors import DataError
from whywrong.data.sources import open_source

datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")

NAMES = datasets.ClassLabel(names=["cat", "dog"])
TEXT, WHOLE, FLOAT = datasets.Value("string"), datasets.Value("int64"), datasets.Value("float64")


def save(folder: Path, image: str = "image", **columns):
    """Save a data set of two images; a column is (feature, two values)."""
    pictures = [{"bytes": encode(noise(6, 5, seed=seed)), "path": None} for seed in range(2)]
    values = {image: pictures} | {name: column[1] for name, column in columns.items()}
    features = {image: datasets.Image()} | {name: column[0] for name, column in columns.items()}
    datasets.Dataset.from_dict(values, features=datasets.Features(features)).save_to_disk(folder)
    return f"hf:{folder}"


def labels(source) -> list[str | None]:
    return [entry.label for entry in source.entries()]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": (NAMES, [1, 0])}, ["dog", "cat"]),
        ({"label": (TEXT, ["fox", "emu"])}, ["fox", "emu"]),
        ({"label": (WHOLE, [1, 0])}, ["1", "0"]),
        ({"label": (FLOAT, [1.0, 0.0])}, ["1", "0"]),
        ({"labels": (NAMES, [1, 0]), "caption": (TEXT, ["x", "y"])}, ["dog", "cat"]),
        ({"label": (TEXT, ["fox", "emu"]), "split": (NAMES, [0, 0])}, ["fox", "emu"]),
        ({}, [None, None]),
    ],
    ids=str,
)
def test_a_column_that_can_be_told_is_read(tmp_path, columns, expected):
    assert labels(open_source(save(tmp_path / "set", **columns))) == expected


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        ({"fine_label": (NAMES, [1, 0]), "coarse_label": (NAMES, [0, 0])}, "fine_label", ["dog", "cat"]),
        ({"class": (TEXT, ["fox", "emu"])}, "class", ["fox", "emu"]),
        ({"labels": (WHOLE, [1, 0])}, "labels", ["1", "0"]),
        ({"target": (FLOAT, [1.0, 0.0])}, "target", ["1", "0"]),
        ({"caption": (TEXT, ["a fox", "an emu"])}, "none", [None, None]),
    ],
    ids=str,
)
def test_a_column_that_cannot_be_told_is_asked_for_and_taken_by_option(tmp_path, columns, wanted, expected):
    name = save(tmp_path / "set", image="img", **columns)
    with pytest.raises(DataError, match=rf"--label-column.*{', '.join(columns)}"):
        open_source(name)
    source = open_source(name, label_column=wanted)
    assert labels(source) == expected
    assert all(source.read(entry) for entry in source.entries())
    assert labels(source.spec.open()) == expected


def test_two_images_in_a_row_are_asked_for(tmp_path):
    picture = {"bytes": encode(noise(6, 5, seed=9)), "path": None}
    name = save(tmp_path / "set", label=(NAMES, [1, 0]), mask=(datasets.Image(), [picture, picture]))
    with pytest.raises(DataError, match=r"--image-column.*image, mask"):
        open_source(name)
    source = open_source(name, image_column="mask")
    assert source.read(next(iter(source.entries()))) == picture["bytes"]


@pytest.mark.parametrize("option", ["image_column", "label_column"])
def test_a_column_that_is_missing_is_named_with_those_there_are(tmp_path, option):
    with pytest.raises(DataError, match='no column "colour"; the columns are image, label'):
        open_source(save(tmp_path / "set", label=(NAMES, [1, 0])), **{option: "colour"})


@pytest.mark.parametrize(("kind", "values"), [(FLOAT, [0.5, 1.0]), (WHOLE, [1, -2]), (TEXT, ["nan", "cat"])])
def test_a_label_that_is_no_class_stops_with_its_row(tmp_path, kind, values):
    with pytest.raises(DataError, match=r"row [01]: label"):
        open_source(save(tmp_path / "set", label=(kind, values)))


def test_a_saved_data_set_needs_no_prefix(tmp_path):
    save(tmp_path / "set", label=(NAMES, [1, 0]))
    datasets.DatasetDict({"test": datasets.load_from_disk(tmp_path / "set")}).save_to_disk(tmp_path / "splits")
    for folder in ("set", "splits"):
        source = open_source(tmp_path / folder)
        assert (source.spec.kind, source.spec.path) == ("hf", str(tmp_path / folder))
        assert source.label_counts == {"cat": 1, "dog": 1}


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Fail at any connection; keep what the library caches in a folder of its own."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("form", ["set", "set.parquet", "arrow", "images"])
def test_files_and_folders_of_this_machine_are_read_without_the_network(tmp_path, no_network, form):
    name = save(tmp_path / "set", label=(NAMES, [1, 0]))
    if form == "set.parquet":
        datasets.load_from_disk(tmp_path / "set").to_parquet(tmp_path / "set.parquet")
        name = f"hf:{tmp_path / 'set.parquet'}"
    elif form == "arrow":
        name = f"hf:{next((tmp_path / 'set').glob('*.arrow'))}"
    elif form == "images":
        for label in ("dog", "cat"):
            (tmp_path / "images" / label).mkdir(parents=True)
            (tmp_path / "images" / label / "0.png").write_bytes(encode(noise(6, 5)))
        name = f"hf:{tmp_path / 'images'}"
    source = open_source(name)
    assert sorted(labels(source)) == ["cat", "dog"]
    assert all(source.read(entry) for entry in source.entries())


@pytest.mark.parametrize(
    "name", ["./none", "/no/such/folder", "../none.parquet", "~/none", "a/b/c", "labels.csv", "x.npz"]
)
def test_what_is_not_there_or_no_data_set_stops_without_the_network(tmp_path, no_network, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("path,label\n")
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"no such file or folder|without hf:"):
        open_source(f"hf:{name}")


def test_a_saved_hugging_face_data_set_is_read(tmp_path):
    pictures = [encode(noise(6, 5, seed=seed)) for seed in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "emu"])})
    data = datasets.Dataset.from_dict(
        {"image": [{"bytes": picture, "path": None} for picture in pictures], "label": [1, 0, 1]}, features=features
    )
    datasets.DatasetDict({"train": data, "test": data.select([2, 0])}).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match="say which split"):
        open_source(f"hf:{tmp_path / 'set'}")
    source = open_source(f"hf:{tmp_path / 'set'}", split="test")
    entries = list(source.entries())
    assert [(entry.key, entry.label) for entry in entries] == [("test/0", "dog"), ("test/1", "dog")]
    assert source.class_names == ("cat", "dog", "emu")
    assert [source.read(entry) for entry in entries] == [pictures[2], pictures[0]]
    assert list(source.spec.open().entries()) == entries


def test_the_library_s_progress_bars_stay_off_and_are_as_before_afterwards(tmp_path, no_network, capfd):
    save(tmp_path / "set", label=(NAMES, [1, 0]))
    datasets.load_from_disk(tmp_path / "set").to_parquet(tmp_path / "set.parquet")
    capfd.readouterr()
    open_source(tmp_path / "set.parquet")
    assert "examples" not in capfd.readouterr().err
    assert not datasets.are_progress_bars_disabled()


def write_parquet(place: Path, **columns) -> Path:
    """A Parquet file without any mark of Hugging Face; its images are structs or bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), place)
    return place


@pytest.mark.parametrize("form", ["struct", "bytes", "arrow", "published"])
def test_files_with_images_in_them_need_no_prefix(tmp_path, no_network, form):
    pictures = [encode(noise(6, 5, seed=seed)) for seed in range(2)]
    if form == "struct":
        cells = [{"bytes": picture, "path": None} for picture in pictures]
        place = write_parquet(tmp_path / "set.parquet", image=cells, label=["dog", "cat"])
    elif form == "bytes":
        place = write_parquet(tmp_path / "set.parquet", jpg=pictures, label=["dog", "cat"])
    else:
        save(tmp_path / "set", label=(NAMES, [1, 0]))
        place = next((tmp_path / "set").glob("*.arrow"))
        if form == "published":
            (tmp_path / "hub" / "data").mkdir(parents=True)
            datasets.load_from_disk(tmp_path / "set").to_parquet(
                tmp_path / "hub" / "data" / "test-00000-of-00001.parquet"
            )
            place = tmp_path / "hub"
    source = open_source(place)
    assert source.spec.kind == "hf"
    assert labels(source) == ["dog", "cat"]
    assert [source.read(entry) for entry in source.entries()] == pictures
    assert labels(source.spec.open()) == ["dog", "cat"]


def test_a_table_of_paths_stays_one_whatever_bytes_it_has_beside_them(tmp_path):
    (tmp_path / "0.png").write_bytes(encode(noise(6, 5)))
    for column, values in (("embedding", [b"\x00\x01"]), ("path", [b"0.png"])):
        table = write_parquet(tmp_path / "labels.parquet", **{"path": ["0.png"], "label": ["cat"], column: values})
        assert open_source(table).spec.kind == "table"


def test_images_and_paths_in_one_file_are_asked_for(tmp_path, no_network):
    (tmp_path / "0.png").write_bytes(encode(noise(6, 5)))
    cell = {"bytes": encode(noise(6, 5, seed=1)), "path": None}
    table = write_parquet(tmp_path / "both.parquet", path=["0.png"], photo=[cell], label=["cat"])
    with pytest.raises(DataError, match=r'column "photo" holds images, column "path" paths; .*--image-column photo or'):
        open_source(table)
    assert open_source(table, image_column="path").spec.kind == "table"
    source = open_source(table, image_column="photo")
    assert source.read(next(source.entries())) == cell["bytes"]
