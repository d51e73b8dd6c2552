"""The listing: duplicates, changes, membership, names of any bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.runs import kit

from whywrong.data.sources import open_source
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.shards import read_table, shard_name

FACTS = {"run": "r", "result_version": 1}


def _again(folder: Path, out: Path, **settings: object) -> tuple[RunFolder, int]:
    """The run once more, and the images that went through the model for it."""
    classifier = kit.reader()
    run = kit.diagnosed(out, open_source(folder), classifier=classifier, **settings)
    return run, classifier.forwards


def test_a_copy_is_computed_once_and_shown_under_both_names(tmp_path):
    source = kit.folder_source(tmp_path / "data", 20)
    run = kit.diagnosed(tmp_path / "run", source)
    wrong = run.query("select key, label_name from errors order by key limit 1").to_pylist()[0]
    original = tmp_path / "data" / wrong["key"]
    shutil.copy2(original, original.with_name("copy of it.png"))
    shutil.copy2(original, tmp_path / "data" / "dog" / "same pixels, other label.png")
    copied, forwards = _again(tmp_path / "data", tmp_path / "run")
    relabelled = wrong["label_name"] != "dog"
    rows = copied.query("select key, predicted, same_as, image_id, item_id from errors").to_pylist()
    twin = next(row for row in rows if "copy of it" in row["key"])
    first = next(row for row in rows if row["key"] == wrong["key"])
    assert twin["same_as"] == first["item_id"]
    assert (twin["predicted"], twin["image_id"]) == (first["predicted"], first["image_id"])
    assert copied.thumb(twin["item_id"]) == copied.thumb(first["item_id"])
    stub = copied.query("select key, level, draw from stub").to_pylist()
    assert len({(row["level"], row["draw"]) for row in stub if row["key"] in (twin["key"], first["key"])}) == 1
    # Only the image under another label is another item: one prediction, and two passes of the stub if it is wrong.
    other = [row for row in rows if "other label" in row["key"]]
    assert forwards == (1 + 2 * len(other) if relabelled else 0)


def test_changed_pixels_and_labels_are_redone_and_nothing_else(tmp_path):
    data = tmp_path / "data"
    before = kit.diagnosed(tmp_path / "run", kit.folder_source(data, 30))
    rows = {row["key"]: row for row in before.query("select * from predictions").to_pylist()}
    keys = sorted(rows)
    right = [key for key in keys if rows[key]["label"] == rows[key]["predicted"]]
    os.utime(data / right[0])  # touched, not changed
    pixels = np.asarray(Image.open(data / right[1])).copy()
    pixels[0, 0, :] = (rows[right[1]]["label"] + 1) % kit.K  # now it is read as the next class
    Image.fromarray(pixels).save(data / right[1])
    after, forwards = _again(data, tmp_path / "run")
    new = {row["key"]: row for row in after.query("select * from predictions").to_pylist()}
    assert {key for key in keys if new[key] != rows[key]} == {right[1]}
    assert new[right[1]]["predicted"] == (rows[right[1]]["label"] + 1) % kit.K
    assert forwards == 1 + 2  # its prediction, and the stub on the new error
    assert right[1] in after.query("select key from stub")["key"].to_pylist()
    _, forwards = _again(data, tmp_path / "run")
    assert forwards == 0


def test_a_changed_label_is_redone(tmp_path):
    pixels, labels = kit.images(20)
    kit.diagnosed(tmp_path / "run", kit.saved(tmp_path, pixels, labels))
    labels = labels.copy()
    labels[7] = (pixels[7, 0, 0, 0] + 1) % kit.K
    kit.saved(tmp_path, pixels, labels)
    run, forwards = _again(tmp_path / "data.npz", tmp_path / "run")
    row = run.query("select label, predicted from errors where key = 'images[7]'").to_pylist()
    assert row == [{"label": labels[7], "predicted": pixels[7, 0, 0, 0]}]
    assert forwards == 1 + 2


def test_new_items_join_and_lost_ones_leave_without_moving_the_others(tmp_path):
    data = tmp_path / "data"
    kit.folder_source(data, 30)
    held = sorted(data.rglob("*.png"))[::4]
    aside = tmp_path / "aside"
    aside.mkdir()
    for path in held:
        path.rename(aside / f"{path.parent.name}-{path.name}")
    first, _ = _again(data, tmp_path / "run")
    members = {index: read_table(first.items / shard_name(index))["item_id"].to_pylist() for index in first.shards()}
    for path in held:
        (aside / f"{path.parent.name}-{path.name}").rename(path)
    gone = sorted(set(data.rglob("*.png")) - set(held))[0]
    gone.unlink()
    second, _ = _again(data, tmp_path / "run")
    assert len(second.query("select * from predictions")) == 29
    for index, items in members.items():
        now = read_table(second.items / shard_name(index))["item_id"].to_pylist()
        assert [item for item in now if item in items] == [item for item in items if item in now]
        assert len(now) <= kit.SHARD
    fresh, _ = _again(data, tmp_path / "fresh")
    assert kit.tables(second)["predictions"] == kit.tables(fresh)["predictions"]


def test_a_lost_shard_of_the_listing_is_restored_with_its_members(tmp_path):
    run = kit.diagnosed(tmp_path / "run", kit.folder_source(tmp_path / "data", 30))
    before = kit.tables(run)
    (run.items / shard_name(1)).unlink()
    after, forwards = _again(tmp_path / "data", tmp_path / "run")
    assert forwards == 0
    assert kit.tables(after) == before


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
def test_names_of_any_bytes_are_shown_escaped_and_read_again(tmp_path):
    data = tmp_path / "data"
    kit.folder_source(data, 8)
    some = sorted(data.rglob("*.png"))[0]
    for name in (b"caf\xe9.png", b"new\nline.png", "\u202eright to left.png".encode(), b"'quote\".png", b"-dash.png"):
        shutil.copy(some, os.fsencode(some.parent) + b"/" + name)
    run, _ = _again(data, tmp_path / "run")
    rows = run.query("select key, status, notes from predictions").to_pylist()
    assert all(row["status"] == "ok" for row in rows)
    keys = " ".join(row["key"] for row in rows)
    assert "caf\\xe9.png" in keys
    assert "new\\nline.png" in keys
    assert "\\u202e" in keys
    again, forwards = _again(data, tmp_path / "run")
    assert forwards == 0
    assert kit.tables(again) == kit.tables(run)


def test_an_unreadable_file_is_tried_again_and_a_vanished_one_leaves(tmp_path):
    data = tmp_path / "data"
    kit.folder_source(data, 12)
    paths = sorted(data.rglob("*.png"))
    content = paths[0].read_bytes()
    paths[0].write_bytes(b"")
    (data / "ant" / "cut.png").write_bytes(content[:60])
    run, _ = _again(data, tmp_path / "run")
    failed = {row["key"]: row for row in run.query("select * from failed_items").to_pylist()}
    assert {key.split("/")[1] for key in failed} == {paths[0].name, "cut.png"}
    assert all(row["stage"] == "read" and row["reason"] for row in failed.values())
    paths[0].write_bytes(content)
    paths[1].unlink()
    run, forwards = _again(data, tmp_path / "run")
    assert len(run.query("select * from failed_items")) == 1
    assert len(run.query("select * from items")) == 12
    assert forwards in (1, 3)  # its prediction, and the stub where it turns out wrong
