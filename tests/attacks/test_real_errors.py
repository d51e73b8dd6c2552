"""The inverted attack on errors of trained nets."""

from __future__ import annotations

import io
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.models.classifier import Classifier


def errors(shared_data, shared_models, net: str, limit: int):
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"])
    classifier = Classifier(shared_models(net), batch_size=128)
    wrong = (classifier.predict(x) != y).nonzero().flatten()[:limit]
    return classifier, x[wrong], y[wrong]


def plain(classifier, x, y, **settings):
    return invert(classifier, x, y, detail=torch.zeros(len(x), dtype=torch.bool), config=InvertedConfig(**settings))


def test_every_error_of_a_trained_net_is_fixed_with_hardly_more_than_one_candidate(shared_data, shared_models):
    classifier, x, y = errors(shared_data, shared_models, "resnet20", 24)
    result = plain(classifier, x, y)
    assert result.fixed.all()
    assert float(result.q_candidates.float().mean()) <= 1.25
    assert int((result.forwards + result.backwards).max()) <= 60
    for levels, true in zip(result.fix_u8, y, strict=True):
        file = io.BytesIO()
        Image.fromarray(levels.permute(1, 2, 0).numpy()).save(file, "PNG")
        with Image.open(io.BytesIO(file.getvalue())) as png:
            back = torch.from_numpy(np.asarray(png).copy()).permute(2, 0, 1)[None].float() / 255
        assert int(classifier.predict(back)) == int(true)


def test_the_sign_attack_at_one_grey_level_needs_about_one_candidate(shared_data, shared_models):
    classifier, x, y = errors(shared_data, shared_models, "resnet20", 24)
    result = plain(classifier, x, y, attack="sign", quantise=False)
    assert result.fixed.all()
    assert float(result.q_candidates.float().mean()) <= 1.15


@pytest.mark.slow
def test_fixes_are_as_small_as_those_of_ddn_and_fmn(shared_data, shared_models):
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # imported by adv-lib for plots that are not drawn
    attacks = pytest.importorskip("adv_lib.attacks")
    classifier, x, y = errors(shared_data, shared_models, "robust_resnet", 64)
    result = plain(classifier, x, y)
    with classifier:
        peers = [
            attacks.ddn(classifier.module, x, y, targeted=True, steps=100, levels=None),
            attacks.fmn(classifier.module, x, y, norm=2, targeted=True, steps=100),
        ]
    right = result.fixed & torch.stack([classifier.predict(fix) == y for fix in peers]).all(0)
    best = min(float((fix - x).flatten(1).norm(dim=1)[right].median()) for fix in peers)
    assert float(result.l2[right].median()) <= 1.10 * best


@pytest.mark.slow
def test_fixes_are_smaller_than_those_of_foolbox_at_as_many_passes(shared_data, shared_models):
    foolbox = pytest.importorskip("foolbox")
    classifier, x, y = errors(shared_data, shared_models, "robust_resnet", 64)
    result = plain(classifier, x, y)
    with classifier:
        wrapped = foolbox.PyTorchModel(classifier.module, bounds=(0, 1), device="cpu")
        _, fixes, success = foolbox.attacks.DDNAttack(steps=25)(
            wrapped, x, foolbox.criteria.TargetedMisclassification(y), epsilons=None
        )
    right = result.fixed & success
    assert (result.l2[right].median() <= (fixes - x).flatten(1).norm(dim=1)[right].median()).item()
