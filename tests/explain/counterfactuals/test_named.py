"""Judges and helpers that a setting names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual
from whywrong.explain.counterfactuals.guidance import check_auxiliary
from whywrong.explain.counterfactuals.judges import check_judges
from whywrong.explain.counterfactuals.ladder import choose_guide
from whywrong.explain.counterfactuals.named import check_named, named_helper, named_judges
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier


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
    x, explained = torch.rand(1, 3, 64, 64), load_classifier("planted:cnn")
    assert named_judges(["planted:vit"], x, explained)[0] is named_judges(["planted:vit"], x, explained)[0]
    with pytest.raises(InputError, match=r"judge planted:vit takes images of 3 x 64 x 64.*3 x 32 x 32"):
        named_judges(["planted:vit"], torch.rand(1, 3, 32, 32), explained)
    with pytest.raises(InputError):
        named_judges(["planted:nobody"], x, explained)


def test_a_judge_that_is_the_explained_classifier_is_refused():
    explained = load_classifier("planted:cnn")
    x = torch.rand(1, 3, 64, 64)
    with pytest.raises(InputError, match="is the explained classifier"):
        counterfactual(explained, x, torch.tensor([0]), config=CounterfactualConfig(steps=1, judges=("planted:cnn",)))
    assert isinstance(explained, Classifier)


def wrong_ones(n=3):
    explained = load_classifier("planted:cnn")
    x = torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return explained, x, explained.logits(x).argsort(1, descending=True)[:, 1]


@pytest.mark.parametrize("way", ["cone", "ensemble"])
def test_a_named_helper_guides_as_one_whose_objective_is_handed_over(way):
    explained, x, y = wrong_ones()
    config = CounterfactualConfig(steps=2, aux="planted:cnn-robust", way=way, judges=("planted:vit",))
    named = counterfactual(explained, x, y, config=config)
    aux = load_classifier("planted:cnn-robust")
    handed = counterfactual(
        explained,
        x,
        y,
        objective=choose_guide(explained, aux=aux, way=way).objective,
        aux=aux,
        judges=[load_classifier("planted:vit")],
        config=CounterfactualConfig(steps=2),
    )
    torch.testing.assert_close(named.entries.z, handed.entries.z, rtol=0, atol=0)
    assert named.entries.trust_reason == handed.entries.trust_reason
    assert set(named.entries.guide) == {"auxiliary"}
    assert "planted:cnn-robust" in named.columns()["guided_by"][0]
    plain = counterfactual(explained, x, y, config=CounterfactualConfig(steps=2))
    assert not torch.equal(named.entries.z, plain.entries.z)
    assert set(plain.entries.guide) <= {"none", "own gradient"}


def test_guided_verdicts_do_not_depend_on_the_batch_and_every_pass_is_counted():
    explained, x, y = wrong_ones()
    config = CounterfactualConfig(steps=2, aux="planted:cnn-robust", judges=("planted:vit",))
    keys = torch.tensor([5, 6, 7])
    before = explained.forwards, explained.backwards
    whole = counterfactual(explained, x, y, keys=keys, config=config)
    assert int(whole.forwards.sum()) == explained.forwards - before[0]
    assert int(whole.backwards.sum()) == explained.backwards - before[1]
    alone = counterfactual(explained, x[1:2], y[1:2], keys=keys[1:2], config=config)
    rows = whole.entries.row == 1
    assert [one for one, at in zip(whole.entries.trust, rows.tolist(), strict=True) if at] == list(alone.entries.trust)
    torch.testing.assert_close(whole.entries.trust_score[rows], alone.entries.trust_score, rtol=1e-3, atol=1e-3)


def test_a_helper_that_cannot_serve_is_refused():
    explained, x, y = wrong_ones(1)
    with pytest.raises(InputError, match="aux is the explained classifier itself"):
        counterfactual(explained, x, y, config=CounterfactualConfig(steps=1, aux="planted:cnn"))
    with pytest.raises(InputError, match=r"helper planted:vit takes images of 3 x 64 x 64"):
        named_helper("planted:vit", torch.rand(1, 3, 32, 32), load_classifier("planted:cnn"))
    with pytest.raises(InputError, match="cannot judge it"):
        CounterfactualConfig(aux="planted:vit", judges=("planted:vit",))
    with pytest.raises(InputError, match="aux guides log_probability"):
        CounterfactualConfig(aux="planted:vit", objective="margin")
    with pytest.raises(InputError, match=r"angle must be in \(0, 90\] degrees"):
        CounterfactualConfig(angle=120.0)
    with pytest.raises(InputError, match="way must be one of cone, ensemble"):
        CounterfactualConfig(way="push")  # type: ignore[arg-type]


def test_a_helper_without_gradients_is_named_and_not_the_explained_classifier(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\n\n\n"
        "class Hard(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.nn.functional.one_hot((12 * x.mean((1, 2, 3))).long().clamp(0, 11), 12).float()\n\n\n"
        "def hard():\n    net = Hard()\n    net.input_size = (3, 64, 64)\n    return net\n",
        encoding="utf-8",
    )
    name = f"{tmp_path}/nets.py:hard"
    with pytest.raises(InputError, match=r"helper .*nets\.py:hard cannot guide: no gradient reaches the pixels"):
        named_helper(name, torch.rand(1, 3, 64, 64), load_classifier("planted:cnn"))


@pytest.mark.parametrize(
    ("aux", "judges", "said"),
    [
        ("planted:nobody", (), "planted:nobody"),
        ("planted:cnn", (), "aux is the explained classifier itself"),
        ("", ("planted:cnn",), "judge 1 is the explained classifier"),
        ("planted:cnn-robust", ("planted:vit", "planted:cnn-robust"), "judge 2 is the auxiliary classifier"),
    ],
)
def test_a_config_refuses_models_that_cannot_serve_before_anything_is_computed(aux, judges, said):
    explained = load_classifier("planted:cnn")
    config = CounterfactualConfig()
    object.__setattr__(config, "aux", aux)  # past its own check, which knows names and no models
    object.__setattr__(config, "judges", judges)
    with pytest.raises(InputError, match=said):
        config.check_models(explained, (3, 64, 64))
    with pytest.raises(InputError, match="name one of the same input size"):
        check_named(explained, "planted:cnn-robust", (), (3, 32, 32))
    assert explained.forwards == explained.backwards == 0


def test_a_classifier_of_another_input_size_is_named_as_helper_and_as_judge(monkeypatch):
    explained, other = load_classifier("planted:cnn"), load_classifier("planted:vit")
    monkeypatch.setattr(other, "preprocess", replace(other.preprocess, height=32, width=32))
    with pytest.raises(InputError, match="aux takes images of 3 x 32 x 32, the explained classifier 3 x 64 x 64"):
        check_auxiliary(explained, other)
    with pytest.raises(InputError, match="judge 1 takes images of 3 x 32 x 32"):
        check_judges(explained, [other])
