"""Fitting and measuring the combiner from a folder of tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.verdicts.synthetic import SIGNS, planted

from whywrong.core.errors import DataError
from whywrong.planting.verdicts import train
from whywrong.verdicts import evidence
from whywrong.verdicts.combiner.stored import load_combiner
from whywrong.verdicts.combiner.training_table import save_table


@pytest.fixture(autouse=True)
def _known_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "_known_signs", lambda: SIGNS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    for seed, net in enumerate(("one", "two", "three")):
        table = planted(96, seed, net=net, helper="")
        roles = tuple("bystander" if row % 16 == 7 else role for row, role in enumerate(table.role))
        second = tuple("corruption" if row % 16 == 3 else "" for row in range(96))
        save_table(replace(table, role=roles, second=second), tmp_path / "tables" / f"{net}.npz")
    return tmp_path / "tables"


def test_tables_become_a_combiner_a_card_and_figures(folder: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("shipped.npz", "card.md", "figures.json")}
    options = [f"--{flag}={path}" for flag, path in zip(("out", "card", "figures"), paths.values(), strict=True)]
    train.main([str(folder), "--trees=6", *options])
    combiner = load_combiner(paths["shipped.npz"])
    assert [net["net"] for net in combiner.facts["nets"]] == ["one", "three", "two"]
    assert combiner.facts["nets"][0]["licence"] == "Apache-2.0"
    figures = json.loads(paths["figures.json"].read_text())
    everything = figures["situations"]["I3"]["all"]
    assert everything["n"] == 288
    assert everything["f1_causes"] > 0.65
    assert np.sum(everything["confusion"]) == 288
    assert everything["bystanders_corruption"] is not None
    assert combiner.facts["figures"]["I3"]["f1_causes"] == everything["f1_causes"]
    alone = figures["groups_alone"]
    assert max(pair[0] for pair in alone.values()) < everything["f1_causes"]
    page = paths["card.md"].read_text()
    assert f"| all | 288 | {everything['f1_causes']:.3f} |" in page
    assert "images of two" in page
    assert "only train" not in page


def test_images_that_only_train_are_named_and_not_counted(folder: Path, tmp_path: Path) -> None:
    card, figures = tmp_path / "card.md", tmp_path / "figures.json"
    options = [f"--out={tmp_path / 'a.npz'}", f"--card={card}", f"--figures={figures}", "--trees=4"]
    train.main([str(folder), "--not-tested", "images of two", *options])
    assert json.loads(figures.read_text())["situations"]["I3"]["all"]["n"] == 192
    assert "Errors of images of two only train." in card.read_text()


def test_signs_that_one_table_lacks_are_left_out_of_all(folder: Path) -> None:
    [first, *_] = train.load_tables(folder)
    errors, reference = (
        replace(part, sign_names=part.sign_names[1:], signs=part.signs[:, 1:])
        for part in (first.errors, first.reference)
    )
    save_table(replace(first, errors=errors, reference=reference), folder / "one.npz")
    for table in train.load_tables(folder):
        assert table.errors.sign_names == first.errors.sign_names[1:]
        assert table.reference.signs.shape[1] == len(first.errors.sign_names) - 1


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tables"):
        train.load_tables(tmp_path)


def test_a_combiner_that_is_too_large_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "MOST_BYTES", 1000)
    monkeypatch.setattr(train, "measure", lambda *_, **_options: {"situations": {}, "groups_alone": {}})
    with pytest.raises(DataError, match="fit fewer trees"):
        train.train(folder, train.FitConfig(trees=4, rounds=2), tmp_path / "a.npz")
