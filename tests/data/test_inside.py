"""Rows that name something outside the data are items with a reason, and are never opened."""

from __future__ import annotations

import builtins
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.pictures import encode, noise, write

from whywrong.core.errors import BadItemError, DataError
from whywrong.core.input_spec import InputSpec
from whywrong.data.items import load_item
from whywrong.data.sources import open_source
from whywrong.data.sources.base import Entry

OUTSIDE = [
    "/etc/hostname",
    "../secret.png",
    "sub/../../secret.png",
    "..\\secret.png",
    "C:\\secret.png",
    "\\\\host\\share\\secret.png",
    "file:///etc/hostname",
    "http://127.0.0.1:9/a.png",
    "s3://bucket/a.png",
    "zip://a.png::http://127.0.0.1:9/b.zip",
    "link.png",
    "linked/secret.png",
]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    write(folder / "a.png")
    write(folder / "sub" / "b.png", seed=1)
    write(tmp_path / "secret.png", seed=2)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path)
    return folder


@pytest.fixture
def opened(monkeypatch):
    """Paths that anything opens, by either door."""
    seen: list[str] = []
    plain_open, plain_os_open = builtins.open, os.open

    def note(path):
        seen.append(os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else "")

    monkeypatch.setattr(builtins, "open", lambda file, *a, **k: (note(file), plain_open(file, *a, **k))[1])
    monkeypatch.setattr(os, "open", lambda path, *a, **k: (note(path), plain_os_open(path, *a, **k))[1])
    return seen


def manifest(folder, name, rows, column="path"):
    path = folder.parent / name
    if name.endswith(".csv"):
        path.write_text(f"{column},label\n" + "".join(f'"{row}",{label}\n' for row, label in rows))
    else:
        columns = {column: [row for row, _ in rows], "label": [label for _, label in rows]}
        pq.write_table(pa.table(columns), path)
    return path


def refused(source, entry, opened):
    opened.clear()
    with pytest.raises(BadItemError, match="outside the data"):
        source.read(entry)
    assert not [path for path in opened if "secret" in path or "hostname" in path]


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize("path", OUTSIDE)
def test_a_row_of_a_manifest_that_leads_out_is_an_item_and_its_neighbours_are_read(images, opened, name, path):
    table = manifest(images, name, [("a.png", "cat"), (path, "dog"), ("sub/b.png", "cat")])
    source = open_source(images, manifest=table)
    first, wrong, last = source.entries()
    assert (wrong.size, wrong.mtime_ns, source.stat(wrong)) == (0, 0, None)
    assert source.read(first)
    assert source.read(last)
    refused(source, wrong, opened)
    (text,) = [text for text in source.warnings if "outside the data" in text]
    assert text.startswith("1 row names something outside the data, which is not read; ")
    assert "leads out of" in text


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_table_of_nothing_but_such_rows_stops(images, path):
    with pytest.raises(DataError, match="leads out of"):
        open_source(images, manifest=manifest(images, "labels.csv", [(path, "cat")]))


@pytest.mark.parametrize("path", ["/etc/hostname", "../secret.png", "link.png", "linked/secret.png"])
def test_a_listing_of_somebody_else_cannot_name_files_outside_either(images, opened, path):
    table = manifest(images, "labels.csv", [("a.png", "cat")])
    for source in (open_source(images, manifest=table), open_source(images / "sub"), open_source(images)):
        refused(source, Entry(path if source.spec.kind == "table" else f"../{path}", "cat", 9, 9), opened)


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_mask_outside_is_noted_and_the_image_counts(images, path):
    table = images.parent / "labels.csv"
    table.write_text(f'path,label,mask\na.png,cat,"{path}"\n')
    source = open_source(images, manifest=table)
    item = load_item(source, next(source.entries()), InputSpec(height=8, width=8))
    assert item.mask is None
    assert any(note.startswith("mask not used: outside the data") for note in item.notes)


def test_links_may_be_allowed_and_urls_never(images):
    rows = [
        ("link.png", "a"),
        ("../secret.png", "b"),
        (str(images.parent / "secret.png"), "c"),
        ("http://h/a.png", "d"),
    ]
    source = open_source(images, manifest=manifest(images, "labels.csv", rows), follow_links=True)
    *good, url = source.entries()
    assert len({source.read(entry) for entry in good}) == 1
    with pytest.raises(BadItemError, match="a URL, which is never fetched"):
        source.read(url)


def hugging_face(tmp_path, paths):
    datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    saved = [
        datasets.Dataset.from_dict({"image": cells, "label": [0] * len(paths)}, features=features)
        for cells in ([{"bytes": b"", "path": None}] * len(paths), [{"bytes": None, "path": path} for path in paths])
    ]
    saved[0].save_to_disk(str(tmp_path / "set"))
    (file,) = (tmp_path / "set").glob("*.arrow")  # the library would put the files' bytes in; somebody else does not
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, saved[1].data.schema) as writer:
        writer.write_table(saved[1].data.table)
    return tmp_path / "set"


@pytest.mark.parametrize("path", [path for path in OUTSIDE if "link" not in path])
def test_a_row_of_a_hugging_face_data_set_that_leads_out_is_never_read(tmp_path, opened, path):
    write(tmp_path / "secret.png")
    folder = hugging_face(tmp_path, [path, "inside.png"])
    write(folder / "inside.png")
    source = open_source(f"hf:{folder}")
    wrong, good = source.entries()
    refused(source, wrong, opened)
    assert source.read(good) == (folder / "inside.png").read_bytes()


def test_links_in_a_hugging_face_data_set_are_not_followed_unless_allowed(tmp_path):
    write(tmp_path / "secret.png")
    folder = hugging_face(tmp_path, ["link.png"])
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    source = open_source(f"hf:{folder}")
    (entry,) = source.entries()
    with pytest.raises(BadItemError, match="outside the data"):
        source.read(entry)
    allowed = open_source(f"hf:{folder}", follow_links=True)
    assert allowed.read(entry) == (tmp_path / "secret.png").read_bytes()


def test_members_of_an_archive_of_arrays_are_read_by_name_only(tmp_path):
    import numpy as np

    np.savez(
        tmp_path / "a.npz",
        **{
            "images": noise(4, 4)[None],
            "labels": np.array(["x"]),
            "../images": noise(4, 4)[None],
            "/etc/x": np.ones(1),
        },
    )
    source = open_source(tmp_path / "a.npz")
    assert [entry.key for entry in source.entries()] == ["images[0]"]
    assert source.ignored == {"array that is neither images nor labels": 2}


def test_an_entry_is_found_by_its_real_folder_also_behind_a_link_to_the_data(images, tmp_path):
    (tmp_path / "alias").symlink_to(images)
    source = open_source(tmp_path / "alias" / "sub")
    (entry,) = source.entries()
    assert source.read(entry) == (images / "sub" / "b.png").read_bytes()
    with pytest.raises(BadItemError, match="outside"):
        source.read(replace(entry, key="../a.png"))
    assert encode(noise(8, 8, seed=1)) == source.read(entry)
