"""The page of a search: what it says, that it is one file, and that names cannot break it."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from whywrong.api.spurious import read_labels
from whywrong.core.classes import ClassList
from whywrong.core.label_match import find_class
from whywrong.explain.spurious.tables import CHANGE_SCHEMA, SCHEMA
from whywrong.report.analyses.spurious.gallery import write_gallery
from whywrong.report.analyses.spurious.words import headline
from whywrong.runs.store.files import BLANK, MARK, commit
from whywrong.runs.store.shards import write_table

HOSTILE = ['<script>alert("x")</script>', 'a,"b"\nc', "12", "crane", "crane", "'; DROP", "\u202eright", "=1+1"]


def component(index: int, number: int, names: list[str], **changes) -> dict:
    row = dict.fromkeys(SCHEMA.names, 0)
    row |= {
        "class": index, "class_name": names[index], "component": number, "images": 50, "found_in": "reference",
        "share": 0.4, "spread": 1.2, "residual": 1e-7, "verdict": "harmful", "carriers": 40, "read_as": 30,
        "caused": 28, "harm": 0.7, "harm_low": 0.55, "harm_high": 0.82, "harm_adjusted_low": 0.45, "base": 0.01,
        "base_adjusted_high": 0.05, "searched": 12, "accuracy_change": -0.002, "own_change": -0.01, "bias": 0.3,
        "bias_low": 0.1, "bias_high": 0.5, "accuracy_high": 0.9, "accuracy_low": 0.6, "own_images": 40,
        "score_ap": 0.7, "score_ap_fixed": 0.9, "score_auc": 0.8, "score_auc_fixed": 0.95, "outside": 0.83,
        "outside_images": 8, "map": "exact", "label": None,
    }  # fmt: skip
    return row | changes


def example(index: int, number: int, group: str, names: list[str]) -> dict:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(index).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return {
        "class": index, "component": number, "group": group, "rank": 0, "item_id": "a", "key": f"{names[index]}.png",
        "label": index if group == "top" else (index + 1) % len(names), "predicted": index, "alpha": 1.5,
        "probability": 0.9, "caused": group == "carrier", "exact": True, "map": np.linspace(-1, 1, 9).tolist(),
        "rows": 3, "cols": 3, "outside": 0.5, "picture": buffer.getvalue(), "width": 12, "height": 12,
    }  # fmt: skip


def make_search(folder, names=("cat", "dog", "bird"), repairs=(), rows=None):
    """A search as the command writes it, made up."""

    names = list(names)
    if rows is None:
        rows = [
            component(i, n, names, verdict=v)
            for i in range(len(names))
            for n, v in ((1, "harmful"), (2, "not confirmed"), (3, "too few carriers"))
        ]
    pictures = [example(r["class"], r["component"], g, names) for r in rows for g in ("top", "carrier")]
    place = folder / "spurious"
    place.mkdir(parents=True)
    facts = {"run": "b", "result_version": 1}
    write_table(place / "components.parquet", pa.Table.from_pylist(rows, schema=SCHEMA), facts)
    write_table(place / "examples.parquet", pa.Table.from_pylist(pictures), facts)
    spec = {"kind": "classes", "path": "/photos/val"}
    record = {
        "whywrong": "0", "basis": "0123456789ab", "config": {"level": 0.05},
        "model": {"source": "timm:net", "identity": "f" * 64, "classes": names, "features": 64}, "data": spec,
        "reference": spec, "images_searched": 150, "images_held_out": 120, "shared": 2, "classes_searched": len(names),
        "components_searched": len(rows), "left_out": {names[0]: "3 images, fewer than 20"}, "harmful": [],
        "residual": 1e-7, "passes": {}, "labelled": None, "repairs": list(repairs),
        "failed": [[f"{names[0]}.jpg", "broken"]],
    }  # fmt: skip
    write_record(place, record)
    return folder


def write_record(place, record):
    """Write ``search.json`` with its checksum, as a search does."""
    import json

    record["seal"] = (MARK + BLANK).decode()
    commit(place / "search.json", (json.dumps(record, indent=1) + "\n").encode())


def with_changes(folder, names, readable=True):
    """The same search with a made-up counterfactual route into its first class."""
    import json

    place = folder / "spurious"
    record = json.loads((place / "search.json").read_text(encoding="utf-8"))
    record["changes"] = {
        "rung": "auxiliary" if readable else "refusal", "guide": "guided by <b>a robust classifier",
        "readable": readable, "coherence": 0.3, "p": 1.5, "eps": 5.6, "classes": 1, "of_classes": len(names),
        "crops_tested": 1, "crops_confirmed": 1, "left_out": {names[-1]: "3 images of other classes, fewer than 24"},
        "passes": {"forwards": 600, "backwards": 500},
    }  # fmt: skip
    write_record(place, record)
    picture = example(0, 1, "top", list(names))["picture"]
    crop = {
        "members": 9, "label": 1, "predicted": 1, "row": 3, "col": 6, "side": 4, "item_id": "a",
        "key": f"{names[1]}.png", "start": 0.01, "end": 0.98, "rise": 2.5, "rise_low": 1.5, "rise_high": 3.5,
        "rise_adjusted_low": 1.0, "tried_on": 24, "reads": 20, "shuffled_reads": 1, "confirmed": True,
        "before": picture, "after": picture, "crop_before": picture, "crop_after": picture,
    }  # fmt: skip
    row = {
        "class": 0, "images": 24, "known": 20, "read_as": 24, "width": 12, "height": 12, "class_name": names[0],
        "valid": 1.0, "valid_low": 0.86, "valid_high": 1.0, "coherence": 0.3, "outside": 0.7, "outside_low": 0.6,
        "outside_high": 0.8, "area_outside": 0.5, "readable": readable, "forwards": 600, "backwards": 500,
        "mean_change": np.linspace(0, 1, 144).reshape(12, 12).tolist(), "crops": [crop],
    }  # fmt: skip
    table = pa.Table.from_pylist([row], schema=CHANGE_SCHEMA)
    write_table(place / "changes.parquet", table, {"run": "b", "result_version": 1})
    return folder


def test_changes_that_are_readable_are_drawn_with_what_was_measured(tmp_path):
    names = ["cat", "dog", "bird"]
    page = write_gallery(with_changes(make_search(tmp_path, names), names)).read_text(encoding="utf-8")
    text = page.replace("\u00a0", " ")
    assert "Recurring changes that work on other images were found for cat." in text
    assert "24 images of other classes were changed into 1 class of 3" in text
    assert "70 % of the change lies outside the object (60 to 80 %); 50 % of the area does (the object is" in text
    assert "9 of 24 are like this" in text
    assert "left:50%;top:25%;width:33.33%;height:33.33%" in text
    assert (
        "Applied to 24 other images, it changes 20 predictions to this class; with shuffled pixels, 1. It raises the"
        " log-probability by 2.5 nats more" in text
    )
    assert "bird: 3 images of other classes, fewer than 24" in text
    assert "guided by &lt;b&gt;a robust classifier" in text


def test_changes_that_are_noise_are_a_table_without_pictures(tmp_path):
    names = ["cat", "dog", "bird"]
    page = write_gallery(with_changes(make_search(tmp_path, names), names, readable=False)).read_text(encoding="utf-8")
    assert "Only this model reacts to these changes; to others they are noise, so they are not drawn." in page
    assert 'class="sp-window"' not in page
    assert "<td>24 of 24</td><td>70\u00a0%</td><td>50\u00a0%</td><td>0.3</td>" in page


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    page = write_gallery(make_search(tmp_path)).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "http" not in re.sub(r"arXiv [\d.]+", "", page).replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert len(re.findall(r'<article class="sp-card"', page)) == 9
    images = re.findall(r"<img [^>]*>", page)
    assert images
    assert all('alt="' in image for image in images)


def test_hostile_names_are_escaped_everywhere(tmp_path):
    page = write_gallery(make_search(tmp_path, HOSTILE)).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\u202e" not in page
    assert page.count("<script>") == 1


@pytest.mark.parametrize("index", range(len(HOSTILE)))
def test_the_file_of_labels_names_every_class_so_that_it_is_read_back(tmp_path, index):
    """What the page writes for a class, by the rules of its script, is that class when it is read."""
    page = write_gallery(make_search(tmp_path, HOSTILE)).read_text(encoding="utf-8")
    import html

    card = re.search(rf'id="c{index}-1".*?data-write="([^"]*)"', page, re.DOTALL)
    assert card is not None
    written = html.unescape(card.group(1))
    classes = ClassList(tuple(HOSTILE))
    assert find_class(written, classes) == index
    file = io.StringIO()
    csv.writer(file).writerows([("class", "component", "label", "basis"), (written, 1, "core", "b")])
    (tmp_path / "labels.csv").write_text(file.getvalue(), encoding="utf-8")
    assert read_labels(tmp_path / "labels.csv", classes, {index: 3}, "b").words == {(index, 0): "core"}


def test_the_headline_says_what_was_measured(tmp_path):
    names = ["cat", "dog"]
    record = {"classes_searched": 2}
    rows = [component(0, 1, names, harm=0.5), component(1, 2, names, harm=0.7)]
    assert headline(record, rows).replace("\u00a0", " ") == (
        "A component of dog misleads the model: 28 of 40 images of other classes that have it are predicted as dog "
        "because of it."
    )
    none = [component(0, 1, names, verdict="not confirmed")]
    assert headline(record, none).replace("\u00a0", " ").startswith("In 2 classes, no component is confirmed")


def test_before_and_after_are_shown_with_both_scores(tmp_path):
    share = {"value": 0.9, "low": 0.88, "high": 0.92}
    repair = {
        "start": "others", "components": 1, "images": 120, "before": share, "after": share | {"value": 0.89},
        "change": {"value": -0.01, "low": -0.02, "high": 0.0}, "own_before": share, "own_after": share, "scores": [],
        "carriers": 40, "read_as": 30, "read_as_after": 4,
        "spurious_score": {"ap": 0.7, "ap_after": 0.9, "auc": 0.8, "auc_after": 0.95},
    }  # fmt: skip
    page = write_gallery(make_search(tmp_path, repairs=[repair])).read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "30 are predicted as its class before SpuFix and 4 after it" in page
    assert "accuracy on all 120 held-out images goes from 90 % to 89 %" in page
    assert "Spurious score, precision-recall</th><td>0.7</td><td>0.9</td>" in page
    assert "Change of accuracy −1 points (−2 to 0 points)." in page


def test_undetermined_is_said_in_the_sentence(tmp_path):
    rows = [component(0, 1, ["cat"], verdict="too few carriers", carriers=0, harm=None, bias=None)]
    page = write_gallery(make_search(tmp_path, ["cat"], rows=rows)).read_text(encoding="utf-8")
    assert "Undetermined: no held-out image of another class has it." in page


def test_the_page_is_written_without_torch(tmp_path):
    make_search(tmp_path)
    code = (
        "import sys; from pathlib import Path; from whywrong.report.analyses.spurious.gallery import write_gallery;"
        "write_gallery(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0
