"""How much of the work is done: by the passes spent and those still expected."""

from __future__ import annotations

import pytest
import torch
from tests.runs import kit

from whywrong.runs import progress as progressing
from whywrong.runs.work.costs import CostEstimator, expected
from whywrong.runs.work.plan import ExplainPlan, Pending
from whywrong.runs.work.tasks import MethodSpec, ShardTask

TASK = ShardTask(stage="explain", shard=0, details=frozenset({"a", "b"}))
ROWS = [{"item_id": name, "position": at} for at, name in enumerate("abcd")]  # two of them are explained in full


def step(name: str, passes: tuple[int, int]) -> MethodSpec:
    return MethodSpec(method=kit.method(name, passes=passes), config=kit.StubConfig(), hash=name)


def plan(*steps: MethodSpec) -> ExplainPlan:
    return ExplainPlan({each.method.name: Pending(ROWS) for each in steps}, Pending([]))


def test_the_registry_says_what_a_unit_will_take():
    cheap, dear = step("cheap", (1, 1)), step("dear", (10, 100))
    assert expected(plan(cheap, dear), (cheap, dear), TASK) == 4 * 1 + 2 * 10 + 2 * 100


def test_the_share_follows_the_passes_within_a_call():
    passed = [0]
    costs, dear = CostEstimator(lambda: passed[0]), step("dear", (10, 40))
    costs.begin(plan(dear), (dear,), TASK)
    assert costs.share() == 0
    with costs.call(dear, ROWS, TASK):
        passed[0] = 25
        assert costs.share() == pytest.approx(25 / 100)
        passed[0] = 100  # all that was expected, and it goes on
        assert costs.share() == pytest.approx(100 / 110)
    assert costs.share() == 1


def test_what_a_method_took_replaces_what_the_registry_says():
    passed = [0]
    costs, dear = CostEstimator(lambda: passed[0]), step("dear", (1, 1))
    costs.begin(plan(dear), (dear,), TASK)
    with costs.call(dear, [ROWS[0], ROWS[2]], TASK):
        passed[0] = 40
        costs.learn(dear, torch.tensor([30, 10]), torch.tensor([True, False]))
    assert costs.share() == pytest.approx(0.5)  # the other two will take as much


def test_the_share_never_falls_when_more_is_expected_than_before():
    passed = [0]
    costs, dear = CostEstimator(lambda: passed[0]), step("dear", (1, 1))
    costs.begin(plan(dear), (dear,), TASK)
    with costs.call(dear, ROWS[:2], TASK):
        passed[0] = 2
        before = costs.share()
        costs.learn(dear, torch.tensor([1000, 1000]), torch.tensor([True, True]))
    passed[0] = 3
    assert costs.share() >= before > 0


def test_a_method_that_is_refused_is_no_longer_waited_for():
    passed = [0]
    costs, cheap, dear = CostEstimator(lambda: passed[0]), step("cheap", (1, 1)), step("dear", (100, 100))
    costs.begin(plan(cheap, dear), (cheap, dear), TASK)
    with costs.call(cheap, ROWS, TASK):
        passed[0] = 4
    assert costs.share() < 0.02
    costs.end(dear)
    assert costs.share() == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_the_explain_stage_moves_before_its_first_shard_is_done(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(progressing, "_TICK", 0.0)
    told: list[progressing.Progress] = []
    kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 40), workers=workers, progress=told.append)
    stage = [progress for progress in told if progress.stage == "explain"]
    assert all(progress.share is None for progress in told if progress.stage != "explain")
    shares = [progress.share for progress in stage if progress.share is not None]
    assert len(shares) == len(stage)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, pytest.approx(1))
    if workers == 1:  # a worker's clock ticks too slowly for the stub
        assert any(progress.share and progress.done == 0 and progress.method == "stub" for progress in stage)


def test_a_resumed_run_counts_only_what_is_left(tmp_path):
    source = kit.array_source(tmp_path, 40)
    kit.diagnosed(tmp_path / "run", source)
    told: list[progressing.Progress] = []
    kit.diagnosed(tmp_path / "run", source, progress=told.append)
    assert [(progress.total, progress.done) for progress in told if progress.stage == "explain"] == [(0, 0)]
