"""Files of a repair."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import safetensors.numpy

from whywrong.verdicts.repair.result import CARD, LISTS_JSON, WEIGHTS, WORK_CSV, RepairResult

ROW = {
    "work": "open",
    "item_id": "i",
    "key": "=1+1.png",
    "label": "@cat",
    "predicted": "dog",
    "suggested": None,
    "suspicion": float("nan"),
    "stated": False,
    "evidence": "-a, b\nc",
    "action": "Look.",
}


def test_weights_keep_their_shapes_those_without_dimensions_and_those_that_are_not_contiguous():
    weights = {"count": np.array(3), "matrix": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}
    files = RepairResult({}, {}, weights, "# Card\n").files
    read = safetensors.numpy.load(files[WEIGHTS])
    assert read["count"].shape == ()
    assert np.array_equal(read["matrix"], weights["matrix"])
    assert files[CARD] == b"# Card\n"


def test_without_a_safe_repair_there_are_no_weights_and_no_card():
    files = RepairResult({}, {}).files
    assert (files[WEIGHTS], files[CARD]) == (b"", b"")


def test_no_cell_of_the_list_runs_in_a_spreadsheet_and_json_keeps_what_the_data_says():
    files = RepairResult({"work": [ROW]}, {}).files
    [row] = csv.DictReader(io.StringIO(files[WORK_CSV].decode()))
    assert (row["key"], row["label"], row["evidence"]) == ("'=1+1.png", "'@cat", "'-a, b\nc")
    assert (row["suggested"], row["suspicion"], row["stated"]) == ("", "", "False")
    [told] = json.loads(files[LISTS_JSON])
    assert (told["key"], told["suspicion"]) == ("=1+1.png", None)
