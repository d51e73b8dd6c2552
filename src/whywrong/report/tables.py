"""Access to a run through its DuckDB views; views and columns may be missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whywrong.report.numbers import shown
from whywrong.runs.store.error_tables import CONFIDENCE_BINS, PAIRS

_COUNTS = {"pairs": PAIRS, "confidence_bins": CONFIDENCE_BINS}


class Run(Protocol):
    """The part of a run folder that the report reads."""

    path: Path
    meta: Any

    def connection(self) -> duckdb.DuckDBPyConnection: ...

    def locate(self, items: Collection[str]) -> object: ...

    def maps(self, method: str, item_id: str) -> Mapping[str, Any]: ...

    def thumb(self, item_id: str) -> Mapping[str, Any] | None: ...


class Row(dict[str, Any]):
    """A row of a view; columns that the run does not have are null."""

    def __missing__(self, column: str) -> Any:
        return None


class Tables:
    """The views of a run with the queries of the report; close it, or use it in ``with``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.meta: dict[str, Any] = dict(run.meta)
        self._connection = run.connection()
        self.columns: dict[str, set[str]] = {}
        for row in self.rows("select table_name, column_name from information_schema.columns"):
            self.columns.setdefault(row["table_name"], set()).add(row["column_name"])

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def has(self, view: str, *columns: str) -> bool:
        """Test whether the run has ``view``, with these columns."""
        return view in self.columns and self.columns[view].issuperset(columns)

    def _table(self, sql: str) -> pa.Table:
        return self._connection.sql(sql).to_arrow_table()

    def counts(self, name: str) -> str:
        """Return a table of counts, ``pairs`` or ``confidence_bins``, as SQL.

        It stands behind ``from``. A large run has stored it; otherwise it is counted from the predictions.
        """
        return name if self.has(name) else f"({_COUNTS[name]})"

    def rows(self, sql: str) -> list[Row]:
        """Return the rows of a query."""
        return [Row(row) for row in self._table(sql).to_pylist()]

    def value(self, sql: str) -> Any:
        """Return the single value of a query."""
        return self._table(sql).column(0)[0].as_py()

    def array(self, sql: str) -> np.ndarray:
        """Return the only column of a query as (N,) float64, without nulls and NaN."""
        values = self._table(sql).column(0).to_numpy(zero_copy_only=False).astype(np.float64)
        return values[np.isfinite(values)]

    def by_item(self, view: str, item_ids: Iterable[str]) -> dict[str, Row]:
        """Return rows of ``view`` for these items, by item_id.

        Empty if the view is missing.
        """
        return {item: rows[0] for item, rows in self.grouped_by_item(view, item_ids).items()}

    def grouped_by_item(self, view: str, item_ids: Iterable[str]) -> dict[str, list[Row]]:
        """Return all rows of ``view`` for these items, by item_id.

        Rows keep the order of the view; empty if the view is missing.
        """
        ids = ", ".join("'" + item.replace("'", "''") + "'" for item in item_ids)
        if not ids or not self.has(view, "item_id"):
            return {}
        found: dict[str, list[Row]] = {}
        for row in self.rows(f"select * from {view} where item_id in ({ids})"):
            found.setdefault(row["item_id"], []).append(row)
        return found

    def seconds(self) -> float | None:
        """Return the time spent on the shards, summed over workers.

        It is read from the metadata of the parts; None if not recorded.
        """
        total, seen = 0.0, False
        for file in sorted(Path(self.run.path).glob("parts/*/*/*.parquet")):
            metadata = pq.read_metadata(file).metadata or {}
            if b"seconds" in metadata:
                total, seen = total + float(metadata[b"seconds"]), True
        return total if seen else None


class Names:
    """Class names for people, the first synonym if it is unique, on one visible line."""

    def __init__(self, classes: Iterable[str] | None) -> None:
        self.full = [shown(name) for name in classes or ()]
        short = [name.split(",")[0].strip() or name for name in self.full]
        seen: dict[str, int] = {}
        for name in short:
            seen[name] = seen.get(name, 0) + 1
        self.short = [name if seen[name] == 1 else full for name, full in zip(short, self.full, strict=True)]

    def __len__(self) -> int:
        return len(self.short)

    def __getitem__(self, index: int | None) -> str:
        if index is None:
            return "unlabelled"
        return self.short[index] if 0 <= index < len(self.short) else f"class {index}"

    def whole(self, index: int | None) -> str:
        """Return the name as the model gives it, with all synonyms."""
        return self.full[index] if index is not None and 0 <= index < len(self.full) else self[index]
