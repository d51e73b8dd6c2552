"""Fill ``<!-- columns of METHOD -->`` in a page with the table of the method's columns, as its result declares them."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

from whywrong.core.registry import find_method, resolve
from whywrong.core.result import Column, arrow_type

PLACE = re.compile(r"<!-- columns of (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    return PLACE.sub(lambda found: column_table(found[1]), markdown)


def column_table(method: str) -> str:
    """Markdown table of the columns of a method's view, behind those that say which error a row is about."""
    result = get_type_hints(resolve(find_method(method).function))["return"]
    lines = ["| Column | Type | What it holds |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {_kind(one)} | {_cell(one.doc)} |" for one in result.declared()]
    lines += ["| `forwards` | int64 | Times the image went through the classifier. |"]
    lines += ["| `backwards` | int64 | Times it was differentiated through it. |"]
    return "\n".join(lines)


def _kind(column: Column) -> str:
    return _cell(str(arrow_type(column.kind)).replace("item: ", ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
