"""Results as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from whywrong.core.result import (
    ColumnGroup,
    MethodResult,
    column,
    computed,
    map_field,
    nested,
    result_class,
    shown_as_rows,
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample(MethodResult):
    score: Tensor
    names: Sequence[str | None]
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        return {"score": self.score, "names": self.names, "parts": [[1, 2]] * len(self.score)}


class Typed(Sample):
    @staticmethod
    def schema() -> pa.Schema:
        fields = {"score": pa.float32(), "names": pa.string(), "parts": pa.list_(pa.int64())}
        return pa.schema([*fields.items(), ("forwards", pa.int64()), ("backwards", pa.int64())])


def count(n: int) -> Tensor:
    return torch.full((n,), n)


def test_columns_and_cost_become_one_table():
    table = Sample(torch.tensor([0.5, 1.5], dtype=torch.bfloat16), ["a", None], count(2), count(2)).to_arrow()
    assert table.to_pydict() == {
        "score": [0.5, 1.5],
        "names": ["a", None],
        "parts": [[1, 2], [1, 2]],
        "forwards": [2, 2],
        "backwards": [2, 2],
    }
    assert table.schema.field("forwards").type == pa.int64()


def test_types_hold_where_a_column_is_empty():
    full = Typed(torch.ones(1), ["a"], count(1), count(1)).to_arrow()
    null = Typed(torch.ones(1), [None], count(1), count(1)).to_arrow()
    none = Typed(torch.ones(0), [], count(0), count(0)).to_arrow()
    assert full.schema == null.schema == none.schema


def test_pandas_gets_the_same_table():
    frame = Sample(torch.ones(3), ["a", "b", "c"], count(3), count(3)).to_pandas()
    assert list(frame.columns) == ["score", "names", "parts", "forwards", "backwards"]
    assert frame["score"].tolist() == [1.0, 1.0, 1.0]


def test_a_result_without_maps_and_checks_has_none():
    result = Sample(torch.ones(1), ["a"], count(1), count(1))
    assert result.maps() == {}
    assert result.checks == {}
    with pytest.raises(NotImplementedError):
        MethodResult().columns()


@result_class
class Parts(ColumnGroup):
    """Two entries an image at most."""

    row: Tensor
    size: Tensor = column("int64", "Size of the part.")
    name: Sequence[str] = column("string", "Its name.")


@result_class
class Declared(MethodResult):
    """A result that says everything once."""

    status: Sequence[str] = column("string", "How it ended.")
    layer: str = column("string", "Of all rows.")
    score: Tensor = column("float32", "Score, in logits.", name="class", check=True)
    parts: Parts | None = nested(Parts, as_rows=True)
    best: Parts | None = nested(Parts, names={"size": "best_size", "name": "best_name"})
    heat: Tensor = map_field("(B, 2, 2).")
    beside: int
    forwards: Tensor
    backwards: Tensor

    @computed(["int64"])
    def twice(self) -> list[list[int]]:
        """Computed."""
        return [[n, n] for n in self.forwards.tolist()]


def declared(**changes: Any) -> Declared:
    parts = Parts(row=torch.tensor([0, 0, 2]), size=torch.tensor([1, 2, 3]), name=["a", "b", "c"])
    best = Parts(row=torch.tensor([2]), size=torch.tensor([3]), name=["c"])
    given = {"status": ["ok"] * 3, "layer": "top", "score": torch.ones(3), "parts": parts, "best": best}
    more = {"heat": torch.zeros(3, 2, 2), "beside": 1, "forwards": count(3), "backwards": count(3)}
    return Declared(**{**given, **more, **changes})


def test_a_declared_result_becomes_a_table_with_its_groups():
    table = declared().to_arrow()
    assert table.drop(["forwards", "backwards"]).to_pydict() == {
        "status": ["ok"] * 3,
        "layer": ["top"] * 3,
        "class": [1.0] * 3,
        "size": [[1, 2], [], [3]],
        "name": [["a", "b"], [], ["c"]],
        "best_size": [None, None, 3],
        "best_name": [None, None, "c"],
        "twice": [[3, 3]] * 3,
    }
    assert list(declared().maps()) == ["heat"]
    assert list(declared().checks) == ["score"]
    assert "score: Score, in logits." in str(Declared.__doc__)


def test_a_declared_schema_holds_without_any_value():
    nothing = declared(parts=None, best=None).to_arrow()
    assert nothing.schema == declared().to_arrow().schema == Declared.schema()
    assert shown_as_rows(Declared.schema()) == ["size", "name"]
    assert nothing["size"].to_pylist() == [[], [], []]
    assert nothing["best_size"].to_pylist() == [None] * 3
