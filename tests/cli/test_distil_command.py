"""Distilling a surrogate on the command line."""

from __future__ import annotations

import json

import pytest

FAST = ("--set", "nets=plain", "--set", "epochs=1")


def test_a_surrogate_is_written_with_its_queries_and_can_be_loaded(whywrong, small, tmp_path):
    file = tmp_path / "surrogate.safetensors"
    code, out, err = whywrong("distil", small.model, small.images, "--out", file, "--access", "scores", "--json", *FAST)
    told = json.loads(out)
    assert code == 1  # one file is broken
    assert (told["queries"], told["failed"], told["access"]) == (small.count, 1, "scores")
    assert 0 <= told["agreement"] <= 1
    code, out, _ = whywrong("check", f"surrogate:{file}", small.images, "--json")
    assert code in (0, 1)
    code, _, err = whywrong("distil", small.model, small.images, "--out", file, *FAST)
    assert code == 2
    assert "exists already" in err


def test_labels_alone_suffice_and_the_next_command_is_named(whywrong, small, tmp_path):
    file = tmp_path / "s.safetensors"
    code, out, err = whywrong("distil", small.model, small.images, "--out", file, "--access", "labels", *FAST)
    assert code == 1
    assert "answered with labels" in out
    assert f"black_box.distilled={file}" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "s.pt"), ".safetensors file"),
        (("--out", "no/folder/s.safetensors"), "no such folder"),
        (("--out", "s.safetensors", "--set", "nets=huge"), "huge"),
        (("--out", "s.safetensors", "--set", "rounds=1"), "rounds need"),
        (("--out", "s.safetensors", "--images", "3"), "20"),
    ],
)
def test_wrong_use_is_told_before_the_model_loads(whywrong, small, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = whywrong("distil", "no/such/model.py:net", small.images, *arguments)
    assert code == 2
    assert words in err
    assert list(tmp_path.iterdir()) == []
