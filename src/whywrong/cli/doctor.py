"""``whywrong doctor``."""

from __future__ import annotations

import json
import os
import platform
import re
from typing import Annotated, Any

from typer import Option

from whywrong.cli.streams import tell

EXTRAS = {
    "onnxruntime": ("onnx", "classifiers in .onnx files"),
    "datasets": ("hf", "Hugging Face data sets"),
    "transformers": ("hf", "Hugging Face models"),
    "shapiq": ("shapiq", "interactions to and from shapiq"),
    "webdataset": ("webdataset", "webdataset tar shards"),
}


def doctor(as_json: Annotated[bool, Option("--json", help="One JSON object.")] = False) -> int:
    """Show versions, devices and extras, and what is missing.

    \b
    Example:
      whywrong doctor
    """
    from whywrong import __version__

    needed = {name: _version(name) for name in _requirements()}
    extras = {name: _version(name) for name in EXTRAS}
    devices, trouble = _devices()
    missing = [name for name, found in needed.items() if found is None]
    if as_json:
        tell(
            json.dumps(
                {
                    "whywrong": __version__,
                    "python": platform.python_version(),
                    "system": platform.platform(),
                    "cores": _cores(),
                    "devices": devices,
                    "packages": needed,
                    "extras": extras,
                    "missing": missing,
                }
            )
        )
        return 3 if missing or trouble else 0
    tell(f"whywrong {__version__}, Python {platform.python_version()}, {platform.platform()}")
    tell(f"{_cores()} cores, devices: {', '.join(devices) or 'none'}")
    tell()
    for name, found in needed.items():
        tell(f"  {name:<20} {found or 'missing: pip install ' + name}")
    tell()
    for name, found in extras.items():
        extra, purpose = EXTRAS[name]
        tell(f"  {name:<20} {found or f'not installed; for {purpose}: pip install whywrong[{extra}]'}")
    if trouble:
        tell()
        tell(trouble)
    return 3 if missing or trouble else 0


def _requirements() -> list[str]:
    """Return the requirements of the package, without extras."""
    from importlib.metadata import requires

    lines = requires("whywrong") or []
    return [re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> tuple[list[str], str | None]:
    """Return the names of the devices that torch can use, and why torch fails, if it does."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [], f"torch cannot be imported: {error}"
    found: list[Any] = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return ["cpu", *found], None
