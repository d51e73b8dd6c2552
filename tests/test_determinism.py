"""One run, many ways: batch size, order, workers and resume points leave the numbers as the plan states."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whywrong.api import load_classifier, open_data
from whywrong.data.sources import open_source
from whywrong.runs.diagnose import diagnose
from whywrong.runs.folder import RunFolder
from whywrong.runs.options import RunOptions

ROWS = range(0, 320, 8)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Forty of the shipped pictures as files, half of them planted mistakes, listed in order and shuffled."""
    folder = tmp_path_factory.mktemp("images")
    source = open_source("planted:causes")
    entries = [entry for row, entry in enumerate(source.entries()) if row in ROWS]
    listed = []
    for number, entry in enumerate(entries):
        Image.fromarray(source.read(entry)).save(folder / f"{number:02d}.png")
        listed.append((f"{number:02d}.png", entry.label))
    order = np.random.default_rng(0).permutation(len(listed))
    for name, rows in (("ordered", listed), ("shuffled", [listed[at] for at in order])):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label"), *rows])
    return folder


def table(run: RunFolder) -> dict[str, dict]:
    """What a run says, by item."""
    predictions = {row["item_id"]: row for row in run.query("select * from predictions").to_pylist()}
    for row in run.query("select * from inverted").to_pylist():
        predictions[row["item_id"]] |= {f"inverted_{name}": value for name, value in row.items()}
    return predictions


def diagnosed(
    images: Path, out: Path, *, batch_size: int = 64, manifest: str = "ordered", progress=lambda _: None, **options
) -> dict:
    net = load_classifier("planted:cnn-spurious", batch_size=batch_size)
    source = open_data(images, manifest=images / f"{manifest}.csv")
    options = RunOptions(limit=4, batch_size=batch_size, **options)
    return table(diagnose(net, source, out, options, progress=progress))


@pytest.fixture(scope="module")
def reference(images, tmp_path_factory) -> dict:
    found = diagnosed(images, tmp_path_factory.mktemp("reference") / "run")
    assert sum("inverted_status" in row for row in found.values()) >= 15
    return found


@pytest.mark.parametrize(
    "way",
    [
        {"batch_size": 1},
        {"batch_size": 7},
        {"manifest": "shuffled"},
        {"workers": 2, "batch_size": 7},
    ],
    ids=["one at a time", "seven", "shuffled", "two workers"],
)
def test_other_ways_give_the_same_run(images, reference, tmp_path, way):
    assert_alike(reference, diagnosed(images, tmp_path / "run", **way))


def test_a_run_that_was_interrupted_says_the_same_to_the_bit(images, reference, tmp_path):
    def stop(progress) -> None:
        if progress.stage == "explain" and progress.passes:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        diagnosed(images, tmp_path / "run", progress=stop)
    assert str(diagnosed(images, tmp_path / "run")) == str(reference)


def assert_alike(reference: dict, other: dict) -> None:
    assert reference.keys() == other.keys()
    for item, row in reference.items():
        for name in ("predicted", "status", "inverted_status", "inverted_u8_fixed", "inverted_region_fixed"):
            assert row.get(name) == other[item].get(name), (name, row["key"])
        assert row["margin"] == pytest.approx(other[item]["margin"], abs=1e-4)
        for name in ("inverted_rho_l2", "inverted_rho_linf", "inverted_u8_l2"):
            if row.get(name) is not None:
                assert row[name] == pytest.approx(other[item][name], rel=0.01), (name, row["key"])
