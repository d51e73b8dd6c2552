"""``whywrong robustness`` from the outside."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import whywrong as ww
from whywrong.core.errors import InputError, ModelError

FEW = ("--images", "6", "--progress", "none")


def test_two_models_are_compared_in_a_table_and_a_page_and_again_without_passes(whywrong, tmp_path):
    words = ("robustness", "planted:cnn", "planted:vit", "planted:test", *FEW, "--out", tmp_path)
    settings = ("positions=2", "steps=3", "draws=2")
    words += ("--row", "patch_noise", "--row", "pgd_linf", *(word for one in settings for word in ("--set", one)))
    code, out, err = whywrong(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].replace("\u00a0", " ").startswith("2 models on 6 images")
    assert [line.split()[0] for line in lines[1:9:2]] == ["clean", "noise_linf", "pgd_linf", "patch_noise"]
    assert f"Page: {tmp_path / 'robustness.html'}" in lines
    page = (tmp_path / "robustness.html").read_text("utf-8")
    assert "Paired tests" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    code, out, _ = whywrong(*words, "--json")
    assert first == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    told = json.loads(out)
    assert told["record"]["models"] == ["planted:cnn", "planted:vit"]
    assert {one["kind"] for one in told["tests"]} == {"models", "control"}


def test_a_labels_only_model_keeps_the_rows_that_need_no_more(whywrong, small, tmp_path):
    rows = ("--row", "noise_l2", "--row", "pgd_l2", "--access", "labels")
    code, out, _ = whywrong("robustness", small.model, small.images, *FEW, *rows, "--out", tmp_path)
    assert code in (0, 1)
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert "fooled" in lines["noise_l2"]
    assert "not measured: needs access to gradients, this model grants labels" in lines["pgd_l2"]
    assert "needs access to gradients" in (tmp_path / "robustness.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--row", "pgd_lnf"), 'no row "pgd_lnf"; nearest: "pgd_linf"'),
        (("--set", "patch=500"), "a patch of 500 x 500 pixels does not fit into images of 64 x 64"),
        (("--set", "temperatures=0.5"), "temperatures must be above 1"),
        (("--set", "corruptions=fogg"), 'no corruption "fogg"; nearest: "fog"'),
        (("--set", "epss=1"), 'unknown setting "robustness.epss"; nearest: "robustness.eps"'),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(whywrong, tmp_path, words, message):
    code, out, err = whywrong("robustness", "planted:cnn", "planted:test", *FEW, *words, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err


def test_one_model_twice_is_refused_before_it_loads(whywrong, tmp_path):
    code, _, err = whywrong("robustness", "planted:cnn", "planted:cnn", "planted:test", "--out", tmp_path / "out")
    assert code == 2
    assert "planted:cnn is given twice" in err


def net(outputs: int = 3, side: int = 8, classes=("a", "b", "c"), seed: int = 0) -> ww.Classifier:
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * side * side, outputs))
    return ww.Classifier(layers, classes=list(classes), preprocess=ww.InputSpec(height=side, width=side))


def data(side: int = 8, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((9, 3, side, side), dtype=np.float32), np.arange(9) % classes


def test_models_that_cannot_be_compared_are_named(tmp_path):
    with pytest.raises(InputError, match="model 1 and model 2 differ in their classes"):
        ww.robustness([net(), net(classes=("a", "c", "b"), seed=1)], data(), tmp_path / "a")
    with pytest.raises(InputError, match="model 1 takes images of 3 x 8 x 8 and model 2 of 3 x 4 x 4"):
        ww.robustness([net(), net(side=4)], data(), tmp_path / "b")
    with pytest.raises(InputError, match="model 2 and model 1 are the same model"):
        ww.robustness([net(), net()], data(), tmp_path / "c")
    with pytest.raises(InputError, match="at least one"):
        ww.robustness([], data(), tmp_path / "d")
    with pytest.raises(InputError, match="2 different names"):
        ww.robustness([net(), net(seed=1)], data(), tmp_path / "e", names=["x", "x"])


def test_corruptions_of_images_that_are_too_small_are_missing_with_the_reason(tmp_path):
    rows = ww.robustness(net(), data(), tmp_path, rows=["corruptions"]).rows
    assert [row["reason"] is None for row in rows] == [True, False]
    assert "32 to 512 pixels" in rows[1]["reason"]


def test_images_that_are_all_misclassified_leave_nothing_to_fool(tmp_path):
    x, _ = data()
    classifier = net()
    wrong = (classifier.predict(torch.from_numpy(x)) + 1) % 3
    report = ww.robustness(classifier, (x, wrong.numpy()), tmp_path, rows=["noise_linf", "pgd_linf"], steps=2)
    assert all(row["fooled"] is None and row["right"] == 0 for row in report.rows)
    assert "so no attack can be measured" in report.page.read_text("utf-8")


def test_images_of_one_class_end_in_a_page_and_a_model_of_one_output_is_refused(tmp_path):
    report = ww.robustness(net(), data(classes=1), tmp_path / "a", rows=["affine_grid", "pgd_linf_targeted"], steps=2)
    assert all(row["reason"] is None for row in report.rows)
    assert report.page.is_file()
    with pytest.raises(ModelError, match="model 1 cannot classify these images: the model returns one number"):
        ww.robustness(net(1, classes=("a",)), data(classes=1), tmp_path / "b", rows=["affine_grid"])


def test_models_are_called_without_their_folders_where_that_tells_them_apart():
    from whywrong.cli.trials.robustness import _short_names

    assert _short_names(["a/nets.py:cnn", "b/nets.py:vit"]) == ["nets.py:cnn", "nets.py:vit"]
    assert _short_names(["a/nets.py:cnn", "b/nets.py:cnn"]) == ["a/nets.py:cnn", "b/nets.py:cnn"]
