"""Text in CSV files that a spreadsheet must not take for a formula."""

from __future__ import annotations

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
GUARD = "'"  # spreadsheets show what follows as text (OWASP, CSV injection)


def guard_cell(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    return GUARD + text if text.startswith(STARTS) else text


def plain_cell(text: str) -> str:
    """Take the apostrophe of :func:`guard_cell` off again."""
    return text[1:] if text.startswith(GUARD) and text[1:].startswith(STARTS) else text
