"""Engines by name, built-ins and plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from whywrong.core.errors import InputError
from whywrong.core.registry import nearest, resolve
from whywrong.runs.engines.base import Engine, EngineOptions, WorkerSpec

BUILTIN_ENGINES = {"local": "whywrong.runs.engines.local:local_engine"}
GROUP = "whywrong.engines"

MakeEngine = Callable[[WorkerSpec, Any, Any, EngineOptions], Engine]


def engine_names() -> list[str]:
    """Return the names that ``--engine`` accepts.

    Built-ins come before those of the entry-point group ``whywrong.engines``.
    """
    return [*BUILTIN_ENGINES, *(point.name for point in entry_points(group=GROUP) if point.name not in BUILTIN_ENGINES)]


def find_engine(name: str) -> MakeEngine:
    """Return the function that makes the engine called ``name``.

    Its arguments are the spec of the workers, the classifier, the source and :class:`EngineOptions`. A plug-in cannot
    replace a built-in.

    Raises:
        InputError: No such engine, or a plug-in that cannot be loaded.
    """
    if name in BUILTIN_ENGINES:
        return resolve(BUILTIN_ENGINES[name])
    for point in entry_points(group=GROUP, name=name):
        try:
            return point.load()
        except Exception as error:
            raise InputError(f'engine "{name}" ({point.value}) cannot be loaded: {error}') from error
    known = engine_names()
    raise InputError(f'no engine "{name}"{nearest(name, known)}; the engines are: {", ".join(known)}')
