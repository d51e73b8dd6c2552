"""Verdicts on the command line: summary, rules and exit codes."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def run(whywrong, small, tmp_path):
    """A finished run."""
    code, _, _ = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", "--methods", "cam")
    assert code == 1  # one file is broken
    return tmp_path / "run"


def test_model_and_data_are_found_from_the_run_and_the_summary_is_calm(whywrong, small, run):
    code, out, err = whywrong("verdict", run)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith(f"{small.wrong} errors: the cause of ")
    assert lines[-1] == f"Report: {run / 'report.html'}"
    assert any(line.startswith("Cost: ") and "passes per error" in line for line in lines)
    assert f"Next: whywrong repair {run}" in err
    code, out, _ = whywrong("verdict", run, "--depth", "free", "--json")
    told = json.loads(out)
    assert (code, told["errors"], told["counts"]) == (0, small.wrong, {})


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        (("undetermined>50%",), 4),
        (("undetermined>50%", "--strict"), 4),
        (("label>50%",), 0),
        (("undetermined>80%", "--strict"), 5),
        (("label>50%", "--fail-on", "undetermined>=6"), 4),
    ],
)
def test_a_rule_decides_the_exit_code(whywrong, run, rules, code):
    found, out, _ = whywrong("verdict", run, "--depth", "free", "--fail-on", *rules)
    assert found == code
    assert rules[0] in out


def test_a_rule_that_cannot_be_read_stops_before_the_model_loads(whywrong, run):
    code, _, err = whywrong("verdict", run, "no/such/model.py:net", "--fail-on", "spurius>5%")
    assert code == 2
    assert 'no cause "spurius"; nearest: "spurious"' in err


def test_a_rule_of_diagnose_needs_verdicts(whywrong, small, tmp_path):
    code, _, err = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "r", "--fail-on", "label>1")
    assert (code, "add --verdict" in err) == (2, True)


def test_one_image_is_told_why_because_against_and_what_to_do(whywrong, small, tmp_path):
    image = sorted((small.images / "green").glob("*.png"))[0]
    label = "blue"
    code, out, _ = whywrong(
        "explain", small.model, image, "--label", label, "--out", tmp_path / "one", "--methods", "cam"
    )
    assert code == 0
    assert out.startswith("Why      ")
    assert "\nDo       " in out
    assert "correct images to compare with: 0 of at least 50" in " ".join(out.split())
