"""The benchmark for a real card runs from end to end, as far as a stand-in goes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.device.pictures import folder
from tests.device.stand_in import StandIn


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    spec = importlib.util.spec_from_file_location("benchmark_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so_in_one_sentence(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main([]) == 0
    told = capsys.readouterr()
    assert told.err.strip() == "no CUDA GPU on this machine: nothing was measured"
    assert json.loads(told.out) == {"skipped": told.err.strip()}


CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "agreement": lambda found: found["other_predictions_beyond_ties"] == 0 and found["largest_difference"] < 1e-4,
    "repeats": lambda found: all(one["equal_to_the_bit"] for one in found.values()),
    "memory_planned": lambda found: found["used"] > 0,
    "memory_runs_out": lambda found: found["batch_size_after"] < found["asked"],
    "speed": lambda found: all(rate > 0 for rate in found["passes_a_second"].values()),
    "methods": lambda found: all(one["statuses_as_on_cpu"] == one["rows"] for one in found.values()),
    "diagnose": lambda found: found["check"]["wrong"] > 0 and found["refused"] == {},
}


@pytest.mark.slow
@pytest.mark.parametrize("question", CHECKS)
def test_every_question_gets_an_answer(benchmark, tmp_path, monkeypatch, capsys, question):
    data = folder(tmp_path / "data")
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    monkeypatch.setattr(benchmark, "TIMED", {"inverted": {"rounds": 2}, "counterfactuals": {"p": 1.5, "steps": 2}})
    with StandIn() as gpu:
        gpu.memory = 2**37
        monkeypatch.setattr(
            torch.cuda, "set_per_process_memory_fraction", lambda share: setattr(gpu, "memory", int(share * 2**37))
        )
        words = ["--data", str(data), "--images", "4", "--seconds", "100000", "--batch-size", "16", "--only", question]
        assert benchmark.main(words) == 0
        assert gpu.mixes == []
    found = json.loads(capsys.readouterr().out)[question]
    assert found.pop("took") > 0
    assert CHECKS[question](found), found
