"""Repair on the command line."""

from __future__ import annotations

import csv
import io
import json

import pytest


@pytest.fixture
def run(whywrong, small, tmp_path):
    """A finished run."""
    code, _, _ = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", "--methods", "cam")
    assert code == 1  # one file is broken
    return tmp_path / "run"


def test_lists_of_work_are_written_and_what_could_not_be_trained_is_said(whywrong, small, run):
    code, out, err = whywrong("repair", run)
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == f"{small.wrong} errors in lists of work, {run / 'repair' / 'work.csv'}:"
    assert lines[-1] == f"Report: {run / 'report.html'}"
    assert "no copy was trained" in " ".join(err.split())
    assert f"Next: whywrong query {run}" in err
    rows = list(csv.DictReader(io.StringIO((run / "repair" / "work.csv").read_text())))
    assert len(rows) == small.wrong
    assert "Repair" in (run / "report.html").read_text()


def test_the_record_is_one_json_object(whywrong, small, run):
    code, out, _ = whywrong("repair", run, "--lists-only", "--json")
    told = json.loads(out)
    assert (code, told["errors"], told["arms"], told["chosen"]) == (0, small.wrong, [], None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "rate=0"), "rate must be positive"),
        (("--set", "arms=nothing"), "arms must be of"),
        (("--set", "rates=1"), "rates"),
        (("no/such/model.py:net",), "no/such/model.py"),
        (("--train", "no/such/folder"), "no/such/folder"),
    ],
)
def test_wrong_use_is_told_in_one_line(whywrong, run, arguments, words):
    code, _, err = whywrong("repair", run, *arguments)
    assert code == 2
    assert words in err.splitlines()[-1]


def test_a_folder_that_is_no_run_is_refused(whywrong, tmp_path):
    code, _, err = whywrong("repair", tmp_path)
    assert code == 2
    assert str(tmp_path) in err
