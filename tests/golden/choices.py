"""Constants and default arguments of the key modules, which decide results and are easily changed by mistake."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tests.golden.values import case
from tests.mutation.targets import MODULES


def _plain(value: Any) -> Any:
    """A number, a word or a collection of them as text; None for anything else."""
    if isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        parts = [_plain(part) for part in value]
        return None if None in parts else f"({', '.join(parts)})"
    if isinstance(value, dict):
        parts = [(_plain(key), _plain(part)) for key, part in value.items()]
        return None if any(None in pair for pair in parts) else ", ".join(f"{key}: {part}" for key, part in parts)
    return None


def _functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Functions and methods of a module with their names, without what it imports."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value):
            inner = ((part, getattr(entry, "__func__", entry)) for part, entry in vars(value).items())
            yield from ((f"{name}.{part}", entry) for part, entry in inner if inspect.isfunction(entry))


@case
def choices() -> Any:
    found: dict[str, dict[str, str]] = {}
    for path in MODULES:
        module = importlib.import_module(f"whywrong.{path.removesuffix('.py').replace('/', '.')}")
        named = {
            name: text
            for name, value in vars(module).items()
            if not name.startswith("__") and name.upper() == name and (text := _plain(value)) is not None
        }
        for name, function in _functions(module):
            for parameter in inspect.signature(function).parameters.values():
                if parameter.default is not parameter.empty and (text := _plain(parameter.default)) is not None:
                    named[f"{name}({parameter.name})"] = text
        found[path] = named
    return found
