"""SQL queries on a run: one SELECT that cannot write, attach or read another file."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from typing import Any

import duckdb
import pyarrow as pa

from whywrong.core.errors import InputError
from whywrong.runs.store.error_tables import ERROR_TABLES

MAX_CHARACTERS = 50_000
_READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLE_FUNCTIONS = {
    "unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree", "histogram",
    "duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables", "duckdb_types", "duckdb_views",
    "pragma_table_info",
}  # fmt: skip
_FORBIDDEN_FUNCTIONS = {
    "getenv", "nextval", "currval", "write_log", "query", "query_table", "read_text", "read_blob", "read_csv",
    "read_json", "read_parquet", "glob", "json_execute_serialized_sql",
}  # fmt: skip


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run one SELECT that changes nothing and reads no file.

    ``with``, ``from`` and ``describe`` are allowed too.

    Args:
        connection: A separate cursor on the views of a run.
        sql: The statement.

    Raises:
        InputError: Empty, several statements, another kind of statement, one that writes or reads files, or an error
            in the SQL.
    """
    try:
        statement = _only_statement(connection, sql)
        _check_tree(connection, statement)
        connection.execute("begin transaction read only")  # whatever passes the check cannot change the views
        try:
            return connection.sql(statement).to_arrow_table()
        finally:
            connection.execute("rollback")
    except (duckdb.Error, pa.ArrowException, UnicodeError) as error:
        raise InputError(f"the query failed: {str(error).strip()}") from None


def only_stored(sql: str) -> bool:
    """Test whether a query needs only what a large run stores about its errors."""
    try:
        with duckdb.connect() as connection:
            named = connection.get_table_names(sql)
    except duckdb.Error:  # told when it is run
        return False
    return bool(named) and named <= {"classes", *ERROR_TABLES}


def _only_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    if len(sql) > MAX_CHARACTERS:  # some 200,000 nested brackets crash DuckDB's parser, and the process with it
        raise InputError(f"a query has at most {MAX_CHARACTERS:,} characters, got {len(sql):,}")
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise InputError(f"a query is one SELECT statement, got {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rsplit(".", 1)[-1]
        raise InputError(f"a query only reads: expected SELECT, got {kind}")
    return statements[0].query


def _check_tree(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Check that no part of a statement writes, or reads anything but the views, with DuckDB's own parser.

    Raises:
        InputError: Names the part.
    """
    answer = connection.execute("select json_serialize_sql(?)", [statement]).fetchall()[0][0]
    try:
        tree = json.loads(answer)
    except RecursionError:
        raise InputError("the query is nested too deeply") from None
    if tree["error"]:
        raise InputError(f"a query is one SELECT that only reads: {tree.get('error_message', 'another statement')}")
    named: set[str] = set()
    tables: list[str] = []
    todo: list[Any] = tree["statements"]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            named |= {entry["key"].lower() for entry in part.get("cte_map", {}).get("map", ())}
            tables += _check_part(part)
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    for table in tables:
        # DuckDB 1 reads PRAGMA as a SELECT from such a table, which describes the machine.
        other = table.lower().startswith("pragma_") or any(sign in table for sign in "./\\:*?[")
        if other and table.lower() not in named:
            raise InputError(f'a query reads the views of the run and no files, got "{table}"')


def _check_part(part: dict[str, Any]) -> list[str]:
    """Return the table without a schema that this part of the tree names, if any.

    Raises:
        InputError: The part writes, or reads something other than the views.
    """
    kind = str(part.get("type", ""))
    if ("cte_map" in part or kind.endswith("_NODE")) and kind not in _READING_NODES:
        words = kind.removesuffix("_NODE").removesuffix("_QUERY").replace("_", " ")
        raise InputError(f"a query only reads: expected SELECT, got {words} inside of it")
    if kind == "TABLE_FUNCTION":
        name = str(part.get("function", {}).get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise InputError(
                f"a query reads the views of the run; the function {name} may not stand in the place of one"
            )
    if kind == "FUNCTION" and str(part.get("function_name", "")).lower() in _FORBIDDEN_FUNCTIONS:
        raise InputError(
            f"a query only reads the views of the run: the function {part['function_name']} is not allowed"
        )
    return [part["table_name"]] if kind == "BASE_TABLE" and not part.get("schema_name") else []


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Convert rows to plain JSON values.

    NaN and infinity become null, bytes base64, times ISO 8601.
    """
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
