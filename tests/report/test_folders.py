"""A report that is made to be shared does not tell where on the owner's machine it was made."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from tests.report.fake_run import make_run
from tests.report.test_html import Page

from whywrong.report import write_report
from whywrong.report.folders import hide_folders, owner_folders

META = {
    "model": {"source": "/d1/ann/nets.py:resnet"},
    "data": {"source": {"kind": "folder", "path": "/d2/photos/val", "manifest": "/d2/lists/val.csv", "boxes": None}},
}


def hidden(text: str, meta: dict = META, run: str = "/d3/runs/a", keys: tuple[str, ...] = ()) -> str:
    return "".join(hide_folders([text], owner_folders(meta, Path(run), keys)))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/d1/ann/nets.py:resnet", "nets.py:resnet"),
        ("/d2/photos/val", "val"),
        ("/d2/photos/val/cat/1.jpg", "cat/1.jpg"),
        ("cannot read /d2/photos/val/cat/1.jpg: truncated", "cannot read cat/1.jpg: truncated"),
        ("/d3/runs/a: one shard was made again", "a: one shard was made again"),
        ("(/d3/runs/a/parts/cam.parquet)", "(parts/cam.parquet)"),
        ("/D2/PHOTOS/VAL/Cat/1.jpg", "Cat/1.jpg"),
        ("file:///d2/photos/val/x.png", "x.png"),
        ("weights /home/ann/models/w.safetensors, key fc", "weights w.safetensors, key fc"),
        ("/Users/ann/x.png", "x.png"),
        ("/mnt/nas-2/sets/a.b/x_1.png is no image", "x_1.png is no image"),
        ("/d2/photos/validation/x.png", "validation/x.png"),
        ("~/.cache/torch/hub/w.pth", "w.pth"),
        (r"C:\Users\ann\nets.py:net", "nets.py:net"),
        (r"C:\\Users\\ann\\x.png", "x.png"),
        ("D:/sets/x.png", "x.png"),
        (r"\\server\share\sets\x.png", "x.png"),
        ("/tmp/a/x.png and /tmp/b/y.png", "x.png and y.png"),
        ('title="/d2/photos/val/a&amp;b/1.jpg"', 'title="a&amp;b/1.jpg"'),
    ],
)
def test_a_path_of_the_machine_becomes_a_name(text, left):
    assert hidden(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "cat/1.jpg",
        "class /m/0k4j of Open Images",
        "https://arxiv.org/abs/1512.04150",
        "doi:10.1007/978-3-030-85529-1_26",
        "<b>fish</b></li>",
        "timm/vit_tiny, hf:org/name",
        "aspect-ratio:320/240",
        "a read/write error",
        "data:image/png;base64,/home/ann/x",
        '<img src="data:image/png;base64,iVBOR/home/a/b/tmp/c/d">',
        r"name\nwith a line",
    ],
)
def test_what_is_no_path_of_the_machine_stays(text):
    assert hidden(text) == text


def test_absolute_keys_are_written_relative_to_what_they_share():
    keys = ("/q/sets/one/a.png", "/q/sets/two/b.png")
    assert hidden("/q/sets/two/b.png", {}, "/d3/runs/a", keys) == "two/b.png"


def test_a_script_is_left_as_its_hash_knows_it():
    script = "fetch('/home/ann/x')"
    assert list(hide_folders([script, script + " "], [], keep=[script])) == [script, "fetch('x') "]


def test_no_folder_of_the_owner_stands_in_a_report(tmp_path):
    folder = tmp_path / "Ann Q" / "deep" / "run"
    folder.mkdir(parents=True)
    data = tmp_path / "Ann Q" / "sets" / "val"
    keys = [f"{data}/cat & dog/{n:03d}.jpg" for n in range(40)]
    run = make_run(folder, failed=2, duplicates=1, keys=keys)
    run.meta["model"]["source"] = f"{tmp_path}/Ann Q/nets.py:mine"
    run.meta["data"]["source"] = {"kind": "folder", "path": str(data), "manifest": f"{tmp_path}/Ann Q/lists/val.csv"}
    run.meta["data"]["warnings"] = [f"{data}: 3 images lie outside", "/scratch/ann/list.csv: columns not used: x"]
    run.meta["notes"] = [f"{folder}: one shard was made again"]
    run.meta["health"] = [{"level": "warn", "name": "random", "text": f"seen in {tmp_path}/Ann Q/nets.py"}]
    run.meta["refused"] = {"cam": "/home/ann/lib/layers.py has no spatial layer"}
    run.meta["methods"]["counterfactuals"]["config"] = {"guide": "/opt/models/robust.pt", "judges": [f"{data}/j.py:a"]}
    run.rewrite("failed_items", lambda v: v.replace("truncated", f"{data}/x.jpg truncated") if "trunc" in str(v) else v)
    html = write_report(run).read_text(encoding="utf-8")
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    for leak in (
        str(tmp_path),
        "Ann Q",
        str(tmp_path).lower(),
        "/scratch",
        "/home/",
        "/opt/",
        "ann/",
        str(Path.home()) + "/",
    ):
        assert leak not in text, text[text.index(leak) - 80 : text.index(leak) + 80]
    page = Page(folder / "report.html")
    assert "cat & dog/003.jpg" in page.words
    assert "nets.py:mine" in page.words


def test_pictures_are_the_same_bytes_as_without_hiding(tmp_path):
    run = make_run(tmp_path)
    html = write_report(run).read_text(encoding="utf-8")
    found = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]*)", html)
    assert len(found) > 30
    assert all(base64.b64decode(text, validate=True)[:2] in (b"\x89P", b"\xff\xd8") for text in found)
