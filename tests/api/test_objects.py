"""Runs over models and data in memory: three lines to a report, resumed with the same data, refused with other data."""

from __future__ import annotations

import re

import pytest
import torch
from PIL import Image
from tests.data.objects.sets import SIDE, labels, pixels, tensors
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import whywrong as ww
from whywrong.core.errors import DataError, InputError, RunFolderError

X, Y = tensors(12), labels(12)
ONE = {"methods": ["cam"]}


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


def stamps(run: ww.RunFolder) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in run.path.rglob("*.parquet")}


def test_a_module_and_a_loader_give_a_report_that_the_same_images_resume(net, tmp_path):
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
    run = ww.diagnose(net, loader, tmp_path / "run", **ONE)
    wrong = int((net(X).argmax(1) != Y).sum())
    page = (run.path / "report.html").read_text("utf-8")
    assert "torch Sequential" in page
    assert "torch TensorDataset, 12 items" in page
    assert run.errors().num_rows == wrong > 0
    assert run.meta["given"] == {"model": "torch Sequential", "data": "torch TensorDataset, 12 items"}
    assert "shuffles" in run.meta["data"]["warnings"][0]

    before = stamps(run)
    again = ww.diagnose(net, [(x, int(y)) for x, y in zip(X, Y, strict=True)], tmp_path / "run", **ONE)
    assert stamps(again) == before
    with pytest.raises(RunFolderError, match=r"data\.path was"):
        ww.diagnose(net, (X[:11], Y[:11]), tmp_path / "run", **ONE)
    net[0].weight.data += 1
    with pytest.raises(RunFolderError, match=r"model\.identity was"):
        ww.diagnose(net, loader, tmp_path / "run", **ONE)


def test_more_workers_are_not_used_for_what_exists_in_memory_and_it_is_said(net, tmp_path):
    with pytest.warns(UserWarning, match="the classifier and the data set exist only in memory"):
        run = ww.diagnose(net, (X, Y), tmp_path / "a", workers=2, **ONE)
    assert "one worker does it all" in run.meta["notes"][0]
    with pytest.warns(UserWarning, match="the data set exists only in memory"):
        ww.diagnose(ww.load_classifier("planted:cnn"), (pixels(12, side=64), Y), tmp_path / "b", workers=2, **ONE)


def test_an_image_in_memory_is_explained(net, tmp_path):
    image = Image.fromarray(pixels()[0])
    classifier = ww.load_classifier(net, classes=["cat", "dog", "fox"], input_size=(3, SIDE, SIDE))
    true = classifier.classes.names[(int(classifier.predict(X[:1])) + 1) % 3]
    run = ww.explain_image(classifier, image, true, tmp_path / "run", **ONE)
    assert run.errors()["label_name"].to_pylist() == [true]
    with pytest.raises(InputError, match='class "cow" is not among'):
        ww.explain_image(classifier, image, "cow", tmp_path / "other", **ONE)


def test_images_that_cannot_be_used_are_failed_items_of_the_run(net, tmp_path):
    samples = [(x, int(y)) for x, y in zip(X, Y, strict=True)]
    samples[3] = (torch.zeros(5, SIDE, SIDE), 0)
    run = ww.diagnose(ww.load_classifier(net, input_size=(3, SIDE, SIDE)), samples, tmp_path / "run", **ONE)
    failed = run.query("select key, reason from predictions where status = 'failed'").to_pylist()
    assert [row["key"] for row in failed] == ["3-unreadable"]
    assert "1 or 3 channels" in failed[0]["reason"]


def test_claims_take_modules_and_tensors(net):
    with pytest.raises(InputError, match="models must be a list of classifiers"):
        ww.reproduce_claim("inverted.1", net, (X, Y))
    assert ww.reproduce_claim("inverted.1", [net], (X, Y), {"limit": 4}).n > 0


def test_without_labels_there_is_nothing_to_judge_and_the_data_are_named(net):
    with pytest.raises(DataError, match=r"Tensor \(12, 3, 8, 8\), 12 items: no labelled image could be read"):
        ww.check(net, X, label_column="none")


@pytest.mark.parametrize(
    ("call", "settings", "words"),
    [
        (ww.diagnose, {"dept": "quick"}, 'no setting "dept"; nearest: "depth"; the settings are: batch_size, boxes'),
        (ww.diagnose, {"force": True}, 'no setting "force"; the settings are'),
        (ww.check, {"label_columns": 1}, 'no setting "label_columns"; nearest: "label_column"'),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path, call, settings, words):
    out = (tmp_path / "run",) if call is ww.diagnose else ()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    with pytest.raises(InputError, match=re.escape(words)):
        call(net, (torch.rand(4, 3, 8, 8), torch.arange(4) % 2), *out, **settings)
