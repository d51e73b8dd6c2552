"""The search over classes: what is held out, what is written, what a label changes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.explain.spurious.toys import NAMES, SIDE, read_search, searched, toy_classifier, toy_images

from whywrong.api.spurious import read_labels, spurious_report
from whywrong.core.classes import ClassList
from whywrong.core.errors import DataError, InputError, RunFolderError
from whywrong.core.label_match import find_class
from whywrong.data.sources import open_source
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.tables import SCHEMA

CLASSES = ClassList(NAMES, wnids=("n1", "n2", "n3"))


def source(path, cue_share, n=60, seed=0):
    """An array file of toy images."""
    x, label, _ = toy_images(n, cue_share, seed=seed)
    pixels = (255 * x).round().byte().permute(0, 2, 3, 1).numpy()
    np.savez(path, images=pixels, labels=label.numpy())
    return open_source(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    return source(folder / "train.npz", (0.5, 0.0, 0.0)), source(folder / "val.npz", (0.5, 0.3, 0.3), seed=1)


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spurious")
    told = []
    report = spurious_report(toy_classifier(), sources[1], sources[0], folder, progress=told.append)
    return report, told


def test_the_cue_is_found_judged_and_written(written):
    report, _ = written
    search = report.search
    assert search.classes[0].harmful == [0]
    assert (search.searched, len(search.search), len(search.held_out)) == (9, 180, 180)
    rows = pq.read_table(report.folder / "spurious" / "components.parquet")
    assert rows.schema.equals(SCHEMA, check_metadata=False)
    first = rows.to_pylist()[0]
    assert (first["class_name"], first["component"], first["verdict"]) == ("cat", 1, "harmful")
    assert (first["found_in"], first["map"], first["label"]) == ("reference", "exact", None)
    assert first["score_ap_fixed"] > first["score_ap"]
    assert first["residual"] < 1e-5
    record, components, examples = read_search(report.folder)
    assert record["harmful"] == [{"class": "cat", "component": 1}]
    assert len(components) == 9
    assert {row["group"] for row in examples} == {"top", "carrier"}
    assert json.loads(json.dumps(report.record)) is not None


def test_every_image_passes_once_and_the_pictures_once_more(sources):
    classifier = toy_classifier()
    report = spurious_report(classifier, sources[1], sources[0], sources_folder(sources))
    shown = pq.read_table(report.folder / "spurious" / "examples.parquet").to_pylist()
    drawn = len({(row["class"], row["group"], row["item_id"]) for row in shown})
    assert classifier.backwards == 0
    assert classifier.forwards <= 360 + drawn + 4 * 64  # and the sample that settles the classes


def sources_folder(sources):
    from pathlib import Path

    return Path(sources[0].spec.path).parent / "out"


def test_progress_names_its_stages_in_order(written):
    _, told = written
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["reference", "read", "components", "pictures"]
    assert all(0 <= progress.done <= progress.total for progress in told)


def test_without_reference_a_part_of_the_data_is_held_out(sources):
    search = searched(toy_classifier(), sources[1], config=SpuriousConfig(min_images=10))
    assert not search.referenced
    assert len(search.search) + len(search.held_out) == 180
    assert not set(search.search.image_ids) & set(search.held_out.image_ids)
    assert 50 < len(search.held_out) < 130
    assert search.classes[0].harmful == [0]


def test_images_that_are_in_both_sets_judge_nothing(sources):
    with pytest.raises(DataError, match="every image of DATA is among the reference images"):
        searched(toy_classifier(), sources[0], sources[0])


def test_asked_classes_are_searched_and_no_others(sources):
    search = searched(toy_classifier(), sources[1], sources[0], config=SpuriousConfig(classes=("dog",)))
    assert list(search.classes) == [1]
    with pytest.raises(InputError, match='class "dgo" is not among the model\'s 3 classes; nearest: "dog"'):
        searched(toy_classifier(), sources[1], sources[0], config=SpuriousConfig(classes=("dgo",)))


def test_too_few_images_are_said(sources):
    config = SpuriousConfig(classes=("cat",), min_images=100)
    with pytest.raises(InputError, match='class "cat": 60 images, fewer than 100'):
        searched(toy_classifier(), sources[1], sources[0], config=config)
    with pytest.raises(DataError, match="every class has too few images"):
        searched(toy_classifier(), sources[1], sources[0], config=SpuriousConfig(min_images=100))


def test_labels_repair_and_the_repaired_classifier_says_what_was_measured(sources, written, tmp_path):
    basis = written[0].search.basis
    labels = tmp_path / "labels.csv"
    labels.write_text(f"class,component,label,basis\ncat,1,spurious,{basis}\ndog,1,core,{basis}\n", encoding="utf-8")
    classifier = toy_classifier()
    report = spurious_report(classifier, sources[1], sources[0], tmp_path / "out", labels=labels)
    ours, published = report.repairs
    assert (ours.start, published.start) == ("others", "class")
    assert ours.read_as_after < 0.2 * ours.read_as
    assert ours.after.value > ours.before.value
    assert ours.mean("ap_after") > ours.mean("ap")
    repaired = report.repaired(classifier)
    x, label, _ = toy_images(60, (0.5, 0.3, 0.3), seed=1)
    x = (255 * x).round() / 255
    assert float((repaired.predict(x) == label).double().mean()) == pytest.approx(ours.after.value)
    _, components, _ = read_search(tmp_path / "out")
    assert [row["label"] for row in components if row["label"]] == ["spurious", "core"]
    again = read_labels(tmp_path / "out" / "spurious" / "labels.csv", ClassList(NAMES), {0: 3, 1: 3, 2: 3}, basis)
    assert again.spurious == {0: [0]}


def test_a_refitted_head_is_measured_beside_spufix(sources, written, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("class,component,label\ncat,1,spurious\n", encoding="utf-8")
    classifier = toy_classifier()
    report = spurious_report(
        classifier, sources[1], sources[0], tmp_path / "out", labels=labels, settings={"refit": True}
    )
    spufix, _, refit = report.repairs
    assert refit.start == "refit"
    assert (refit.read_as, refit.carriers) == (spufix.read_as, spufix.carriers)
    assert "30 that show most of the components left out" in refit.note
    own = report.search.held_out.features.label == 0
    component = report.search.classes[0]
    assert refit.biases[0].before == spufix.biases[0].before == component.bias[0].bias
    assert refit.biases[0].after != refit.biases[0].before or refit.after == refit.before
    x, label, _ = toy_images(60, (0.5, 0.3, 0.3), seed=1)
    x = (255 * x).round() / 255
    right = report.refitted(classifier).predict(x) == label
    assert float(right.double().mean()) == pytest.approx(refit.after.value)
    assert float(right[label == 0].double().mean()) == pytest.approx(refit.own_after.value)
    assert int(own.sum()) == 60
    assert json.loads((tmp_path / "out" / "spurious" / "search.json").read_text())["repairs"][2]["bias"] is not None
    with pytest.raises(InputError, match="no head was refitted"):
        written[0].refitted(classifier)


def test_the_basis_changes_with_model_images_and_components_only(sources):
    def basis(classifier, reference, **settings):
        return searched(classifier, sources[1], reference, config=SpuriousConfig(**settings)).basis

    plain = basis(toy_classifier(), sources[0])
    assert basis(toy_classifier(), sources[0], top=3, start="class") == plain
    assert basis(toy_classifier(), sources[0], components=2) != plain
    assert basis(toy_classifier(torch.eye(3).flip(0)), sources[0]) != plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class,label\ncat,spurious\n", 'line 1: no column "component"'),
        ("", 'line 1: no column "class"'),
        ("class,component,label\ncat,1,spurious\ncatt,1,core\n", 'line 3: class "catt" is not among .* nearest: "cat"'),
        ("class,component,label\ncat,0,spurious\n", r'line 2: component must be a number in 1\.\.3, got "0"'),
        ("class,component,label\ncat,4,spurious\n", r"line 2: component must be a number in 1\.\.3"),
        ("class,component,label\ncat,one,spurious\n", 'line 2: .* got "one"'),
        ("class,component,label\ncat,1,spurios\n", 'line 2: label must be .* got "spurios"; nearest: "spurious"'),
        ("class,component,label\nbird,1,core\n", 'line 2: class "bird" has no components here'),
        ("class,component,label\ncat,1,core\nn1,1,spurious\n", 'line 3: .* is "spurious" here and "core" in line 2'),
        ('class,component,label\n"cat,1,spurious\n', "not CSV"),
        ("class,component,label,basis\ncat,1,core,other\n", "line 2: this label belongs to another search"),
    ],
)
def test_bad_rows_of_labels_are_refused_with_their_line(tmp_path, text, said):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_labels(path, CLASSES, {0: 3, 1: 3}, "mine")


def test_labels_by_name_wnid_or_index_with_blanks_and_more_columns_are_read(tmp_path):
    path = tmp_path / "labels.csv"
    text = "note,class,component,label\nx,cat,1, Spurious \ny,n2,3,core\n,1,2,unsure\n,dog,1,\n"
    path.write_text("\ufeff" + text, encoding="utf-8")
    labels = read_labels(path, CLASSES, {0: 3, 1: 3}, "mine")
    assert labels.words == {(0, 0): "spurious", (1, 2): "core", (1, 1): "unsure"}
    assert labels.spurious == {0: [0]}
    with pytest.raises(InputError, match="labels cannot be read"):
        read_labels(tmp_path / "none.csv", CLASSES, {})


def test_a_name_that_stands_for_two_classes_is_refused():
    with pytest.raises(InputError, match=r"stands for classes \[0, 1\] of the model; name it by index"):
        find_class("crane", ClassList(("crane", "crane")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"holdout": 1.0}, r"holdout must be in \(0, 1\)"),
        ({"refit_share": 1.0}, r"refit_share must be in \(0, 1\)"),
        ({"refit_pull": 0.0}, "refit_pull must be positive"),
        ({"ends": 0.7}, r"ends must be in \(0, 0\.5\]"),
        ({"top": 0}, "top must be at least 1"),
        ({"start": "here"}, "start must be"),
        ({"components": 0}, "components must be at least 1"),
        ({"min_carriers": 0}, "min_carriers must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        SpuriousConfig(**settings)


def test_an_odd_folder_is_refused(sources, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="a file is in the way"):
        spurious_report(toy_classifier(), sources[1], sources[0], tmp_path / "file")
    with pytest.raises(RunFolderError, match="no spurious analysis here"):
        read_search(tmp_path)


def test_inputs_are_of_the_size_that_the_toys_have(sources):
    search = searched(toy_classifier(), sources[1], sources[0])
    assert (search.held_out.images.spec.height, search.held_out.images.spec.width) == (SIDE, SIDE)
