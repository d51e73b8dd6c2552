"""What a run says of itself while it goes on, and what is read of it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from tests.runs import kit

from whywrong.core.errors import RunFolderError
from whywrong.runs.status import run_status
from whywrong.runs.store import progress_file
from whywrong.runs.store.progress_file import ProgressFile, read_progress


@pytest.fixture
def clock():
    now = [0.0]

    def tell() -> float:
        return now[0]

    tell.now = now
    return tell


def test_progress_is_written_every_ten_seconds_with_rate_and_time_left(tmp_path, clock):
    written = ProgressFile(tmp_path, 3, clock=clock)
    written.show("predict", 0, 100)
    assert read_progress(tmp_path) is None
    clock.now[0] = 20.0
    written.show("predict", 40, 100, errors=4)
    clock.now[0] = 25.0
    written.show("predict", 50, 100)
    found = read_progress(tmp_path)
    assert (found["stage"], found["done"], found["share"], found["errors"]) == ("predict", 40, 0.4, 4)
    assert (found["workers"], found["per_second"], found["seconds_left"]) == (3, 2.0, 30.0)
    written.close()
    assert read_progress(tmp_path) is None


def test_time_left_follows_the_share_of_the_work_where_it_is_known(tmp_path, clock):
    written = ProgressFile(tmp_path, 1, clock=clock)
    written.show("explain", 0, 100, share=0.0)
    clock.now[0] = 30.0
    written.show("explain", 0, 100, share=0.25)
    assert read_progress(tmp_path)["seconds_left"] == 90.0


def test_a_foreign_or_damaged_file_is_not_believed(tmp_path, clock):
    (tmp_path / "progress.json").write_text('{"stage": "predict"}')
    assert read_progress(tmp_path) is None
    clock.now[0] = 0.0
    written = ProgressFile(tmp_path, 1, clock=clock)
    clock.now[0] = 11.0
    written.show("predict", 1, 2)
    path = tmp_path / "progress.json"
    path.write_text(path.read_text().replace('"done": 1', '"done": 2'))
    assert read_progress(tmp_path) is None


def test_a_run_is_running_then_complete_and_a_silent_one_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_file, "EVERY", 0.0)
    seen = []

    def look(progress):
        if progress.stage == "explain":
            seen.append(run_status(tmp_path / "run"))

    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 24), progress=look)
    assert {one.state for one in seen} == {"running"}
    assert seen[-1].progress["stage"] == "explain"
    assert run_status(run.path).state == "complete"
    assert not (run.path / "progress.json").exists()
    meta = (run.path / "run.json").read_text()
    assert run_status(run.path).items == 24
    (run.path / "lock").write_text("{}")
    os.utime(run.path / "lock", (time.time() - 600,) * 2)
    assert run_status(run.path).state == "complete"
    assert json.loads(meta)["complete"] is True


def test_an_interrupted_run_is_stopped(tmp_path):
    def stop(progress):
        if progress.stage == "explain":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 24), progress=stop)
    assert run_status(tmp_path / "run").state == "stopped"
    assert run_status(tmp_path / "run").progress == {}


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no run here"):
        run_status(tmp_path)


def test_the_status_is_read_without_torch():
    code = "import sys, whywrong.runs.status, whywrong.cli.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
