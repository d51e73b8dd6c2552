"""Spawned workers: the same results, and deaths that cost one image."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from tests.runs import kit

from whywrong.core.errors import DeviceFailure
from whywrong.runs.engines.in_process import InProcess
from whywrong.runs.interrupts import Stop
from whywrong.runs.work.lookahead import LookAhead


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("kill", "the model's process was ended by SIGKILL on this image"),
        pytest.param("exit", "the model ended the process with os._exit(7)", marks=pytest.mark.slow),
    ],
)
def test_two_workers_give_the_same_and_an_image_that_ends_its_worker_is_a_failed_item(tmp_path, deed, reason):
    source = kit.array_source(tmp_path, 40)
    run = kit.diagnosed(tmp_path / "run", source, classifier=_deadly(9, deed), workers=2)
    failed = run.query("select key, stage, reason from failed_items").to_pylist()
    assert failed == [{"key": "images[9]", "stage": "predict", "reason": reason}]
    plain = kit.tables(kit.diagnosed(tmp_path / "plain", source))
    mine = kit.tables(run)
    lost = run.query("select item_id from items where key = 'images[9]'")["item_id"][0].as_py()
    for view in ("predictions", "errors", "stub"):
        kept = [row for row in plain[view] if row["item_id"] != lost]
        got = [row for row in mine[view] if row["item_id"] != lost]
        for row in (*kept, *got):
            row.pop("detailed", None)  # one error less shifts the choice of what is explained in full
            row.pop("words", None)
        assert got == kept


@pytest.mark.slow
def test_an_image_on_which_the_model_hangs_is_a_failed_item(tmp_path):
    source = kit.array_source(tmp_path, 12)
    run = kit.diagnosed(tmp_path / "run", source, classifier=_deadly(3, "hang"), workers=2, time_limit=3.0)
    failed = run.query("select key, reason from failed_items").to_pylist()
    assert failed == [{"key": "images[3]", "reason": "no answer from the model within 3 s on this image"}]
    assert len(run.query("select * from predictions where status = 'ok'")) == 11


@pytest.mark.slow
def test_a_worker_whose_gpu_fails_is_replaced_and_no_image_is_blamed(tmp_path):
    source = kit.array_source(tmp_path, 24)
    (tmp_path / "once").touch()
    run = kit.diagnosed(tmp_path / "run", source, classifier=_deadly(9, f"break:{tmp_path / 'once'}"), workers=2)
    assert not (tmp_path / "once").exists()
    assert run.query("select * from failed_items").num_rows == 0
    assert run.query("select * from predictions where status = 'ok'").num_rows == 24


@pytest.mark.slow
def test_a_gpu_that_fails_again_and_again_ends_the_run_and_leaves_the_rest_to_the_next(tmp_path):
    source = kit.array_source(tmp_path, 24)
    with pytest.raises(DeviceFailure, match=r"the GPU failed \(CUDA error: device-side assert triggered\)"):
        kit.diagnosed(tmp_path / "run", source, classifier=_deadly(9, "break"), workers=2)
    run = kit.diagnosed(tmp_path / "run", source)
    assert run.query("select * from failed_items").num_rows == 0
    assert run.query("select * from predictions where status = 'ok'").num_rows == 24


def test_a_gpu_that_fails_in_this_process_ends_the_run_and_blames_no_image(tmp_path):
    source = kit.array_source(tmp_path, 12)
    with pytest.raises(DeviceFailure):
        kit.diagnosed(tmp_path / "run", source, classifier=kit.reader(poison=(9,), deed="break"))
    run = kit.diagnosed(tmp_path / "run", source)
    assert run.query("select * from failed_items").num_rows == 0


def test_items_are_loaded_in_order_and_never_more_than_the_bound(monkeypatch):
    import threading

    taken, ahead_of_taker = 0, []
    lock = threading.Lock()

    def load(job: int) -> int:
        with lock:
            ahead_of_taker.append(job - taken)
        return job * job

    ahead = LookAhead(load, threads=4, capacity=5)
    ahead.add(range(30))
    ahead.add(range(30, 60))
    for job in range(60):
        assert ahead.take() == job * job
        with lock:
            taken += 1
    ahead.close()
    assert max(ahead_of_taker) <= 5


def test_a_failure_while_loading_reaches_the_taker():
    ahead = LookAhead(lambda job: 1 // job, threads=1, capacity=2)
    ahead.add([1, 0])
    assert ahead.take() == 1
    with pytest.raises(ZeroDivisionError):
        ahead.take()
    ahead.close()


def test_the_engine_in_process_prepares_one_unit_ahead():
    events, heard = [], []

    class WorkerContext:
        classifier = kit.reader()

        def prepare(self, task: int) -> None:
            events.append(("prepare", task))

        def perform(self, task: int) -> int:
            events.append(("perform", task))
            self.classifier.logits(torch.zeros(task, 3, kit.SIDE, kit.SIDE))
            return task

        def heartbeat(self) -> int:
            return self.classifier.forwards

    assert list(InProcess(WorkerContext(), Stop()).run([1, 2], heard.append)) == [1, 2]  # type: ignore[arg-type]
    assert heard == [1, 3]
    assert WorkerContext.classifier.on_pass is None
    assert events == [("prepare", 1), ("prepare", 2), ("perform", 1), ("prepare", 2), ("perform", 2)]


def test_a_display_that_fails_is_not_taken_for_a_fault_of_the_model():
    class WorkerContext:
        classifier = kit.reader()

        def prepare(self, task: int) -> None: ...

        def perform(self, task: int) -> int:
            self.classifier.logits(torch.zeros(task, 3, kit.SIDE, kit.SIDE))
            return task

        def heartbeat(self) -> int:
            return self.classifier.forwards

    def broken(heartbeat: int) -> None:
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        list(InProcess(WorkerContext(), Stop()).run([1], broken))  # type: ignore[arg-type]
    assert WorkerContext.classifier.on_pass is None


def _deadly(number: int, deed: str):
    """A reader whose recipe brings the deed into the workers only."""
    classifier = kit.reader()
    classifier.recipe = kit.Recipe(poison=(number,), deed=deed)
    return classifier


def test_progress_bars_of_libraries_hold_no_semaphore_in_a_worker():
    code = (
        "from whywrong.runs.engines.worker import keep_bars_in_process\n"
        "from multiprocessing import resource_tracker as tracker\n"
        "keep_bars_in_process()\n"
        "from tqdm import tqdm\n"
        "list(tqdm(range(2), file=open('/dev/null', 'w')))\n"
        "assert tracker._resource_tracker._fd is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
