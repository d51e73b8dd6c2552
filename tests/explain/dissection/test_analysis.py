"""Dissection finds the planted mark in the units that promote the sticker errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import whywrong as ww
from whywrong.core.errors import InputError
from whywrong.explain.dissection.config import DissectionConfig
from whywrong.explain.dissection.confusions import confusions
from whywrong.explain.dissection.pairs import PairEffects

QUICK = {"permutations": 19, "null_images": 16, "errors": 4, "examples": 1, "shown_units": 2, "images_each": 1}


def effects(s: torch.Tensor, g: torch.Tensor) -> PairEffects:
    n = len(s)
    zero = torch.zeros(n, dtype=torch.int64)
    return PairEffects(zero, zero + 1, s, g, torch.zeros(n, 2), torch.zeros(n), torch.ones(n, 1))


def test_a_unit_that_promotes_all_errors_but_no_control_is_the_suspect():
    g = torch.Generator().manual_seed(0)
    s, up = torch.randn(12, 30, generator=g).double(), torch.randn(12, 30, generator=g).double()
    s[:, 7], up[:, 7] = 0.1, 2.0
    control = torch.randn(2, 12, 30, generator=g).double()
    found = confusions([effects(s, up)], [effects(control[0], control[1])], DissectionConfig())
    assert [(one.label, one.predicted, one.errors) for one in found] == [(-1, -1, 12), (-1, 1, 12), (0, 1, 12)]
    assert found[2].suspects.tolist() == [7]
    same = confusions([effects(s, up)], [effects(s, up)], DissectionConfig())
    assert same[2].suspects.tolist() == []  # the controls show the same
    alone = confusions([effects(s, up)], [], DissectionConfig())
    assert alone[2].suspects.tolist() == []  # nothing to compare with


def test_random_effects_rarely_make_a_suspect():
    named = 0
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        s, up, other_s, other_up = torch.randn(4, 10, 64, generator=g).double()
        found = confusions([effects(s, up)], [effects(other_s, other_up)], DissectionConfig())
        named += any(len(one.suspects) for one in found)
    assert named <= 2


def test_no_errors_have_no_effects():
    assert confusions([], [], DissectionConfig()) == ()


@pytest.mark.parametrize("wrong", [{"quantile": 0}, {"iou": 1}, {"concepts": "clip"}, {"permutations": 5}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        DissectionConfig(**wrong)


def test_painted_concepts_work_on_any_data_and_batch_size(tmp_path):
    x = torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    tables = []
    for size in (4, 10):
        net = ww.load_classifier("planted:cnn", batch_size=size)
        report = ww.dissect(net, (x, torch.arange(10)), tmp_path / str(size), layer="stem", **QUICK)
        tables.append(report.tables["dissection"].to_pandas())
        assert report.page.is_file()
    assert tables[0].concept.tolist() == tables[1].concept.tolist()
    assert tables[0].iou.to_numpy() == pytest.approx(tables[1].iou.to_numpy(), abs=1e-3)
    assert len(tables[0]) == 24


@pytest.mark.slow
def test_the_mark_is_the_concept_of_the_unit_that_promotes_sticker_errors_most(tmp_path):
    report = ww.dissect(ww.load_classifier("planted:cnn-spurious"), "planted:causes", tmp_path / "d", errors=320)
    table = report.tables["unit_effects"].to_pandas()
    fish = table[(table.label == -1) & (table.predicted_name == "fish")].sort_values("promotion")
    concept = dict(zip(*(report.tables["dissection"][name].to_pylist() for name in ("unit", "concept")), strict=True))
    assert concept[int(fish.unit.iloc[-1])] == "fault/mark"


@pytest.mark.slow
def test_units_of_a_network_with_permuted_weights_detect_nothing(tmp_path):
    classifier = ww.load_classifier("planted:cnn-spurious")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in classifier.module.parameters():
            if weight.ndim > 1:
                weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=generator)].view(weight.shape))
    shuffled = ww.Classifier(classifier.module, classes=classifier.classes, preprocess=classifier.preprocess)
    report = ww.dissect(shuffled, "planted:causes", tmp_path / "d", errors=0)
    assert np.mean(report.tables["dissection"]["detects"].to_pylist()) <= 0.1
