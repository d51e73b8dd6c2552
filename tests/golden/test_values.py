"""Numbers of the methods on small nets are those that were stored; ``store.py`` stores them again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from tests.golden import choices as choices  # these cases join the list
from tests.golden import edges as edges
from tests.golden.values import CASES, STORED, summary

DUE = json.loads(STORED.read_text(encoding="utf-8"))
SHARE = 1e-3  # of the size of the numbers: another processor rounds differently, and searches add up what it rounds


def test_every_case_is_stored():
    assert set(DUE) == set(CASES)


@pytest.mark.filterwarnings("ignore:groups hold at most")
@pytest.mark.parametrize("name", CASES)
def test_values_are_what_they_were(name):
    assert not differences(summary(CASES[name]()), DUE[name], name)


def test_a_number_that_changed_is_named():
    was = {"a": [1.0, {"shape": [3], "sums": [0.0, 2000.0, 5.0], "odd": 0}], "b": "yes"}
    now = {"a": [1.01, {"shape": [3], "sums": [1.0, 2000.0, 9.0], "odd": 0}], "b": "no"}
    assert differences(was, was, "case") == []
    assert differences(now, was, "case") == [
        "case.a.0: 1.01, was 1.0", "case.a.1.sums: [1.0, 2000.0, 9.0], was [0.0, 2000.0, 5.0]", "case.b: no, was yes",
    ]  # fmt: skip


def differences(now: Any, was: Any, where: str) -> list[str]:
    """Name every part that differs by more than rounding."""
    if isinstance(was, dict) and isinstance(now, dict):
        found = []
        if "sums" in was and "sums" in now:
            size = max(was["sums"][1], now["sums"][1])
            near = all(abs(a - b) <= SHARE * size + 1e-9 for a, b in zip(now["sums"], was["sums"], strict=True))
            found = [] if near else [f"{where}.sums: {now['sums']}, was {was['sums']}"]
        names = [name for name in sorted(now.keys() | was.keys()) if name != "sums"]
        return found + [one for name in names for one in differences(now.get(name), was.get(name), f"{where}.{name}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [one for i, (a, b) in enumerate(zip(now, was, strict=True)) for one in differences(a, b, f"{where}.{i}")]
    if isinstance(was, float) and isinstance(now, float | int):
        return [] if math.isclose(now, was, rel_tol=SHARE, abs_tol=1e-6) else [f"{where}: {now}, was {was}"]
    return [] if now == was else [f"{where}: {now}, was {was}"]
