"""Images of one class only (fault row 32): everything runs, and what needs two classes is left out or not available."""

from __future__ import annotations

import json
import math
import shutil

import pytest


@pytest.fixture
def one_class(small, tmp_path):
    folder = tmp_path / "images"
    (folder / "red").mkdir(parents=True)
    for path in sorted((small.images / "red").glob("[0-9]*.png")):
        shutil.copy(path, folder / "red" / path.name)
    return folder


@pytest.fixture
def all_right(small, tmp_path):
    """Only images that the model reads as their class."""
    folder = tmp_path / "right"
    (folder / "red").mkdir(parents=True)
    for path in sorted((small.images / "red").glob("[0-9]*.png")):
        if int(path.stem) >= 6:
            shutil.copy(path, folder / "red" / path.name)
    return folder


def numbers(value):
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize("which", ["one_class", "all_right"])
def test_check_says_nothing_about_chance_or_order(whywrong, small, request, which):
    ended = whywrong("check", small.model, request.getfixturevalue(which), "--json")
    found = json.loads(ended.out)
    assert ended.code == 0
    assert (found["wrong"] == 0) == (which == "all_right")
    assert all(math.isfinite(n) for n in numbers(found))
    names = {finding["name"] for finding in found["findings"]}
    assert not names & {"chance", "order", "label order", "permuted", "near chance"}, found["findings"]


@pytest.mark.parametrize("which", ["one_class", "all_right"])
def test_diagnose_writes_a_report(whywrong, small, request, tmp_path, which):
    ended = whywrong(
        "diagnose", small.model, request.getfixturevalue(which), "--out", tmp_path / "run", "--methods", "cam"
    )
    assert ended.code == 0, ended.err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert " nan" not in page.lower().replace("nanosecond", "")
    shown = whywrong("query", tmp_path / "run", "select count(*) as n from errors", "--json")
    assert (json.loads(shown.out)["n"] == 0) == (which == "all_right")


def test_spurious_features_of_one_class_end_in_one_sentence_or_a_page(whywrong, small, one_class, tmp_path):
    ended = whywrong("spurious", small.model, one_class, "--out", tmp_path / "out")
    assert ended.code in (0, 2)
    assert "unexpected" not in ended.err


def test_a_claim_on_one_class_is_decided_or_skipped_with_a_reason(whywrong, small, one_class):
    ended = whywrong("reproduce", "inverted.1", one_class, "--model", small.model)
    assert ended.code in (0, 2)
    assert "unexpected" not in ended.err
    assert "nan" not in ended.out.lower()
