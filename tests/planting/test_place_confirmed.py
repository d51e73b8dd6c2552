"""Places confirmed on mistakes with known causes: the stickers, and nothing that has no local cause."""

from __future__ import annotations

import pytest

from whywrong.api import diagnose, load_classifier


@pytest.mark.slow  # 320 images, 50 passes each
def test_stickers_are_found_and_causes_without_a_place_are_not(tmp_path):
    run = diagnose(load_classifier("planted:cnn-spurious"), "planted:causes", tmp_path / "run", methods=["covering"])
    rows = run.query(
        """select split_part(coalesce(i.cause, 'ordinary'), ' ', 1) as cause, count_if(c.place_confirmed)::int as kept,
        count(*)::int as asked from covering c join items i using (item_id) group by 1"""
    ).to_pylist()
    kept = {row["cause"]: row["kept"] for row in rows}
    assert {row["cause"]: row["asked"] for row in rows}["spurious"] == 40
    assert kept["spurious"] >= 25
    assert [kept[cause] for cause in ("corruption", "occluded", "shift", "ordinary")] == [0, 0, 0, 0]
    [row] = run.query(
        "select count(*) as n, count_if(p <= 0.1)::int as called from covering_controls where held_out"
    ).to_pylist()
    assert row["n"] > 40
    assert row["called"] / row["n"] <= 0.2  # of 58: 10 % expected, 16 % is the 95 % bound
