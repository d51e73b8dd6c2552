"""Models and images that do not allow all of the evidence: the verdict abstains, and ``lacks`` names what was missing.

None of these runs holds evidence of a method: a verdict takes all that it needs itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.verdicts import quadrants
from torch import Tensor, nn

from whywrong.api.verdicts import VerdictReport, give_verdicts
from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.errors import RunFolderError
from whywrong.core.input_spec import InputSpec
from whywrong.data.sources import Source, open_source
from whywrong.explain.signs import SIGNS
from whywrong.models.classifier import Classifier
from whywrong.runs.folder import RunFolder

FEW = {"reference_images": 60, "least_reference": 60, "controls": 0}


class Brightest(nn.Module):
    """Logits from the mean of each quadrant, with noise of its own at each call."""

    def __init__(self, classes: int, noise: float) -> None:
        super().__init__()
        self.noise, self.head = noise, nn.Linear(4, classes)
        with torch.no_grad():
            self.head.weight.copy_(30 * torch.eye(4)[:classes])
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        parts = [x[:, :, r : r + half, c : c + half].mean((1, 2, 3)) for r in (0, half) for c in (0, half)]
        logits = self.head(torch.stack(parts, 1))
        return logits + self.noise * torch.randn_like(logits)


def model(
    classes: int = 4, side: int = 16, channels: int = 3, *, noise: float = 0.0, access: Access | None = None
) -> Classifier:
    return Classifier(
        Brightest(classes, noise),
        classes=ClassList(quadrants.NAMES[:classes]),
        preprocess=InputSpec(height=side, width=side, channels=channels),
        access=access,
        identity="brightest",
    )


def images(folder: Path, count: int = 110, classes: int = 4, side: int = 16, channels: int = 3) -> Source:
    """Images of one bright quadrant, of which 15 % have the label of another class."""
    rng, half = np.random.default_rng(0), side // 2
    true = rng.integers(0, classes, count)
    pixels = rng.integers(40, 120, (count, side, side, channels))
    for number, quadrant in enumerate(true.tolist()):
        row, column = divmod(quadrant, 2)
        pixels[number, row * half : (row + 1) * half, column * half : (column + 1) * half] += rng.integers(10, 60)
    labels = np.where(rng.random(count) < 0.15, rng.integers(0, classes, count), true)
    return saved(folder, pixels, labels)


def saved(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> Source:
    np.savez(folder / "data.npz", images=pixels.astype(np.uint8), labels=labels)
    return open_source(folder / "data.npz")


def verdicts(folder: Path, source: Source, classifier: Classifier, **more) -> VerdictReport:
    run = quadrants.diagnosed(folder / "run", source, classifier)
    return give_verdicts(run, classifier, source, settings=FEW, **more)


def lacking(report: VerdictReport) -> set[str]:
    """What each of the errors lacks."""
    return set.intersection(*(set(row["lacks"]) for row in report.tables["verdicts"].to_pylist()))


def status_of(report: VerdictReport, **has: object) -> set[tuple[str, str]]:
    """Status and reason of the signs with these attributes."""
    chosen = {sign.name for sign in SIGNS if all(getattr(sign, name) == value for name, value in has.items())}
    return {(row["status"], row["reason"]) for row in report.tables["signs"].to_pylist() if row["sign"] in chosen}


def test_data_of_one_class_lack_correct_images_of_another(tmp_path):
    images(tmp_path, 440)
    with np.load(tmp_path / "data.npz") as data:
        pixels, labels = data["images"], data["labels"]
    only = labels == 0
    report = verdicts(tmp_path, saved(tmp_path, pixels[only], labels[only]), model())
    assert report.record["errors"] > 0
    assert report.record["stated"] == {}
    assert "correct images of another class than nw" in report.record["lacks"]
    assert {"feature_log_ratio", "pair_closeness"} <= lacking(report)


def test_two_classes_have_no_third_and_no_pairs(tmp_path):
    report = verdicts(tmp_path, images(tmp_path, classes=2), model(classes=2))
    assert report.record["errors"] > 0
    assert report.record["stated"] == {}
    assert {"log_rank_label", "log_rank_share", "second_gap", "label_second"} <= lacking(report)
    assert {"pair_closeness", "pair_rank"} <= lacking(report)
    assert status_of(report, least_classes=3) == {("skipped", "needs a model of at least 3 classes, this one has 2")}


def test_grey_images_have_no_signs_of_colour(tmp_path):
    report = verdicts(tmp_path, images(tmp_path, channels=1), model(channels=1))
    assert report.record["errors"] > 0
    assert report.record["stated"] == {}
    assert {"colourfulness", "chroma_fine", "cell_chroma"} <= lacking(report)
    assert status_of(report, colour=True) == {("skipped", "needs images of 3 channels, these have 1")}


def test_images_under_16_pixels_have_no_windows_and_no_recurrence(tmp_path):
    report = verdicts(tmp_path, images(tmp_path, side=8), model(side=8))
    assert report.record["errors"] > 0
    assert report.record["stated"] == {}
    assert {"pixels_local", "window", "blockiness"} <= lacking(report)
    assert status_of(report, group="pixels_local") == {
        ("skipped", "needs images of at least 16 pixels a side, these have 8")
    }
    assert not any(group["kind"] == "mark" for group in report.tables["groups"].to_pylist())


def test_a_model_of_random_answers_survives_nothing(tmp_path):
    report = verdicts(tmp_path, images(tmp_path, 150), model(noise=2.0))
    assert report.record["errors"] > 0
    assert report.record["stated"] == {}
    assert "survival" in lacking(report)
    (why,) = {text for text in lacking(report) if text.startswith("survival of small changes: the model gives another")}
    reason = why.removeprefix("survival of small changes: ")
    refused = status_of(report, stage="survival") - {("skipped", "needs a model of at least 6 classes, this one has 4")}
    assert refused == {("refused", reason)}


def test_with_labels_only_a_helper_is_asked_and_scores_are_lacking(tmp_path):
    helper = quadrants.classifier(dot=0.0, identity="other", seed=1)
    report = verdicts(tmp_path, images(tmp_path), model(access=Access.LABELS), helpers=[helper])
    assert report.record["errors"] > 0
    assert report.record["stated"] == {}
    assert {"scores", "gradient", "window", "features"} <= lacking(report)
    assert "helper" not in lacking(report)
    assert all(row["helper"] == ["other"] for row in report.tables["verdicts"].to_pylist())
    opinions = [text for row in report.tables["verdicts"].to_pylist() for text in row["for_text"] + row["against_text"]]
    assert any(text.startswith("Another model predicts") for text in opinions)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[RunFolder, Source]:
    folder = tmp_path_factory.mktemp("whole")
    source = images(folder)
    return quadrants.diagnosed(folder / "run", source, model()), source


@pytest.mark.parametrize(
    ("gone", "message"),
    [("parts", r"shard of predictions is missing; run the same diagnose again"), ("items", r"items are here")],
)
def test_an_incomplete_run_is_refused_with_the_way_to_finish_it(tmp_path, run, gone, message):
    whole, source = run
    shutil.copytree(whole.path, tmp_path / "run")
    for path in sorted((tmp_path / "run" / gone).rglob("*.parquet")):
        path.unlink()
    with pytest.raises(RunFolderError, match=message):
        give_verdicts(RunFolder(tmp_path / "run"), model(), source, settings=FEW)
