"""Quote names and texts for SQL."""

from __future__ import annotations


def quoted(text: str) -> str:
    """Quote text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Quote the name of a column or view."""
    return '"' + name.replace('"', '""') + '"'
