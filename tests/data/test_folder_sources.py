"""Folders as they really are: odd names, links, pipes, files that vanish, a million entries."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import socket
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tests.data.pictures import encode, noise, write

from whywrong.core.errors import BadItemError, DataError
from whywrong.core.input_spec import InputSpec
from whywrong.data import files
from whywrong.data.files import path_bytes, read_regular, sorted_bytes, to_text
from whywrong.data.items import load_item
from whywrong.data.sources import open_source

SPEC = InputSpec(height=8, width=8)


def keys(source) -> list[str]:
    return [entry.key for entry in source.entries()]


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    for label, names in {"cat": ["b.png", "a.png"], "ant": ["deep/x.png", "c.png"]}.items():
        for seed, name in enumerate(names):
            write(tmp_path / label / name, seed=seed)
    return tmp_path


def test_class_folders_give_sorted_entries_with_their_labels(two_classes):
    source = open_source(two_classes)
    found = [(entry.key, entry.label) for entry in source.entries()]
    assert found == [("ant/c.png", "ant"), ("ant/deep/x.png", "ant"), ("cat/a.png", "cat"), ("cat/b.png", "cat")]
    assert source.class_names == ("ant", "cat")
    assert source.label_counts == {"ant": 2, "cat": 2}
    assert len(source) == 4
    assert source.warnings == ()
    entry = next(source.entries())
    assert entry.size == (two_classes / entry.key).stat().st_size
    assert entry.mtime_ns == (two_classes / entry.key).stat().st_mtime_ns
    assert entry.item_id == hashlib.sha256(b"ant/c.png").hexdigest()[:20]


def test_a_source_travels_to_a_worker(two_classes):
    source = open_source(two_classes)
    again = pickle.loads(pickle.dumps(source.spec)).open()
    assert list(again.entries()) == list(source.entries())
    entry = next(again.entries())
    assert again.read(entry) == (two_classes / "ant/c.png").read_bytes()
    assert json.loads(json.dumps(source.spec.to_dict()))["path"] == str(two_classes)


def test_a_flat_folder_without_labels_says_that_nothing_can_be_judged(tmp_path):
    write(tmp_path / "b.png")
    write(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("x")
    source = open_source(tmp_path)
    assert [(entry.key, entry.label) for entry in source.entries()] == [("a.jpg", None), ("b.png", None)]
    assert "have no label" in source.warnings[0]
    assert source.ignored == {"not an image by its name": 1}


def test_an_empty_data_set_stops_with_its_path(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        open_source(tmp_path)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"x")
    with pytest.raises(DataError, match="hidden"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "absent")


def test_an_empty_class_folder_warns_and_stays_a_class(two_classes):
    (two_classes / "bee").mkdir()
    source = open_source(two_classes)
    assert source.class_names == ("ant", "bee", "cat")
    assert source.label_counts["bee"] == 0
    assert source.warnings == ("1 of 3 class folders hold no images: bee",)


def test_hidden_and_system_files_are_ignored_and_counted(two_classes):
    for name in (".DS_Store", "Thumbs.db", "._a.png", "desktop.ini"):
        (two_classes / "cat" / name).write_bytes(b"x")
    write(two_classes / "__MACOSX" / "cat" / "a.png")
    source = open_source(two_classes)
    assert len(source) == 4
    assert source.ignored == {"hidden or system file": 5}
    assert source.class_names == ("ant", "cat")


def test_counts_do_not_grow_when_the_listing_is_read_again(two_classes):
    (two_classes / "cat" / ".x.png").write_bytes(b"x")
    source = open_source(two_classes)
    list(source.entries())
    list(source.entries())
    assert source.ignored == {"hidden or system file": 1}


def test_images_outside_the_class_folders_are_counted(two_classes):
    write(two_classes / "stray.png")
    source = open_source(two_classes)
    assert len(source) == 4
    assert "1 images lie outside the class folders" in source.warnings[0]


def test_a_folder_around_the_class_folders_is_told_apart(tmp_path):
    write(tmp_path / "images" / "cat" / "a.png")
    with pytest.raises(DataError, match=r"give .*images"):
        open_source(tmp_path)


ODD_NAMES = [
    "é ü ß.png".encode(),
    "猫の写真.png".encode(),
    "🦊🎉.png".encode(),
    "שלום عالم.png".encode(),
    "\u202egnp.exe.png".encode(),
    b"line\nbreak.png",
    b"tab\t'quote\"{{ }}.png",
    b"-rf.png",
    b"--help",
    b"x" * 251 + b".png",
    b"invalid \xff\xfe utf8.png",
    b"<script>alert(1)&.png",
]


def test_odd_names_load_and_survive_json(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"cl\xe4ss")
    os.mkdir(folder)
    data = encode(noise(8, 8))
    for name in ODD_NAMES:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    source = open_source(tmp_path)
    entries = list(source.entries())
    assert [path_bytes(entry.key) for entry in entries] == sorted(b"cl\xe4ss/" + name for name in ODD_NAMES)
    assert len({entry.item_id for entry in entries}) == len(ODD_NAMES)
    for entry in entries:
        assert load_item(source, entry, SPEC).pixels.shape == (3, 8, 8)
        assert json.loads(json.dumps(entry.key)) == entry.key
        shown = to_text(entry.key)
        shown.encode("utf-8")
        assert not any(ord(c) < 32 or 0x202A <= ord(c) <= 0x202E for c in shown)
    assert to_text(entries[0].label) == "cl\\xe4ss"


def test_names_that_differ_only_in_case_are_both_kept(tmp_path):
    write(tmp_path / "a" / "X.png", seed=1)
    write(tmp_path / "a" / "x.png", seed=2)
    assert keys(open_source(tmp_path)) == ["a/X.png", "a/x.png"]


@pytest.fixture
def linked(two_classes, tmp_path_factory) -> Path:
    outside = tmp_path_factory.mktemp("outside")
    write(outside / "far.png", seed=7)
    write(outside / "folder" / "far2.png", seed=8)
    (two_classes / "cat" / "inside.png").symlink_to(two_classes / "cat" / "a.png")
    (two_classes / "cat" / "out.png").symlink_to(outside / "far.png")
    (two_classes / "cat" / "outdir").symlink_to(outside / "folder")
    (two_classes / "cat" / "loop").symlink_to(two_classes / "cat")
    return two_classes


def test_links_out_of_the_folder_are_not_followed_by_default(linked):
    source = open_source(linked)
    assert [key for key in keys(source) if key.startswith("cat")] == ["cat/a.png", "cat/b.png", "cat/inside.png"]
    assert source.ignored == {"symbolic link, not followed": 3}
    assert "follow_links" in source.warnings[0]


def test_links_are_followed_with_the_option_and_loops_end(linked):
    source = open_source(linked, follow_links=True)
    assert [key for key in keys(source) if key.startswith("cat")] == [
        "cat/a.png",
        "cat/b.png",
        "cat/inside.png",
        "cat/out.png",
        "cat/outdir/far2.png",
    ]
    assert source.ignored == {"link loop": 1}


def test_pipes_and_sockets_are_never_opened(two_classes, monkeypatch):
    os.mkfifo(two_classes / "cat" / "pipe.png")
    end = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(two_classes / "cat")
    end.bind("socket.png")
    (two_classes / "cat" / "zlink.png").symlink_to("pipe.png")
    source = open_source(two_classes)
    assert len(source) == 4
    assert source.ignored["pipe, device or socket"] == 2
    with pytest.raises(BadItemError, match="not a regular file"):
        read_regular(os.fsencode(two_classes / "cat" / "pipe.png"))
    end.close()


def test_a_file_that_becomes_a_pipe_after_the_listing_does_not_hang(two_classes):
    source = open_source(two_classes)
    entry = next(source.entries())
    (two_classes / entry.key).unlink()
    os.mkfifo(two_classes / entry.key)
    with pytest.raises(BadItemError, match="not a regular file"):
        source.read(entry)


def test_a_vanished_file_is_an_item(two_classes):
    source = open_source(two_classes)
    entry = next(source.entries())
    (two_classes / entry.key).unlink()
    with pytest.raises(BadItemError, match="vanished"):
        source.read(entry)
    assert source.stat(entry) is None


def test_a_file_that_vanishes_during_the_listing_is_still_an_item(two_classes, monkeypatch):
    real = os.stat
    gone = os.fsencode(two_classes / "cat/a.png")

    def stat(path, *args, **kwargs):
        if path == gone:
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    entry = next(entry for entry in open_source(two_classes).entries() if entry.key == "cat/a.png")
    assert (entry.size, entry.mtime_ns) == (0, 0)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_an_unreadable_file_is_an_item(two_classes, monkeypatch, code):
    source = open_source(two_classes)
    entry = next(source.entries())

    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(BadItemError, match=os.strerror(code)):
        source.read(entry)


def test_a_folder_that_cannot_be_listed_stops(two_classes, monkeypatch):
    real = os.scandir

    def scandir(path):
        if path.endswith(b"cat"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="cat: the folder cannot be listed: Permission denied"):
        open_source(two_classes)


def test_a_file_above_the_byte_cap_is_not_read(two_classes):
    path = os.fsencode(two_classes / "cat/a.png")
    with pytest.raises(BadItemError, match="the cap is 10"):
        read_regular(path, limit=10)


def test_classes_json_is_found_in_the_folder_and_just_above(two_classes):
    assert open_source(two_classes).classes_records is None
    (two_classes.parent / "classes.json").unlink(missing_ok=True)
    (two_classes / "classes.json").write_text('["ant", "cat"]')
    assert open_source(two_classes).classes_records == ["ant", "cat"]
    assert len(open_source(two_classes / "cat").classes_records or []) == 2
    (two_classes / "classes.json").write_text('["ant",\n "cat"')
    with pytest.raises(DataError, match=r"classes.json line 2"):
        _ = open_source(two_classes).classes_records


def test_a_zip_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\5\6" + b"\0" * 18)
    with pytest.raises(DataError, match="unpack it"):
        open_source(tmp_path / "x.zip")


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_sorting_beyond_the_memory_chunk_gives_the_same_order(chunk):
    generator = np.random.default_rng(0)
    items = [bytes(generator.integers(0, 256, generator.integers(0, 9), dtype=np.uint8)) for _ in range(200)]
    assert list(sorted_bytes(iter(items), chunk)) == sorted(items)


def _many(folder: Path, count: int) -> float:
    """Peak of the listing of ``count`` empty files, in MiB."""
    folder.mkdir()
    for number in range(count):
        os.close(os.open(folder / f"{number * 7919 % count:07d}.png", os.O_CREAT | os.O_WRONLY))
    tracemalloc.start()
    source = open_source(folder)
    previous, number = "", 0
    for entry in source.entries():
        assert entry.key > previous
        previous, number = entry.key, number + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == count == len(source)
    return peak / 2**20


def test_the_listing_of_one_folder_is_flat_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sorted_bytes, "__defaults__", (300,))
    small, large = _many(tmp_path / "a", 500), _many(tmp_path / "b", 2500)
    assert large < small * 1.5 + 0.2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_paths_are_listed_in_flat_memory(tmp_path):
    assert _many(tmp_path / "a", 1_000_000) < 40


@pytest.mark.parametrize(
    ("parts", "best"),
    [
        (("train", "val"), "val"),
        (("train", "test"), "test"),
        (("test", "train", "validation"), "validation"),
        (("Train", "Valid"), "Valid"),
        (("training", "eval", "classes"), "eval"),
    ],
)
def test_parts_of_a_data_set_are_not_its_classes(tmp_path, parts, best):
    for part in parts:
        for name in ("cat", "dog"):
            write(tmp_path / f"{part}/{name}/0.png")
    with pytest.raises(DataError, match=rf"parts of a data set, not classes; give one of them, as .*/{best}$"):
        open_source(tmp_path)
    assert open_source(tmp_path / best).class_names == ("cat", "dog")


@pytest.mark.parametrize("names", [("train", "bus"), ("test", "train", "tram"), ("val",)])
def test_classes_that_are_called_like_a_part_stay_classes(tmp_path, names):
    for name in names:
        write(tmp_path / f"{name}/0.png")
    assert open_source(tmp_path).class_names == tuple(sorted(names))


@pytest.mark.parametrize("linked", ["folders", "some folders", "files"])
def test_links_that_are_passed_over_name_the_option(tmp_path, linked):
    for name in ("cat", "dog"):
        write(tmp_path / "real" / f"{name}/0.png")
    (tmp_path / "data").mkdir()
    if linked == "files":
        (tmp_path / "data" / "cat").mkdir()
        (tmp_path / "data" / "cat" / "0.png").symlink_to(tmp_path / "real" / "cat" / "0.png")
    else:
        (tmp_path / "data" / "cat").symlink_to(tmp_path / "real" / "cat")
    if linked == "some folders":
        write(tmp_path / "data" / "dog/0.png")
        assert any("--follow-links" in text for text in open_source(tmp_path / "data").warnings)
    else:
        with pytest.raises(DataError, match="--follow-links"):
            open_source(tmp_path / "data")
    assert "cat" in open_source(tmp_path / "data", follow_links=True).class_names
