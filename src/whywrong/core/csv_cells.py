"""Text in CSV files that a spreadsheet must not run as a formula."""

from __future__ import annotations

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
GUARD = "'"  # spreadsheets show the text after it as is (OWASP, CSV injection)


def guard_cell(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    return GUARD + text if text.startswith(STARTS) else text


def plain_cell(text: str) -> str:
    """Remove the apostrophe that :func:`guard_cell` added."""
    return text[1:] if text.startswith(GUARD) and text[1:].startswith(STARTS) else text
