"""Files are judged by their first kilobyte and their size; nothing large is read or unfolded for nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.pictures import encode, noise, png, write

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.sources import open_source, shards
from whywrong.data.sources.base import spread

GIGA = 2**30
HEADS = {
    "zeros": (b"", "not an image: unknown content"),
    "text": (b"hello " * 40, "not an image: unknown content"),
    "html": (b"<!doctype html>", "not an image: the file is HTML"),
    "png": (png(4, 4)[:40], "PNG of"),
    "jpeg": (b"\xff\xd8\xff\xe0", "JPEG of"),
    "gif": (b"GIF89a", "GIF of"),
    "webp": (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP of"),
    "bmp": (b"BM" + bytes(12) + b"\x28\0\0\0", "BMP of"),
    "tiff": (b"II*\0", "TIFF of"),
    "ppm": (b"P6 4 4 255\n", "PPM of"),
    "zip": (b"PK\x03\x04", "format not allowed: zip archive"),
}


def read_cheaply(source, entry, reason):
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(BadItemError, match=reason):
            source.read(entry)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize("name", HEADS)
def test_a_file_of_a_gigabyte_is_refused_by_its_first_kilobyte(tmp_path, name):
    head, reason = HEADS[name]
    (tmp_path / "cat").mkdir()
    with open(tmp_path / "cat" / "a.png", "wb") as file:
        file.write(head)
        file.truncate(GIGA - 1)  # sparse: no disk is used
    source = open_source(tmp_path)
    read_cheaply(source, next(source.entries()), reason)


def test_a_larger_cap_of_pixels_lets_larger_files_pass(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(encode(noise(700, 700)))  # 1.5 MB of noise
    source = open_source(tmp_path)
    (entry,) = source.entries()
    with pytest.raises(BadItemError, match=r"PNG of 14\d+ bytes; images of at most 1000 pixels"):
        source.read(entry, 1000)
    assert len(source.read(entry)) > 2**20


def packed(path, *members):
    """A shard of (name, head, size): each member is the head, and zeros."""
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else open(path, "wb") as out:
        for name, head, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            out.write(info.tobuf())
            out.write(head)
            for start in range(len(head), size, 2**20):
                out.write(bytes(min(2**20, size - start)))
            out.write(bytes(-size % 512))
        out.write(bytes(1024))
    return path


@pytest.mark.parametrize("name", ["zeros", "png", "html"])
def test_a_member_of_a_hundred_megabytes_in_a_small_shard_is_refused_cheaply(tmp_path, name):
    head, reason = HEADS[name]
    path = packed(tmp_path / "b.tar.gz", ("a.png", head, 300 * 2**20), ("b.png", encode(noise(4, 4)), 200))
    source = open_source(path)
    first, second = source.entries()
    with pytest.raises(BadItemError, match=reason):
        source.read(first)
    assert source.read(second)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz"])
def test_a_shard_that_unfolds_to_a_thousand_times_its_size_stops(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(shards, "_LEAST_UNFOLDED", 2**20)
    packed(tmp_path / "b.tar.gz", ("a.png", b"", 64 * 2**20), ("b.png", b"", 64 * 2**20)).rename(
        tmp_path / f"b{suffix}"
    )
    with pytest.raises(DataError, match="unfolds to more than"):
        open_source(tmp_path / f"b{suffix}")


def test_a_gzip_stream_without_an_end_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_LEAST_UNFOLDED", 2**20)
    info = tarfile.TarInfo("a.png")
    info.size = 2**40
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(2**24)))
    with pytest.raises(DataError, match="unfolds to more than"):
        open_source(tmp_path / "b.tar.gz")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_threads_that_read_one_shard_get_their_own_members(tmp_path, suffix):
    pictures = {f"{n:03d}.png": encode(noise(64, 64, seed=n)) for n in range(40)}
    with tarfile.open(tmp_path / f"a{suffix}", "w:gz" if suffix.endswith("gz") else "w") as archive:
        for name, data in pictures.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    source = open_source(tmp_path / f"a{suffix}")
    entries = list(source.entries())
    wrong: list[str] = []

    def read(part):
        wrong.extend(e.key for e in part if source.read(e) != pictures[e.key.rpartition("/")[2]])

    threads = [threading.Thread(target=read, args=(entries[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("byte", [4, 12, 20, 40, -60, -12, -6])
def test_a_damaged_parquet_manifest_stops_and_is_named(tmp_path, byte):
    write(tmp_path / "img" / "a.png")
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a.png"], "label": [1]}), path)
    data = bytearray(path.read_bytes())
    data[byte] ^= 0xFF
    path.write_bytes(bytes(data))
    try:
        source = open_source(tmp_path / "img", manifest=path)
    except DataError as error:
        said = str(error)
    else:  # the flip met a byte that no reader needs
        said = f"m.parquet gives {[(entry.key, entry.label) for entry in source.entries()]}"
    assert "m.parquet" in said


def test_the_damaged_page_of_a_parquet_manifest_is_no_raw_error(tmp_path):
    write(tmp_path / "img" / "a.png")
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a.png"], "label": [1]}), path)
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"m.parquet: not a readable Parquet file"):
        open_source(tmp_path / "img", manifest=path)


def test_images_of_an_archive_above_the_cap_are_items(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 40, 50), np.uint8), labels=np.array([0, 1]))
    source = open_source(tmp_path / "a.npz")
    with pytest.raises(BadItemError, match="too many pixels: 50 x 40, the cap is 1999"):
        source.read(next(source.entries()), 1999)
    assert source.read(next(source.entries()), 2000).shape == (40, 50, 1)


def test_labels_of_a_megabyte_each_stop(tmp_path):
    labels = np.array(["a", "b"]).astype("<U300000")
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=labels)
    with pytest.raises(DataError, match="labels of 1200000 bytes each"):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize(("total", "count"), [(127, 64), (128, 64), (65, 64), (10, 64), (1000, 7), (3, 1)])
def test_a_spread_choice_reaches_over_the_whole_listing(total, count):
    chosen = list(spread(range(total), total, count))  # type: ignore[arg-type,type-var]
    assert len(chosen) == min(total, count)
    assert chosen == sorted(set(chosen))
    gaps = np.diff([*chosen, total])
    assert gaps.max() - gaps.min() <= 1
