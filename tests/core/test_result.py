"""Results as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from whywrong.core.result import MethodResult


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
