"""Questions to a run in SQL: one SELECT, no way to write, attach or reach another file."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from typing import Any

import duckdb
import pyarrow as pa

from whywrong.core.errors import InputError


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The answer to one SELECT (``with``, ``from`` and ``describe`` included).

    Raises:
        InputError: Empty, several statements, another kind of statement, or an error in the SQL.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise InputError(f"a query is one SELECT statement, got {len(statements)} statements")
        if statements[0].type != duckdb.StatementType.SELECT:
            kind = str(statements[0].type).rsplit(".", 1)[-1]
            raise InputError(f"a query only reads: expected SELECT, got {kind}")
        answer = connection.sql(statements[0].query).to_arrow_table()
    except duckdb.Error as error:
        raise InputError(f"the query failed: {str(error).strip()}") from None
    return answer


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as plain JSON values: NaN and infinity become null, bytes base64, times ISO 8601."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):  # sums of integers are 128 bits wide, and JSON integers have no limit
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.timedelta):
        return str(value)
    return value
