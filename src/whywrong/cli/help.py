"""Plain-text help with the options of a command in named groups."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from whywrong.cli.streams import results_only

_BRACES = str.maketrans("", "", "{}")
_OLD_NAMES = ("--limit",)  # still accepted, but not listed


class PlainGroup(TyperGroup):
    """Group of commands, listed in the order in which they are typically used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


class PlainCommand(TyperCommand):
    """Command that lists options by group and reserves stdout for results while it runs."""

    def invoke(self, ctx: Any) -> Any:
        with results_only():
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.translate(_BRACES) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(shown_record(record))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=34)


def shown_record(record: tuple[str, str]) -> tuple[str, str]:
    """Return the names and the help of an option, without deprecated names."""
    names, text = record
    for old in _OLD_NAMES:
        names = names.replace(f", {old}", "")
    return names, text
