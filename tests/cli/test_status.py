"""What ``whywrong status`` prints."""

from __future__ import annotations

import json

from whywrong.cli import status as command
from whywrong.runs.status import RunStatus


def test_a_finished_run_is_complete(whywrong, finished):
    code, out, err = whywrong("status", finished)
    assert (code, err) == (0, "")
    assert out.startswith(f"{finished}: complete, ")
    assert json.loads(whywrong("status", finished, "--json").out)["state"] == "complete"


def test_a_running_one_shows_stage_share_workers_rate_and_time_left(whywrong, monkeypatch, tmp_path):
    progress = {"stage": "predict", "done": 4200, "total": 10_000, "share": 0.42, "workers": 2}
    progress |= {"per_second": 12.34, "seconds_left": 470.0}
    monkeypatch.setattr("whywrong.runs.status.run_status", lambda run: RunStatus("running", 10_000, 3.2, progress))
    out = whywrong("status", tmp_path).out
    assert out == (
        f"{tmp_path}: running, 10,000 items, last sign 3 s ago\n"
        "predict 4,200 of 10,000 (42 %), 2 workers, 12.3/s, about 8 min left\n"
    )


def test_hours_are_told_in_hours_and_what_is_unknown_is_left_out():
    assert command._stage({"stage": "predict", "done": 1, "total": 9, "seconds_left": 7200.0}).endswith("2.0 h left")
    assert command._stage({"stage": "list", "done": 0, "total": 9}) == "list 0 of 9, 1 worker"
