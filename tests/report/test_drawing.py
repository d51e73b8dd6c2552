"""Figures of single results: one line an image, drawn by the method that made them."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.errors import InputError
from whywrong.core.result import MethodResult
from whywrong.explain.cam import CamConfig, cam
from whywrong.models.classifier import Classifier
from whywrong.report import plot


class Small(nn.Module):
    """Two convolutions, global average, linear: three classes of 32 x 32 images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def case() -> tuple[Classifier, Tensor, Tensor]:
    torch.manual_seed(0)
    classifier = Classifier(Small().eval())
    x = torch.rand(3, 3, 32, 32)
    y = (classifier.logits(x).argmax(1) + 1) % 3
    return classifier, x, y


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def test_a_fix_is_drawn_with_region_contribution_and_amplified_change(case):
    classifier, x, y = case
    result = invert(classifier, x[:1], y[:1], config=InvertedConfig(segments=20))
    figure = plot(result, x[:1])
    assert len(figure.axes) == 4
    assert titles(figure)[0] == "image"
    labels = " ".join(axis.get_xlabel() for axis in figure.axes)
    assert "grey level" in labels
    assert any("×" in title for title in titles(figure))


def test_evidence_is_drawn_for_both_classes_and_their_difference(case):
    classifier, x, y = case
    figure = plot(cam(classifier, x, y, config=CamConfig()), x, rows=[2])
    assert len(figure.axes) == 4
    assert titles(figure)[3].startswith("difference, 8 × 8 cells")


def test_drawing_leaves_no_figure_behind(case):
    from matplotlib import pyplot

    classifier, x, y = case
    plot(cam(classifier, x, y, config=CamConfig()), x)
    assert pyplot.get_fignums() == []


def test_images_and_rows_must_belong_to_the_result(case):
    classifier, x, y = case
    result = cam(classifier, x, y, config=CamConfig())
    with pytest.raises(InputError, match="x holds 2 images, the result 3"):
        plot(result, x[:2])
    with pytest.raises(InputError, match=r"rows must be in 0\.\.2"):
        plot(result, x, rows=[3])


def test_a_result_of_no_registered_method_is_refused(case):
    class Other(MethodResult):
        forwards = torch.zeros(3)

    with pytest.raises(InputError, match="no registered method draws a Other"):
        plot(Other(), case[1])
