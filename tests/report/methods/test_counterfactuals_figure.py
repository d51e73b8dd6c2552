"""The figure of counterfactuals: what is drawn, what is only named, and the common scale."""

from __future__ import annotations

import dataclasses

import matplotlib as mpl
import pytest
import torch
from tests.contract.nets import build, images

import whywrong
from whywrong.explain.counterfactuals import CounterfactualConfig, CounterfactualResult, counterfactual
from whywrong.models.classifier import Classifier

mpl.use("Agg")


@pytest.fixture(scope="module")
def case() -> tuple[CounterfactualResult, torch.Tensor]:
    net, x = build("gap"), images(3, seed=1)
    x[2, 0, 0, 0] = torch.nan
    with torch.no_grad():
        y = torch.nan_to_num(net(torch.nan_to_num(x))).argsort(1)[:, -2]
    return counterfactual(Classifier(net), x, y, config=CounterfactualConfig(steps=6, trust=False)), x


def with_trust(result: CounterfactualResult, verdict: str) -> CounterfactualResult:
    entries = dataclasses.replace(result.entries, trust=(verdict,) * len(result.entries))
    return dataclasses.replace(result, entries=entries)


def texts(figure) -> str:
    return " ".join(t.get_text() for axis in figure.axes for t in [*axis.texts, axis.title, axis.xaxis.label])


def test_both_counterfactuals_and_their_changes_are_drawn_on_one_scale(case):
    result, x = case
    figure = whywrong.plot(with_trust(result, "semantic"), x, rows=[0])
    assert [len(axis.images) for axis in figure.axes] == [1] * 5
    scales = {figure.axes[i].images[0].get_clim() for i in (2, 4)}
    assert len(scales) == 1
    assert "into the true class" in texts(figure)
    assert "trust: semantic" in texts(figure)


def test_an_adversarial_one_is_not_drawn(case):
    result, x = case
    figure = whywrong.plot(with_trust(result, "adversarial"), x, rows=[0])
    assert [len(axis.images) for axis in figure.axes] == [1, 0, 0, 0, 0]
    assert "not\ndrawn as an explanation" in texts(figure)


def test_an_undecided_one_is_drawn_without_colours(case):
    result, x = case
    figure = whywrong.plot(with_trust(result, "undecided"), x, rows=[0])
    assert all(axis.images[0].get_cmap().name == "gray" for axis in figure.axes[1:])
    assert "may be no explanation" in texts(figure)


def test_an_image_that_could_not_be_read_says_why(case):
    result, x = case
    figure = whywrong.plot(result, torch.nan_to_num(x), rows=[2])
    assert "bad input: pixels are not finite" in texts(figure)
