"""Names of devices, and a card for each worker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.models.devices import cards, choose_device
from whywrong.models.loading.zoo import load_classifier


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """``machine(n)`` makes one with n GPUs."""

    def made(gpus: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    return made


def test_the_default_is_the_first_gpu_else_the_cpu_and_never_mps(machine, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    machine(0)
    assert choose_device(None) == torch.device("cpu")
    machine(2)
    assert choose_device(None) == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("gpus", "said", "message"),
    [
        (0, "cuda", r"there is no cuda: .*use --device cpu"),
        (0, "cuda:1", r"there is no cuda:1: .*use --device cpu"),
        (1, "cuda:1", r"there is no cuda:1: this machine has cuda:0; name"),
        (2, "cuda:7", r"there is no cuda:7: this machine has cuda:0 to cuda:1"),
        (1, "mps", r"mps has no float64.*use --device cpu"),
        (1, "xpu", r"not on xpu; use --device cpu"),
        (1, "meta", r"not on meta"),
        (1, "gpu", r'a device is cpu, cuda, cuda:1 \.\.\., got "gpu"'),
        (1, "cuda:-1", r'got "cuda:-1"'),
        (1, "cuda:one", r'got "cuda:one"'),
        (1, "", r'got ""'),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence_before_anything_is_read(machine, gpus, said, message):
    machine(gpus)
    with pytest.raises(InputError, match=message) as caught:
        load_classifier("no model of this name", device=said)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_each_worker_gets_a_card(machine):
    machine(4)
    gpu = torch.device("cuda", 0)
    assert cards(gpu, None, 4) == ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    assert cards(gpu, "cuda", 2) == ("cuda:0", "cuda:1")
    assert cards(torch.device("cpu"), None, 8) == ()


@pytest.mark.parametrize(
    ("gpus", "said", "workers", "message"),
    [
        (1, None, 2, r"2 workers need a GPU each and this machine has 1 GPU: say --workers 1, or --device cpu"),
        (2, "cuda", 3, r"3 workers .* has 2 GPUs: say --workers 2"),
        (
            4,
            "cuda:1",
            2,
            r"--device cuda:1 is one card, and 2 workers need one each: say --device cuda, or --workers 1",
        ),
    ],
)
def test_more_workers_than_cards_are_refused(machine, gpus, said, workers, message):
    machine(gpus)
    with pytest.raises(InputError, match=message):
        cards(torch.device("cuda", 0), said, workers)


def test_a_worker_that_follows_another_takes_its_card(monkeypatch):
    from whywrong.runs.engines import processes as engine

    started = []
    monkeypatch.setattr(
        engine, "_Worker", lambda run_spec, card: started.append(card) or SimpleNamespace(card=card, tasks=[])
    )
    processes = engine.Processes.__new__(engine.Processes)
    processes._spec = SimpleNamespace(cards=("cuda:0", "cuda:1"))  # type: ignore[assignment]
    processes._workers = []
    for _ in range(2):
        processes._workers.append(engine._Worker(processes._spec, processes._free_card()))
    assert started == ["cuda:0", "cuda:1"]
    del processes._workers[0]
    assert processes._free_card() == "cuda:0"


def test_the_recipe_of_a_worker_names_its_card():
    recipe = load_classifier("planted:cnn", device="cpu").recipe
    assert recipe.on("cuda:3").device == "cuda:3"
    assert recipe.on("cuda:3").identity == recipe.identity
