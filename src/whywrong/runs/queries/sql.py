"""Names and texts as SQL takes them, whatever they contain."""

from __future__ import annotations


def quoted(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The name of a column or view."""
    return '"' + name.replace('"', '""') + '"'
