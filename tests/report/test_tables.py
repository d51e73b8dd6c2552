"""Rows of a run by item, whatever the item is called."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from tests.report.fake_run import FakeRun

from whywrong.report.tables import Tables


def test_views_with_several_rows_an_item_are_grouped_and_keep_their_order():
    view = pa.table({"item_id": ["a", "b'", "a", "c"], "value": [3, 2, 1, 0]})
    with Tables(FakeRun(Path(), {}, {"many": view})) as tables:
        found = tables.grouped_by_item("many", ["a", "b'", "missing"])
        assert {item: [row["value"] for row in rows] for item, rows in found.items()} == {"a": [3, 1], "b'": [2]}
        assert found["a"][0]["no such column"] is None
        assert tables.by_item("many", ["a"])["a"]["value"] == 3
        assert tables.grouped_by_item("many", []) == tables.grouped_by_item("no_view", ["a"]) == {}
