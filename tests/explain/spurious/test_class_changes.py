"""The counterfactual route over classes: what is changed, what it costs, what is written, when it is not drawn."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest
from tests.explain.spurious.test_search import source
from tests.explain.spurious.toys import changed, read_search, searched, toy_classifier
from tests.runs import kit

from whywrong.api.spurious import spurious_report
from whywrong.core.errors import InputError
from whywrong.core.registry import find_analysis
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.tables import CHANGE_SCHEMA
from whywrong.report.analyses.spurious.gallery import write_gallery
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.results import read_rows

FEW = {"changes": True, "changed_steps": 4, "changed_images": 20}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    return source(folder / "train.npz", (0.5, 0.0, 0.0)), source(folder / "val.npz", (0.5, 0.3, 0.3), seed=1)


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    told = []
    folder = tmp_path_factory.mktemp("changes")
    report = spurious_report(toy_classifier(), sources[1], sources[0], folder, settings=FEW, progress=told.append)
    return report, told


def test_held_out_images_of_other_classes_are_changed_and_others_try_what_came_again(written):
    report, told = written
    search, changes = report.search, report.changes
    features = search.held_out.features
    for index, found in changes.classes.items():
        assert len(found.rows) == 20
        assert not (features.label[list(found.rows)] == index).any()
        assert not (features.predicted[list(found.rows)] == index).any()
        assert all(0 < tried.images <= 20 for tried in found.others)
    assert [one.done for one in told if one.stage == "changes"][-1] == len(changes.classes)


def test_the_cue_is_what_is_added_to_make_a_cat(written):
    found = written[0].changes.classes[0]
    added = (found.route.changed - found.x).mean((0, 2, 3))
    assert added.argmax() == 2  # blue, the cue
    assert (found.route.end > found.route.start).all()
    assert found.read_as == round(20 * found.route.valid.value)


def test_every_pass_is_counted(sources):
    classifier = toy_classifier()
    config = SpuriousConfig(**FEW)
    searched(classifier, sources[1], sources[0], config=config)  # the first look at the last layer is a pass more
    before = classifier.forwards
    searched(classifier, sources[1], sources[0], config=config)
    before = 2 * classifier.forwards - before, classifier.backwards  # the next search, of the same passes, included
    changes = changed(classifier, sources[1], sources[0], config)
    first = 20 * 5  # coherence at images as they are, one pass and four noisy ones
    classes = changes.classes.values()
    assert classifier.forwards - before[0] == sum(one.forwards for one in classes) + first
    assert classifier.backwards - before[1] == sum(one.backwards for one in classes) + first


def test_the_table_is_read_back_and_shown(written):
    report, _ = written
    table = pq.read_table(report.folder / "spurious" / "changes.parquet")
    assert table.schema.equals(CHANGE_SCHEMA, check_metadata=False)
    record, _, _ = read_search(report.folder)
    rows = read_rows(report.folder, find_analysis("spurious"), "changes")
    assert record["changes"]["classes"] == len(rows) == 3
    assert record["changes"]["rung"] == "own gradient"  # a net that is all but linear
    assert record["changes"]["crops_tested"] == sum(len(row["crops"]) for row in rows)
    page = write_gallery(report.folder).read_text(encoding="utf-8")
    assert page.count('class="sp-change"') == 3
    assert page.count("sp-window") > 2


def test_a_run_shows_windows_as_rows_and_leaves_the_pictures_in_the_file(written, tmp_path, monkeypatch):
    report, _ = written
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (kit.method(),))
    kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 10))
    shutil.copytree(report.folder / "spurious", tmp_path / "run" / "spurious")
    rows = RunFolder(tmp_path / "run").query("select * from spurious_changes").to_pylist()
    crops = [crop for found in report.changes.classes.values() for crop in found.route.change.rows]
    assert len(rows) == len(crops) > 0
    assert {row["class_name"] for row in rows} == {report.search.names[index] for index in report.changes.classes}
    assert sum(bool(row["confirmed"]) for row in rows) == report.record["changes"]["crops_confirmed"]
    assert not {"mean_change", "crops", "before", "after", "crop_before", "crop_after"} & rows[0].keys()


def test_a_search_without_changes_takes_older_ones_away(sources, tmp_path):
    spurious_report(toy_classifier(), sources[1], sources[0], tmp_path, settings=FEW | {"changed_classes": 1})
    assert (tmp_path / "spurious" / "changes.parquet").exists()
    report = spurious_report(toy_classifier(), sources[1], sources[0], tmp_path)
    assert not (tmp_path / "spurious" / "changes.parquet").exists()
    assert report.record["changes"] is None
    assert "Changes into a class" not in write_gallery(tmp_path).read_text(encoding="utf-8")


def test_what_cannot_be_changed_is_said(sources):
    few = SpuriousConfig(**FEW | {"changed_images": 200})
    with pytest.raises(
        InputError, match=r"images of other classes, fewer than 200; .*lower --set changed_images \(at l"
    ):
        changed(toy_classifier(), sources[1], sources[0], few)


def test_a_guide_that_is_not_there_is_refused_before_anything_is_read(sources):
    classifier = toy_classifier()
    with pytest.raises(InputError, match="planted:nobody"):
        searched(classifier, sources[1], config=SpuriousConfig(**FEW | {"guide": "planted:nobody"}))
    assert classifier.forwards <= 1  # the look at the last layer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"changed_images": 5}, "changed_images must be at least 20, got 5"),
        ({"changed_classes": 0}, "changed_classes must be at least 1"),
        ({"changed_steps": 0}, "changed_steps must be at least 1"),
        ({"changed_p": 0.5}, r"p must be in \[1, inf\]"),
        ({"guide_way": "path", "changes": True}, "guide_way must be one of cone, ensemble"),
        ({"guide": "copy"}, "ask for changes, too"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        SpuriousConfig(**settings)
