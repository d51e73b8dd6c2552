"""Progress: plain lines now and then, JSON for programs, a bar on a terminal."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from whywrong.cli.progress import ProgressDisplay
from whywrong.cli.streams import printable


class At(NamedTuple):
    stage: str
    done: int
    total: int
    errors: int = 0
    failed: int = 0
    passes: int = 0
    share: float | None = None
    method: str = ""


def shown(kind: str, steps: list[tuple[float, At]]) -> list[str]:
    """Lines written when ``steps`` happen at the given seconds."""
    now, lines = [0.0], []
    with ProgressDisplay(kind, clock=lambda: now[0], write=lines.append) as display:
        for now[0], step in steps:
            display(step)
    return lines


def test_plain_lines_come_every_ten_seconds_and_at_the_end_of_a_stage():
    steps = [(float(second), At("predict", 10 * second, 250, errors=second)) for second in range(26)]
    assert shown("plain", steps) == [
        "predict 100/250, 10 wrong, 10/s, 15 s left",
        "predict 200/250, 20 wrong, 10/s, 5 s left",
        "predict 250/250, 25 wrong, 10/s, 25 s",
    ]


def test_the_rate_counts_from_the_start_of_the_stage():
    lines = shown(
        "plain",
        [(0, At("predict", 0, 4)), (2, At("predict", 4, 4)), (2, At("explain", 0, 6)), (5, At("explain", 6, 6, 6))],
    )
    assert lines == ["predict 4/4, 2/s, 2 s", "explain 6/6, 2/s, 3 s"]


def test_a_stage_without_work_is_not_mentioned():
    assert shown("plain", [(0, At("explain", 0, 0))]) == []


def test_failed_items_are_named():
    assert shown("plain", [(0, At("predict", 0, 9)), (90, At("predict", 9, 9, 2, 3))]) == [
        "predict 9/9, 2 wrong, 3 failed, 0.1/s, 1 min 30 s"
    ]


def test_a_long_stage_shows_that_images_pass():
    steps = [(float(second), At("explain", 0, 64, passes=120 * second)) for second in range(21)]
    assert shown("plain", steps) == ["explain 0/64, 1,200 passes", "explain 0/64, 2,400 passes"]


def test_a_stage_with_a_share_says_how_much_is_done_and_roughly_what_is_left():
    steps = [
        (float(second), At("explain", 0, 64, passes=120 * second, share=second / 60, method="profiles"))
        for second in range(0, 50, 10)
    ]
    assert shown("plain", [*steps, (60.0, At("explain", 64, 64, 64, passes=7200, share=1.0))]) == [
        "explain 16 % of 64 errors, profiles, 1,200 passes, about 50 s left",
        "explain 33 % of 64 errors, profiles, 2,400 passes, about 40 s left",
        "explain 50 % of 64 errors, profiles, 3,600 passes, about 30 s left",
        "explain 66 % of 64 errors, profiles, 4,800 passes, about 20 s left",
        "explain 64/64, 7,200 passes, 1 min 00 s",
    ]


@pytest.mark.parametrize(("share", "left"), [(0.5, "3 min"), (0.05, "1 h 00 min"), (0.99, "5 s"), (0.02, None)])
def test_time_left_is_told_as_roughly_as_it_is_known(share, left):
    [line] = shown("plain", [(0, At("explain", 0, 9, share=0.0)), (190, At("explain", 0, 9, share=share))])
    assert line == f"explain {round(100 * share)} % of 9 errors" + (f", about {left} left" if left else "")


def test_a_stage_is_never_said_to_be_done_before_it_is():
    [line] = shown("plain", [(0, At("explain", 0, 3, share=0.0)), (20, At("explain", 2, 3, share=1.0))])
    assert line.startswith("explain 99 % of 3 errors")


def test_json_tells_the_share_where_there_is_one():
    [first] = map(json.loads, shown("json", [(0, At("explain", 0, 8, share=0.0, method="cam"))]))
    assert (first["share"], first["method"]) == (0.0, "cam")


def test_json_lines_carry_every_number():
    [first, last] = map(json.loads, shown("json", [(0, At("predict", 0, 8)), (4, At("predict", 8, 8, 2, 1))]))
    assert first["done"] == 0
    assert first["per_second"] is None
    assert last == {
        "stage": "predict",
        "done": 8,
        "total": 8,
        "errors": 2,
        "failed": 1,
        "passes": 0,
        "seconds": 4.0,
        "per_second": 2.0,
    }


def test_none_says_nothing():
    assert shown("none", [(0, At("predict", 0, 1)), (99, At("predict", 1, 1))]) == []


def test_a_bar_is_drawn_on_stderr(capsys):
    with ProgressDisplay("bar") as display:
        display.prepare()
        display(At("list", 0, 2))
        display(At("list", 2, 2))
        display(At("predict", 1, 2, 1))
        display(At("predict", 2, 2, 1))
        display(At("explain", 1, 1, 1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "predict" in captured.err
    assert "2/2" in captured.err


def test_names_stay_one_line_on_a_terminal():
    assert printable("a\nb\x1b[31m\udcff\u202ec\xa0d") == "a\\nb\\x1b[31m\\udcff\\u202ec d"
