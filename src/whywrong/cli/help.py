"""Help in plain text, fast to show, with the options of a command in named groups."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class PlainGroup(TyperGroup):
    """The group lists its commands in the order in which one meets them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


class PlainCommand(TyperCommand):
    """Options are listed under the heading that they name."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=34)
