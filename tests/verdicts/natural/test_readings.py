"""Readings of natural errors that ship with the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

READINGS = json.loads((Path(__file__).parents[3] / "benchmarks/natural_readings/deit_tiny.json").read_text("utf-8"))
REASONS = {"label", "occluded", "corruption", "spurious", "confusion", "shift", "placeholder", "unclear"}


def test_every_error_is_read_twice_in_known_words():
    assert len(READINGS) >= 80
    assert len({(one["folder"], one["key"]) for one in READINGS}) == len(READINGS)
    for one in READINGS:
        for reading in (one["first"], one["second"]):
            assert reading["primary"] in REASONS
            assert reading["secondary"] in REASONS | {None}
            assert reading["primary"] != reading["secondary"]
            assert reading["visible"] in ("none", "part", "small", "full")
            assert reading["certainty"] in (1, 2, 3)


def test_the_agreed_reason_is_the_main_reason_of_both_readings():
    for one in READINGS:
        first, second = one["first"]["primary"], one["second"]["primary"]
        assert one["agreed"] == (first if first == second else None)


def test_errors_are_errors_and_hold_no_images():
    for one in READINGS:
        assert one["label"] != one["predicted"]
        assert one["rank_of_label"] >= 2
        assert len(json.dumps(one)) < 1000
