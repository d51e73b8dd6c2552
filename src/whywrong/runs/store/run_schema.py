"""Validate the schema of ``run.json``, which may come from somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.layout import HASH, METHOD

MAX_BYTES = 64 * 2**20
_MAX_NESTING = 32  # a run writes 6 levels; settings of plug-ins may be nested
_MAX_COUNT = 2**53

Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
Hash = Annotated[str, Field(pattern=rf"^{HASH.pattern}$")]
MethodName = Annotated[str, Field(pattern=rf"^{METHOD.pattern}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


class _Model(_Part):
    source: str | None
    identity: str
    classes: list[str] | None
    wnids: list[str] | None = None
    input: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _as_many_wnids(self) -> _Model:
        if self.wnids is not None and len(self.wnids) != len(self.classes or ()):
            raise ValueError(f"{len(self.wnids)} wnids for {len(self.classes or ())} classes")
        return self


class _Data(_Part):
    source: dict[str, str | bool | int | None]
    items: Count
    ignored: dict[str, Count]
    warnings: list[str]


class _Predictions(_Part):
    hash: Hash
    result_version: int


class _Method(_Part):
    hash: Hash
    config: dict[str, Any]
    result_version: int
    title: str = ""


class _Finding(_Part):
    level: str
    text: str


class _Run(_Part):
    format: Annotated[int, Field(alias="schema")]
    whywrong: str = ""
    created: str = ""
    model: _Model
    data: _Data
    given: dict[Literal["model", "data"], str | None] | None = None
    decoding: dict[str, Any]
    seed: int
    depth: Literal["quick", "standard", "deep"] | None
    images: Count | None = None
    limit: Count
    arithmetic: dict[str, str] | None = None
    shard_size: Annotated[int, Field(ge=1, le=10**6)]
    predictions: _Predictions
    methods: dict[MethodName, _Method]
    refused: dict[str, str]
    health: list[_Finding]
    notes: list[str]
    complete: bool
    versions: dict[str, str]
    machine: dict[str, Any]
    usable_access: Literal["LABELS", "SCORES", "GRADIENTS", "INTERNALS"] | None = None
    batch_size: Annotated[int, Field(ge=1, le=10**6)] | None = None


def check_meta(meta: dict[str, Any], path: Path) -> None:
    """Check that ``run.json`` holds what a run writes, with or without further keys.

    Args:
        meta: Its content.
        path: Its path, for messages.

    Raises:
        RunFolderError: Names the key and its value.
    """
    if _nesting(meta) > _MAX_NESTING:
        raise RunFolderError(f"{path}: values are nested deeper than {_MAX_NESTING} levels; {_REMEDY}")
    try:
        _Run.model_validate(meta)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        shown = "" if first["type"] == "missing" else f", found {_short(first['input'])}"
        raise RunFolderError(f'{path}: "{key}": {first["msg"]}{shown}; {_REMEDY}') from None


_REMEDY = "whywrong did not write this file as it is; use another folder"


def _nesting(value: Any) -> int:
    """Count the levels of lists and objects, without recursion."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        here, depth = todo.pop()
        deepest = max(deepest, depth)
        if depth > _MAX_NESTING:
            break
        inner = here.values() if isinstance(here, dict) else here if isinstance(here, list) else ()
        todo += [(part, depth + 1) for part in inner if isinstance(part, (dict, list))]
    return deepest


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
