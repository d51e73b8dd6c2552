"""Wrong use ends with 2 and one line that says what was expected, what came, and what to do (fault row 95)."""

from __future__ import annotations

import pytest

from whywrong.cli.options import ModelOptions, read_pairs, read_settings
from whywrong.core.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diagnoze"], ["diagnose"]),
        (["diagnose", "m", "d"], ["--out"]),
        (["diagnose", "m", "d", "--outt", "x"], ["--out"]),
        (["diagnose", "m"], ["DATA"]),
        (["diagnose", "m", "d", "--out", "x", "--limit", "many"], ["--limit", "integer"]),
        (["diagnose", "m", "d", "--out", "x", "--workers", "0"], ["--workers"]),
        (["diagnose", "m", "d", "--out", "x", "--depth", "deeper"], ["quick, standard, deep", "deeper"]),
        (["diagnose", "m", "d", "--out", "x", "--engine", "locl"], ["--engine is one of local", "locl"]),
        (["diagnose", "m", "d", "--out", "x", "--progress", "loud"], ["plain", "loud"]),
        (["diagnose", "m", "d", "--out", "x", "--set", "overshoot=1"], ["METHOD.SETTING=VALUE"]),
        (["diagnose", "m", "d", "--out", "x", "--mean", "a,b"], ["--mean", "0.5,0.5,0.5"]),
        (["diagnose", "m", "d", "--out", "x", "--input-size", "big"], ["--input-size", "224"]),
        (
            ["diagnose", "no-such-model", "planted:test", "--out", "x", "--progress", "none"],
            ["timm:NAME", "such-model"],
        ),
        (["check", "missing.py:net", "planted:test", "--progress", "none"], ["missing.py"]),
        (["report", "nowhere"], ["nowhere"]),
        (["query", "nowhere", "select 1"], ["nowhere"]),
        (["reproduce", "inverted.1"], ["--model"]),
    ],
)
def test_wrong_use_is_one_line_and_2(whywrong, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = whywrong(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("whywrong: ")
    assert err.count("\n") == 1
    assert [word for word in words if word not in err] == []
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_message_of_several_lines_becomes_one(whywrong, finished):
    code, _, err = whywrong("query", finished, "select * from erors")
    assert (code, err.count("\n")) == (2, 1)
    assert 'Did you mean "errors"' in err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("inverted.overshot=0.2", ['nearest: "inverted.overshoot"']),
        ("inverted.overshoot=nan", ["not a number"]),
        ("inverted.overshoot=big", ["inverted.overshoot", "number"]),
        ("inverted.rounds=-1", ["rounds"]),
        ("inverted.rounds=2.5", ["inverted.rounds"]),
        ("inverted.step_size=8", ["8/255"]),
        ("inverted.radius=1.5", ["radius"]),
        ("inverted.norm=l3", ["inverted.norm"]),
        ("inverted.quantise=perhaps", ["inverted.quantise"]),
        ("cam.kind=gradcam", ["cam"]),
        ("camm.kind=auto", ['nearest: "cam"']),
    ],
)
def test_a_setting_that_breaks_its_contract_stops_before_the_first_batch(whywrong, small, tmp_path, setting, words):
    code, _, err = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", "--set", setting)
    assert code == 2
    assert [word for word in words if word not in err] == [], err
    assert not (tmp_path / "run" / "items").exists()


def test_settings_are_read_by_method_with_fractions_and_none():
    assert read_settings(["inverted.step_size=8/255", "inverted.budget=none", "cam.kind=hirescam"]) == {
        "inverted": {"step_size": 8 / 255, "budget": None},
        "cam": {"kind": "hirescam"},
    }
    assert read_settings(None) == {}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a=1", "a=2"]])
def test_pairs_that_cannot_be_read_are_refused(texts):
    with pytest.raises(InputError, match="--set"):
        read_pairs(texts)


@pytest.mark.parametrize(
    ("text", "size"), [("224", (3, 224, 224)), ("192x160", (3, 192, 160)), ("1x28x28", (1, 28, 28)), (None, None)]
)
def test_input_sizes(text, size):
    assert ModelOptions(input_size=text).keywords()["input_size"] == size


def test_normalisation_can_be_switched_off():
    assert ModelOptions(mean="none", std="0.5, 0.5,0.5").keywords()["mean"] == ()
    assert ModelOptions(std="0.5, 0.5,0.5").keywords()["std"] == (0.5, 0.5, 0.5)
