"""Columns of result tables that views show in a form of their own; read without torch."""

from __future__ import annotations

import pyarrow as pa

_AS_ROWS = b"whywrong.as_rows"


def rows_field(name: str, kind: pa.DataType) -> pa.Field:
    """A column of lists that the view of a method shows as rows, one entry a row, beside the other such columns.

    All of them are equally long in a row of the table; where they are empty, the view keeps one row of nulls.
    """
    return pa.field(name, pa.list_(kind), metadata={_AS_ROWS: b"1"})


def shown_as_rows(schema: pa.Schema) -> list[str]:
    """Names of the columns of a table that :func:`rows_field` made."""
    return [field.name for field in schema if _AS_ROWS in (field.metadata or {})]
