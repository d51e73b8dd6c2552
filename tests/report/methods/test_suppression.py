"""The report of cells by type: colours, sentences with their control, and the table over all errors."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from tests.contract.nets import build, images

from whywrong.explain.suppression import SuppressionConfig, suppression
from whywrong.models.classifier import Classifier
from whywrong.report.drawing import plot
from whywrong.report.methods import suppression as report
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.primitives.sections import Context
from whywrong.report.tables import Row


class Tables:
    """Views of a made-up run of one method."""

    def __init__(self, table: pa.Table, maps: dict[str, np.ndarray] | None = None) -> None:
        self._connection = duckdb.connect()
        self._connection.register("suppression", table)
        self._columns = set(table.column_names)
        self.run = self
        self._maps = maps or {}

    def has(self, view: str, *columns: str) -> bool:
        return view == "suppression" and set(columns) <= self._columns

    def rows(self, sql: str) -> list[Row]:
        return [Row(row) for row in self._connection.sql(sql).to_arrow_table().to_pylist()]

    def maps(self, method: str, item_id: str) -> dict[str, np.ndarray]:
        return self._maps


def result_of(**settings: Any) -> tuple[Any, torch.Tensor]:
    net, x = build("gap"), images(6, seed=1)
    with torch.no_grad():
        y = net(x).argsort(1, descending=True)[:, 1]
    return suppression(Classifier(net), x, y, config=SuppressionConfig(grid=4, **settings)), x


def context_of(result: Any, row: int) -> Context:
    maps = {name: values[row].numpy() for name, values in result.maps().items()}
    found = Row({"suppression": Row(result.to_arrow().to_pylist()[row]), "item_id": "a", "label": 0, "predicted": 1})
    return Context(tables=Tables(result.to_arrow(), maps), row=found, names=["cat", "dog"])  # type: ignore[arg-type]


def test_a_section_shows_cells_class_maps_and_every_share_beside_its_control():
    result, _ = result_of()
    section = report.section(context_of(result, 0))
    assert section is not None
    assert section.overlays[0].label == "Cells by type"
    assert len(section.overlays) == 5
    assert "with random signs" in section.sentences[0]
    shares = {name: note for name, _, note in section.blocks[0].rows if name.endswith("cells")}
    assert all("random signs" in shares[f"{kind} cells"] for kind in report.TYPES)
    assert section.caveats == [report.SENSITIVITY]


def test_without_a_control_it_is_said_that_there_is_none():
    result, _ = result_of(control=False)
    section = report.section(context_of(result, 0))
    assert section is not None
    assert "random signs" not in section.sentences[0]
    assert all("no control" in note for name, _, note in section.blocks[0].rows if name.split()[0] in report.TYPES)
    assert report.summarize(Tables(result.to_arrow())).errors == 0  # type: ignore[union-attr,arg-type]


def test_the_table_over_all_errors_has_a_column_of_the_control():
    result, _ = result_of()
    mix = report.summarize(Tables(result.to_arrow()))  # type: ignore[arg-type]
    assert mix is not None
    assert mix.errors == 6
    own, control = mix.shares["neutral"]
    assert abs(own.value - float(result.shares.neutral.mean())) < 1e-9
    assert abs(control.value - float(result.control.neutral.mean())) < 1e-9
    [panel] = report.overview(Tables(result.to_arrow()), RunSummary(numbers={"suppression": mix}))  # type: ignore[arg-type]
    assert panel.table.head == ["cells", "smallest fix", "random signs"]  # type: ignore[union-attr]
    assert "ensitivity" in panel.title
    assert report.overview(Tables(result.to_arrow()), RunSummary()) == []  # type: ignore[arg-type]


def test_cells_have_the_types_of_the_method():
    result, _ = result_of()
    for row in range(6):
        s, g = result.s[row].double().numpy(), result.g[row].double().numpy()
        kind, level = report._types_of(s, g, float(result.eps[row]))
        assert kind.tolist() == result.types[row].tolist()
        assert ((level == 0) == (kind == 3)).all()


def test_a_refused_row_says_why_and_a_figure_is_drawn():
    result, x = result_of()
    context = context_of(result, 0)
    context.row["suppression"] = Row(status="no_answer", reason="no fix")
    section = report.section(context)
    assert section is not None
    assert section.blocks[0].rows == [("refused", "", "no fix")]
    context.row["suppression"] = None
    assert report.section(context) is None
    figure = plot(result, x, rows=[0, 1])
    assert len(figure.axes) == 12
