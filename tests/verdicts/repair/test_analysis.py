"""Repair of a run from end to end, of a model whose mistake is known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.verdicts import quadrants

import whywrong as ww
from whywrong.api.repairs import RepairReport, repair_run
from whywrong.core.access import Access
from whywrong.core.errors import InputError, RunFolderError
from whywrong.core.registry import find_analysis
from whywrong.data.sources import Source, open_source
from whywrong.models.classifier import Classifier
from whywrong.runs.store.layout import results_folder
from whywrong.verdicts.cases.predictions import SQL, read_predictions
from whywrong.verdicts.repair import units
from whywrong.verdicts.repair.batches import Images, batches
from whywrong.verdicts.repair.config import RepairConfig
from whywrong.verdicts.repair.parts import split

FAST = {"steps": 60, "batch": 16, "rate": 0.2, "seed": 1}


def repaired(folder: Path, count: int = 600, **settings: float) -> tuple[RepairReport, Path]:
    source = quadrants.source(folder / "data", count, **settings)
    run = quadrants.diagnosed(folder / "run", source, model())
    return repair_run(run, model(), source, settings=FAST), run.path


def model(access: Access | None = None) -> Classifier:
    return quadrants.classifier(dot=8.0, access=access)


def data_of(path: Path) -> Source:
    return open_source(path.parent / "data" / "data.npz")


@pytest.fixture(scope="module")
def dotted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RepairReport, Path]:
    """A red dot leads to class 0, which training can undo."""
    return repaired(tmp_path_factory.mktemp("dotted"), wrong=0.0, dots=0.3)


def arms(report: RepairReport) -> dict[str, dict]:
    return {row["arm"]: row for row in report.tables["repair"].to_pylist()}


def test_a_misleading_mark_is_unlearned_and_the_controls_unlearn_nothing(dotted: tuple[RepairReport, Path]):
    found = arms(dotted[0])
    assert found["errors"]["fixed"] >= 0.8 * found["errors"]["errors"] > 10
    assert found["errors"]["lost"] <= 2
    assert found["as predicted"]["fixed"] <= 2
    assert not found["as predicted"]["safe"]
    assert dotted[0].record["chosen"] == "errors"
    assert found["errors"]["chosen"]
    assert found["regions"]["reason"].startswith("no spatial layer")
    assert any(note.startswith("errors, and misleading regions") for note in dotted[0].record["notes"])


def test_the_written_weights_are_those_that_were_measured(dotted: tuple[RepairReport, Path]):
    report, path = dotted
    x = torch.full((1, 3, 16, 16), 0.3)
    x[:, 0, -4:, -4:], x[:, 1:, -4:, -4:] = 1.0, 0.0
    x[:, :, :8, 8:] += 0.1
    assert model().predict(x).tolist() == [0]
    copied = report.repaired(model())
    assert copied.predict(x).tolist() == [1]
    chosen = arms(report)["errors"]
    rows = ww.open_run(path).query("select item_id, label, predicted from predictions").to_pylist()
    wrong = {row["item_id"] for row in rows if row["label"] != row["predicted"]}
    entries = [entry for entry in data_of(path).entries() if entry.item_id in wrong]
    [pixels] = [torch.from_numpy(np.load(path.parent / "data" / "data.npz")["images"]).permute(0, 3, 1, 2) / 255]
    labels = torch.from_numpy(np.load(path.parent / "data" / "data.npz")["labels"])
    now = copied.predict(pixels) == labels
    assert len(entries) == int((model().predict(pixels) != labels).sum())
    assert int(now[model().predict(pixels) != labels].sum()) >= chosen["fixed"]
    with pytest.raises(InputError, match="of another model"):
        report.repaired(Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4))))
    assert "Corrected" in (report.folder / "card.md").read_text()


def test_random_labels_leave_nothing_to_repair(tmp_path: Path):
    report, _ = repaired(tmp_path, wrong=0.2, dots=0.0)
    assert report.record["chosen"] is None
    assert report.weights is None
    assert (report.folder / "weights.safetensors").read_bytes() == b""
    assert any("no safe repair" in note or "controls" in note for note in report.record["notes"])
    with pytest.raises(InputError, match="no safe repair"):
        report.repaired(model())


def test_work_lists_hold_every_error_once_as_csv_and_json(dotted: tuple[RepairReport, Path]):
    report, path = dotted
    rows = list(csv.DictReader(io.StringIO((report.folder / "work.csv").read_text())))
    errors = ww.open_run(path).query("select item_id from errors")["item_id"].to_pylist()
    assert sorted(row["item_id"] for row in rows) == sorted(errors)
    assert json.loads((report.folder / "lists.json").read_text())[0].keys() == rows[0].keys()
    assert sum(report.record["lists"].values()) == len(errors)


def test_parts_that_are_stored_are_not_computed_again_and_give_the_same(dotted: tuple[RepairReport, Path]):
    report, path = dotted
    classifier = model()
    again = repair_run(ww.open_run(path), classifier, data_of(path), settings=FAST)
    assert again.tables["repair"].equals(report.tables["repair"])
    assert classifier.backwards == 0
    assert ww.open_run(path).query("select count(*) as n from repair").to_pylist() == [{"n": len(arms(report))}]


def test_a_list_that_somebody_edited_is_kept(dotted: tuple[RepairReport, Path], tmp_path: Path):
    report, path = dotted
    content = (report.folder / "work.csv").read_bytes()
    (report.folder / "work.csv").write_bytes(content + b"mine\n")
    try:
        with pytest.raises(RunFolderError, match="somebody changed this file"):
            repair_run(ww.open_run(path), model(), data_of(path), settings=FAST)
        assert (report.folder / "work.csv").read_bytes() == content + b"mine\n"
    finally:
        (report.folder / "work.csv").write_bytes(content)


@pytest.mark.parametrize("settings", [{"train": False}, {"fewest": 10_000}])
def test_lists_are_made_where_no_copy_is_trained(tmp_path: Path, settings: dict):
    source = quadrants.source(tmp_path / "data", 120)
    run = quadrants.diagnosed(tmp_path / "run", source, model())
    report = repair_run(run, model(), source, settings=settings)
    assert report.tables["work"].num_rows == run.query("select count(*) as n from errors").to_pylist()[0]["n"] > 0
    assert report.tables["repair"].num_rows == 0
    assert any("no copy was trained" in note for note in report.record["notes"])


def test_a_model_without_gradients_gets_lists_and_the_reason(tmp_path: Path):
    source = quadrants.source(tmp_path / "data", 120)
    run = quadrants.diagnosed(tmp_path / "run", source, model(Access.SCORES))
    report = repair_run(run, model(Access.SCORES), source)
    assert report.tables["work"].num_rows > 0
    assert any("grants scores only" in note for note in report.record["notes"])


def test_the_folder_of_the_results_is_that_of_the_registry(dotted: tuple[RepairReport, Path]):
    report, path = dotted
    assert report.folder == results_folder(path, find_analysis("repair"))
    by_list = report.tables["repair_lists"].to_pylist()
    for arm, row in arms(report).items():
        if row["images"] is None:
            continue
        assert sum(one["errors"] for one in by_list if one["arm"] == arm) == row["errors"]
        assert sum(one["fixed"] for one in by_list if one["arm"] == arm) == row["fixed"]
    of_class = [row for row in report.tables["repair_classes"].to_pylist() if row["arm"] == "errors"]
    assert sum(row["images"] for row in of_class) == arms(report)["errors"]["images"]
    assert np.isclose(
        np.average([row["accuracy_after"] for row in of_class], weights=[row["images"] for row in of_class]),
        arms(report)["errors"]["accuracy_after"],
    )


def test_images_that_the_data_no_longer_holds_are_told(tmp_path: Path):
    source = quadrants.source(tmp_path / "data", 120)
    run = quadrants.diagnosed(tmp_path / "run", source, model())
    other = quadrants.source(tmp_path / "other", 100)
    report = repair_run(run, model(), other, settings={"train": False})
    assert any(
        note.endswith("of 120 images of the run are not in the data that was given") for note in report.record["notes"]
    )


def test_training_images_that_are_held_out_are_not_trained_on(dotted: tuple[RepairReport, Path], tmp_path: Path):
    source = quadrants.source(tmp_path / "data", 600, wrong=0.0, dots=0.3)
    run = quadrants.diagnosed(tmp_path / "run", source, model())
    seen: list[torch.Tensor] = []

    def kept(errors: Images, correct: Images, arm: str, config: RepairConfig) -> Iterator:
        seen.append(correct.x)
        return batches(errors, correct, arm, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "batches", kept)
        repair_run(run, model(), source, train=data_of(run.path), settings={**FAST, "arms": ("replay",), "steps": 2})
    rows = read_predictions(run.query(SQL), quadrants.NAMES)
    parts = split(rows, 2000, FAST["seed"])
    allowed = len(rows) - len(parts.held) - len(parts.choose)
    assert 0 < len(seen[0]) <= allowed
    assert len(seen[0]) >= 0.9 * allowed  # contents that repeat may be fewer
