"""``--device``: where the model, its helpers and judges, and the workers go."""

from __future__ import annotations

import pytest
import torch
from tests.device.pictures import folder
from tests.device.stand_in import StandIn

from whywrong.api import diagnose, open_run
from whywrong.core.errors import InputError, RunFolderError
from whywrong.doors import named_models
from whywrong.doors.named_models import KeptModels
from whywrong.explain.counterfactuals import named
from whywrong.explain.counterfactuals.config import CounterfactualConfig
from whywrong.explain.counterfactuals.named import named_helper, named_judges
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_KEPT", KeptModels())


def test_models_go_to_the_first_gpu_or_where_they_are_told():
    with StandIn(devices=2):
        assert load_classifier("planted:cnn").device == torch.device("cuda", 0)
        assert load_classifier("planted:cnn", device="cuda:1").device == torch.device("cuda", 1)
        assert load_classifier("planted:cnn", device="cpu").device == torch.device("cpu")
        with pytest.raises(InputError, match=r"there is no cuda:2: this machine has cuda:0 to cuda:1"):
            load_classifier("planted:cnn", device="cuda:2")


@pytest.mark.parametrize("said", ["cpu", "cuda", "cuda:1"])
def test_helpers_and_judges_are_beside_the_explained_classifier(said):
    x = torch.full((1, 3, 64, 64), 0.5)
    with StandIn(devices=2):
        explained = load_classifier("planted:cnn", device=said)
        [judge] = named_judges(["planted:vit"], x, explained)
        helper = named_helper("planted:cnn-robust", x, explained)
        assert judge.device == helper.device == explained.device
        CounterfactualConfig(aux="planted:cnn-robust", judges=("planted:vit",)).check_models(explained, (3, 64, 64))
        assert named_judges(["planted:vit"], x, explained)[0] is judge


def test_helpers_have_the_precision_of_the_explained_classifier(gpu):
    x = torch.full((1, 3, 64, 64), 0.5)
    for precision in ("exact", "fast"):
        explained = load_classifier("planted:cnn", precision=precision)
        assert named_judges(["planted:vit"], x, explained)[0].precision == precision


def test_models_of_another_device_are_let_go():
    import gc
    import weakref

    x = torch.full((1, 3, 64, 64), 0.5)
    with StandIn(devices=2):
        here = weakref.ref(named_helper("planted:cnn-robust", x, load_classifier("planted:cnn", device="cuda:0")))
        there = named_helper("planted:cnn-robust", x, load_classifier("planted:cnn", device="cuda:1"))
        gc.collect()
        assert here() is None
        assert there.device == torch.device("cuda", 1)


def test_few_models_are_kept(monkeypatch):
    made = []
    monkeypatch.setattr(named_models, "_load", lambda name, *where: made.append(name) or name)
    kept, beside = KeptModels(most=3), load_classifier("planted:cnn", device="cpu")
    for name in ("a", "b", "c", "a", "d", "b", "a"):
        kept.model(name, beside)
    assert made == ["a", "b", "c", "d", "a"]


def test_a_callable_that_is_no_module_gets_images_of_the_cpu_as_a_judge(gpu, tmp_path):
    (tmp_path / "judge.py").write_text(
        "input_size = (3, 16, 16)\n"
        "def build():\n"
        "    def ask(x):\n"
        "        import torch\n"
        "        return torch.from_numpy(x.numpy().mean((2, 3)))\n"
        "    ask.input_size = (3, 16, 16)\n"
        "    return ask\n"
    )
    x = torch.full((1, 3, 16, 16), 0.5)
    explained = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3)).to("cuda"))
    [judge] = named_judges([f"{tmp_path / 'judge.py'}:build"], x, explained)
    assert judge.device.type == "cpu"
    assert judge.logits(x.cuda()).device.type == "cuda"


def test_more_workers_than_cards_are_refused_before_anything_is_written(tmp_path):
    data = folder(tmp_path / "data")
    with StandIn(devices=1):
        classifier = load_classifier("planted:cnn")
        with pytest.raises(InputError, match=r"2 workers need a GPU each and this machine has 1 GPU: say --workers 1"):
            diagnose(classifier, data, tmp_path / "run", methods=["cam"], workers=2)
    assert not (tmp_path / "run").exists()


def test_a_run_says_where_it_was_computed_and_is_not_mixed(tmp_path):
    data = folder(tmp_path / "data")
    before = diagnose(load_classifier("planted:cnn", device="cpu"), data, tmp_path / "cpu", methods=["cam"])
    assert before.meta["arithmetic"] == {"device": "cpu", "precision": "exact"}
    with StandIn():
        with pytest.raises(RunFolderError, match=r'arithmetic.device was "cpu", is now "cuda"'):
            diagnose(load_classifier("planted:cnn"), data, tmp_path / "cpu", methods=["cam"])
        diagnose(load_classifier("planted:cnn"), data, tmp_path / "gpu", methods=["cam"])
        with pytest.raises(RunFolderError, match=r'arithmetic.precision was "exact", is now "fast"'):
            diagnose(load_classifier("planted:cnn", precision="fast"), data, tmp_path / "gpu", methods=["cam"])
        found = open_run(tmp_path / "gpu").meta
    assert found["arithmetic"] == {"device": "cuda", "precision": "exact"}
    assert found["machine"]["device"] == "cuda:0"
