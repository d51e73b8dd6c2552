"""Judges that a setting names."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual
from whywrong.explain.counterfactuals.named import named_judges
from whywrong.models.classifier import Classifier
from whywrong.models.zoo import load_classifier


def test_a_named_judge_is_asked_as_one_that_is_handed_over():
    explained = load_classifier("planted:cnn")
    x = torch.rand(2, 3, 64, 64)
    y = explained.logits(x).argsort(1, descending=True)[:, 1]
    config = CounterfactualConfig(steps=2, judges=("planted:vit",))
    named = counterfactual(explained, x, y, config=config)
    handed = counterfactual(
        explained, x, y, judges=[load_classifier("planted:vit")], config=CounterfactualConfig(steps=2)
    )
    assert named.entries.trust == handed.entries.trust
    torch.testing.assert_close(named.entries.trust_score, handed.entries.trust_score, rtol=0, atol=0, equal_nan=True)
    assert bool(named.entries.trust_score.isfinite().all())


def test_a_judge_is_loaded_once_and_must_take_the_images_as_they_are():
    x = torch.rand(1, 3, 64, 64)
    assert named_judges(["planted:vit"], x)[0] is named_judges(["planted:vit"], x)[0]
    with pytest.raises(InputError, match=r"judge planted:vit takes images of 3 x 64 x 64.*3 x 32 x 32"):
        named_judges(["planted:vit"], torch.rand(1, 3, 32, 32))
    with pytest.raises(InputError):
        named_judges(["planted:nobody"], x)


def test_a_judge_that_is_the_explained_classifier_is_refused():
    explained = load_classifier("planted:cnn")
    x = torch.rand(1, 3, 64, 64)
    with pytest.raises(InputError, match="is the explained classifier"):
        counterfactual(explained, x, torch.tensor([0]), config=CounterfactualConfig(steps=1, judges=("planted:cnn",)))
    assert isinstance(explained, Classifier)
