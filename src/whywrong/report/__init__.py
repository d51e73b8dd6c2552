"""The HTML report of a run, and figures of single results."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whywrong.report.drawing import plot
    from whywrong.report.html import write_report

__all__ = ["plot", "write_report"]

_HOMES = {"plot": "whywrong.report.drawing", "write_report": "whywrong.report.html"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
