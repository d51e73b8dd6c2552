"""Build the frozen, checked config of a method from user settings."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

from whywrong.core.errors import InputError

C = TypeVar("C")


def make_config(config_class: type[C], options: Mapping[str, Any], where: str = "") -> C:
    """Build a config from untrusted options.

    Args:
        config_class: A frozen dataclass that checks itself in ``__post_init__``.
        options: Setting to value; text is converted to the type of the setting, and split at commas for a tuple.
        where: Name of the method, for error messages.

    Raises:
        InputError: Unknown setting (the message names the nearest known one), wrong type, NaN, or a value out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key, value in options.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise InputError(
                f'unknown setting "{prefix}{key}"; nearest: "{prefix}{near[0]}"'
                if near
                else f'"{where}" has no settings, got "{key}"'
            )
        if (isinstance(value, float) and math.isnan(value)) or str(value).strip().lower() == "nan":
            raise InputError(f"setting {prefix}{key} is not a number (NaN)")
    try:
        return TypeAdapter(config_class).validate_python(_split_lists(config_class, options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "?"
        cause = first.get("ctx", {}).get("error")
        raise InputError(
            str(cause)
            if isinstance(cause, InputError)
            else f"setting {prefix}{key}: {first['msg']}, got {first['input']!r}"
        ) from None


def _split_lists(config_class: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Split text at commas if the setting is a tuple."""
    kinds = get_type_hints(config_class)
    return {
        name: tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str) and get_origin(kinds[name]) is tuple
        else value
        for name, value in options.items()
    }


def check_radius(name: str, value: float) -> None:
    """Check that a radius is in (0, 1].

    Raises:
        InputError: Out of range; the message has a hint if the value looks like grey levels.
    """
    if not (0 < value <= 1):
        hint = f"; for {value:g} grey levels write {value / 255:.4g} ({value:g}/255)" if 1 < value <= 255 else ""
        raise InputError(f"{name} must be in (0, 1] (pixels are in [0, 1]), got {value}{hint}")


def config_dict(config: Any) -> dict[str, Any]:
    """Return the settings as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def config_hash(config: Any) -> str:
    """Hash the settings to 12 hex digits, part of the identity of a result."""
    text = json.dumps([type(config).__qualname__, config_dict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
