"""Arrays and shards are streamed; nothing is unpickled, nothing is unpacked."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.data.pictures import encode, noise

from whywrong.core.classes import ClassList
from whywrong.core.errors import BadItemError, DataError, InputError
from whywrong.data.sources import npy, open_source


def images(count: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 5, 4, channels), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_an_array_are_the_pixels(tmp_path, save):
    pixels, labels = images(), np.arange(12) % 3
    save(tmp_path / "x.npz", images=pixels, labels=labels, test_index=labels)
    source = open_source(tmp_path / "x.npz")
    entries = list(source.entries())
    assert [entry.key for entry in entries][:2] == ["images[0]", "images[1]"]
    assert [entry.label for entry in entries] == [str(label) for label in labels]
    assert entries[0].size == 60
    for row in (3, 0, 11, 5, 5):
        np.testing.assert_array_equal(source.read(entries[row]), pixels[row])
    assert source.ignored == {"array that is neither images nor labels": 1}
    source.close()
    np.testing.assert_array_equal(source.read(entries[2]), pixels[2])


def test_text_labels_and_grey_images_without_a_channel_axis(tmp_path):
    np.savez(tmp_path / "x.npz", images=images(3, 1)[..., 0], labels=np.array(["cat", "dög", "cat"]))
    source = open_source(tmp_path / "x.npz")
    assert source.class_names == ("cat", "dög")
    assert source.read(next(source.entries())).shape == (5, 4, 1)


def test_arrays_without_labels_are_unlabelled(tmp_path):
    np.savez(tmp_path / "x.npz", images=images(3))
    assert [entry.label for entry in open_source(tmp_path / "x.npz").entries()] == [None] * 3


def test_rows_in_any_order_come_from_snapshots(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "_SNAPSHOT_BYTES", 5000)
    monkeypatch.setattr(npy, "_CHUNK", 700)
    pixels = np.random.default_rng(0).integers(0, 8, (300, 10, 10, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=pixels)
    source = open_source(tmp_path / "x.npz")
    entries = list(source.entries())
    for row in np.random.default_rng(2).permutation(300).tolist() + list(range(300)):
        np.testing.assert_array_equal(source.read(entries[row]), pixels[row])


def read_all(path: Path) -> None:
    source = open_source(path)
    for entry in source.entries():
        source.read(entry)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("where", ["images", "labels"])
def test_object_arrays_are_refused_and_nothing_runs(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    arrays = {"images": images(2), "labels": np.arange(2)}
    arrays[where] = np.array([Bomb(), Bomb()], dtype=object)
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match="Python objects"):
        open_source(tmp_path / "x.npz")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "no array named images"),
        ({"images": np.zeros((2, 4, 4, 3), np.float32)}, "expected uint8"),
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, "expected uint8"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "no images"),
        ({"images": np.zeros((2, 0, 4, 3), np.uint8)}, "without pixels"),
        ({"images": np.asfortranarray(np.zeros((2, 5, 4, 3), np.uint8))}, "Fortran"),
        ({"images": images(3), "labels": np.arange(2)}, "3 images came with 2 labels"),
        ({"images": images(2), "labels": np.arange(3)}, "2 images came with 3 labels"),
        ({"images": images(3), "labels": np.array([0, -1, 2])}, "row 1: label -1"),
        ({"images": images(3), "labels": np.array([0.0, 1.5, 2.0])}, "row 1: label 1.5 is not a whole"),
        ({"images": images(3), "labels": np.array([0.0, np.nan, 2.0])}, "row 1: label 'nan'"),
        ({"images": images(3), "labels": np.array([0.0, np.inf, 2.0])}, "row 1: label 'inf'"),
        ({"images": images(3), "labels": np.array([True, False, True])}, "row 0: the label is True"),
        ({"images": images(3), "labels": np.array([0.0, -1.0, 2.0])}, "row 1: label -1.0"),
        ({"images": images(3), "labels": np.full((3, 3), 1 / 3)}, "must be one-hot"),
        ({"images": images(3), "labels": np.zeros((3, 2))}, "must be one-hot"),
        ({"images": images(3), "labels": np.ones((3, 2), bool)}, "must be one-hot"),
        ({"images": images(3), "labels": np.zeros((3, 1, 1), int)}, r"expected \(N,\)"),
    ],
)
def test_wrong_arrays_stop_with_the_place(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.0, 2.0, 1.0]),
        np.array([0, 2, 1], np.float16),
        np.array([[0], [2], [1]]),
        np.array([[0.0], [2.0], [1.0]]),
        np.eye(3)[[0, 2, 1]],
        np.eye(3, dtype=bool)[[0, 2, 1]],
        np.eye(3, dtype=np.uint8)[[0, 2, 1]],
        np.array(["0", "2.0", "1"]),
        np.array([b"0", b"2", b"1"]),
        np.array([["0"], ["2"], ["1"]]),
    ],
    ids=lambda labels: f"{labels.dtype} {labels.shape}",
)
def test_labels_of_arrays_are_read_in_every_unmistakable_form(tmp_path, labels):
    np.savez(tmp_path / "x.npz", images=images(3), labels=labels)
    source = open_source(tmp_path / "x.npz")
    assert [entry.label for entry in source.entries()] == ["0", "2", "1"]
    assert source.locate("2").endswith("labels[1]")


def test_an_unknown_class_names_its_row(tmp_path):
    np.savez(tmp_path / "x.npz", images=images(3), labels=np.array([0, 1, 9]))
    with pytest.raises(InputError, match=r'x.npz, labels\[2\]: class "9"'):
        open_source(tmp_path / "x.npz").match_labels(ClassList(("a", "b")))


def test_a_damaged_archive_stops(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"not an .npz file"):
        open_source(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\1\0\x10\0{'descr': boom}\n")
    with pytest.raises(DataError, match="unreadable header"):
        open_source(path)
    np.savez_compressed(path, images=images(40))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises((BadItemError, DataError), match=r"cannot be read|damaged"):
        read_all(path)


def test_a_member_that_says_more_rows_than_it_holds_stops(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000, 3)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", file.getvalue() + b"\0" * 100)
    with pytest.raises(DataError, match="expected for shape"):
        open_source(tmp_path / "x.npz")


def test_arrays_are_streamed_in_flat_memory(tmp_path):
    pixels = np.broadcast_to(noise(256, 256), (120, 256, 256, 3))  # 22 MiB inflated
    np.savez_compressed(tmp_path / "x.npz", images=pixels)
    del pixels
    tracemalloc.start()
    source = open_source(tmp_path / "x.npz")
    for entry in source.entries():
        source.read(entry)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_real_arrays_equal_numpy(shared_data):
    path = shared_data / "cifar10_test_a/test_lossless.npz"
    with np.load(path, allow_pickle=False) as archive:
        pixels, labels = archive["images"], archive["labels"]
    source = open_source(path)
    for row, entry in enumerate(source.entries()):
        assert entry.label == str(labels[row])
        np.testing.assert_array_equal(source.read(entry), pixels[row])
    assert source.classes_records is not None
    assert len(source.classes_records) == 10


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime = 5
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def shard(path: Path, first: int = 0, count: int = 3) -> None:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for number in range(first, first + count):
            add(archive, f"{number:04d}.png", encode(noise(6, 5, seed=number)))
            add(archive, f"{number:04d}.cls", str(number % 2).encode())


@pytest.mark.parametrize("names", [("a.tar", "b.tar"), ("a.tgz", "b.tar.gz")])
def test_shards_of_a_folder_are_one_source(tmp_path, names):
    for number, name in enumerate(names):
        shard(tmp_path / name, number * 3)
    source = open_source(tmp_path)
    entries = list(source.entries())
    assert [entry.key for entry in entries] == [f"{names[n // 3]}/{n:04d}.png" for n in range(6)]
    assert [entry.label for entry in entries] == ["0", "1", "0", "1", "0", "1"]
    for number in (4, 0, 5, 1):
        assert source.read(entries[number]) == encode(noise(6, 5, seed=number))
    again = source.spec.open()
    assert again.read(entries[3]) == encode(noise(6, 5, seed=3))
    source.close()
    assert source.read(entries[0])


def test_labels_in_json_and_masks_belong_to_their_sample(tmp_path):
    mask = encode(np.eye(5, dtype=np.uint8))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "d/1.json", json.dumps({"label": "cat"}).encode())
        add(archive, "d/1.mask.png", mask)
        add(archive, "d/1.jpg", encode(noise(5, 5), "JPEG"))
        add(archive, "d/2.txt", b"no image")
    source = open_source(tmp_path / "x.tar")
    (entry,) = source.entries()
    assert (entry.key, entry.label) == ("x.tar/d/1.jpg", "cat")
    assert source.read_mask(entry) == mask
    assert source.ignored == {"sample without an image": 1}


def test_members_that_are_links_or_devices_are_never_read_and_nothing_is_written(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with tarfile.open(folder / "x.tar", "w") as archive:
        add(archive, "../evil.png", encode(noise(4, 4)))
        add(archive, "/abs.png", encode(noise(4, 4)))
        add(archive, "link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "hard.png", type=tarfile.LNKTYPE, linkname="../evil.png")
        add(archive, "pipe.png", type=tarfile.FIFOTYPE)
        add(archive, "sub/../../evil.png", encode(noise(4, 4)))
        add(archive, "http://host/a.png", encode(noise(4, 4)))
        add(archive, "sub/good.png", encode(noise(4, 4)))
    source = open_source(folder)
    *wrong, good = source.entries()
    assert len(wrong) == 4
    for entry in wrong:
        with pytest.raises(BadItemError, match="outside the data"):
            source.read(entry)
    assert source.read(good)
    assert source.ignored == {"member that is not a plain file": 3}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.tar"]


def test_a_cut_shard_or_a_repeated_member_stops(tmp_path):
    shard(tmp_path / "x.tar")
    data = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(data[:700])
    with pytest.raises((DataError, BadItemError), match=r"truncated|not a readable"):
        read_all(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "y.tar", "w") as archive:
        add(archive, "a.png", b"1")
        add(archive, "a.png", b"2")
    with pytest.raises(DataError, match=r'"a.png" stands 2 times'):
        open_source(tmp_path / "y.tar")


@pytest.mark.parametrize(
    ("suffix", "text", "label"),
    [("cls", "2.0", "2"), ("cls", "007", "007"), ("cls", "-ish", "-ish"), ("json", '{"label": 2.0}', "2")],
)
def test_labels_of_shards_are_read_as_those_of_tables(tmp_path, suffix, text, label):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "1.png", encode(noise(4, 4)))
        add(archive, f"1.{suffix}", text.encode())
    assert [entry.label for entry in open_source(tmp_path / "x.tar").entries()] == [label]


@pytest.mark.parametrize("label", ["-1", "nan", "", "1.5"])
def test_a_label_that_is_no_class_stops_with_its_member(tmp_path, label):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "1.png", encode(noise(4, 4)))
        add(archive, "1.cls", label.encode())
    with pytest.raises(DataError, match=r'x.tar, member "1.cls"'):
        open_source(tmp_path / "x.tar")
