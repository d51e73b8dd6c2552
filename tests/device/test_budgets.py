"""What methods may move, wait for and compute on the host: a new ``.cpu()`` in a loop fails here and names its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.device.measure import Cost, measure, over_budget
from tests.device.pictures import WRONG, drawn, folder
from tests.device.stand_in import StandIn

from whywrong.api import diagnose, open_run
from whywrong.core.config import make_config
from whywrong.core.registry import methods, resolve
from whywrong.models.loading.zoo import load_classifier
from whywrong.runs.folder import RunFolder

SMALL: dict[str, dict[str, Any]] = {
    "black_box": {"queries": 12},
    "inverted": {"segments": 20, "rounds": 6},
    "smallest_fix": {"budget": 24},
    "patch_groups": {"grid": 4},
    "counterfactuals": {"steps": 4},
    "profiles": {"grid": 4, "max_passes": 500, "contexts": 4},
    "suppression": {"grid": 4},
}
# Measured, plus a fifth to a half. With images on the host every pass brings them up and every gradient down.
BUDGETS: dict[tuple[str, str], Cost] = {
    ("black_box", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=120.0),  # the blurs of everyday changes
    ("black_box", "device"): Cost(moves=14.0, moved=0.1, syncs=32.0, host=0.2),
    ("cam", "host"): Cost(moves=2.0, moved=1.1, syncs=3.0, host=8.0),
    ("cam", "device"): Cost(moves=0.5, moved=0.01, syncs=7.0, host=0.1),
    ("counterfactuals", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=55.0),
    ("counterfactuals", "device"): Cost(moves=1.0, moved=0.1, syncs=6.0, host=0.2),
    ("covering", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=8.0),
    ("covering", "device"): Cost(moves=1.8, moved=0.025, syncs=7.0, host=0.1),
    ("interventions", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=240.0),
    ("interventions", "device"): Cost(moves=0.9, moved=0.1, syncs=3.0, host=0.1),
    ("inverted", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=50.0),
    ("inverted", "device"): Cost(moves=0.6, moved=0.05, syncs=4.0, host=0.2),
    ("patch_groups", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=7.0),
    ("patch_groups", "device"): Cost(moves=4.0, moved=0.01, syncs=1.5, host=0.4),
    ("relevance", "host"): Cost(moves=4.0, moved=2.4, syncs=0.3, host=19.0),
    ("relevance", "device"): Cost(moves=0.3, moved=0.01, syncs=3.0, host=0.1),
    ("signs", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=80.0),
    ("signs", "device"): Cost(moves=1.5, moved=0.06, syncs=6.0, host=0.05),
    ("smallest_fix", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=75.0),
    ("smallest_fix", "device"): Cost(moves=0.1, moved=0.01, syncs=5.5, host=0.1),
    ("suppression", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=38.0),
    ("suppression", "device"): Cost(moves=0.6, moved=0.01, syncs=6.5, host=0.1),
    ("profiles", "host"): Cost(moves=2.5, moved=1.1, syncs=0.5, host=7.0),
    ("profiles", "device"): Cost(moves=3.0, moved=0.01, syncs=1.5, host=0.2),
}
DIAGNOSE = Cost(moves=3.5, moved=0.2, syncs=6.0, host=1.0)


@pytest.fixture(autouse=True)
def _drawn_outside() -> None:
    drawn()


def test_every_method_has_a_budget():
    assert {name for name, _ in BUDGETS} == set(methods())


@pytest.mark.parametrize("place", [pytest.param("host", marks=pytest.mark.slow), "device"])
@pytest.mark.parametrize("name", sorted(methods()))
def test_a_method_keeps_to_its_budget(name, place):
    x, y, _ = drawn()
    method = methods()[name]
    config = make_config(resolve(method.config), SMALL.get(name, {}), name)
    with StandIn() as gpu:
        classifier = load_classifier("planted:cnn")
        at = "cuda" if place == "device" else "cpu"
        inputs = x[:WRONG].to(at), y[:WRONG].to(at)
        keys = torch.arange(WRONG).to(at)
        cost = measure(
            gpu, [classifier], lambda: resolve(method.function)(classifier, *inputs, keys=keys, config=config)
        )
        assert gpu.mixes == []
        assert not over_budget(gpu, cost, BUDGETS[name, place])


def usable(run: RunFolder, names: Sequence[str]) -> dict[str, int]:
    """Rows with an answer, by method."""
    good = "status not in ('refused', 'failed', 'bad_input')"
    return {name: run.query(f"select distinct item_id from {name} where {good}").num_rows for name in names}


def test_a_diagnosis_keeps_the_work_on_the_device(tmp_path: Path):
    data = folder(tmp_path / "data")
    names = sorted(methods())
    with StandIn() as gpu:
        classifier = load_classifier("planted:cnn")
        options = {name: settings for name, settings in SMALL.items() if name in names}
        cost = measure(
            gpu,
            [classifier],
            lambda: diagnose(classifier, data, tmp_path / "run", methods=names, limit=WRONG, options=options),
        )
        assert gpu.mixes == []
        assert not over_budget(gpu, cost, DIAGNOSE)
    assert usable(open_run(tmp_path / "run"), names) == dict.fromkeys(names, WRONG)
