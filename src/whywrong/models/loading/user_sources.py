"""Find files besides the user's own Python file that determine its model's answers."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from whywrong.core.errors import ModelError

READ = (
    *(".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".npy", ".onnx", ".h5", ".pkl", ".joblib"),
    *(".json", ".yaml", ".yml", ".toml"),
)
"""Endings of files that hold weights or settings; a file that the model may write (a log) is none of them."""


def source_digests(path: Path) -> tuple[bytes, ...]:
    """Hash the local modules that a Python file imports and the files that they name.

    The sources are parsed, not run, so that every process finds the same: ``import`` statements anywhere in a file, and
    string constants that name a file with a suffix of ``READ``, relative to the folder or absolute. Names built at run
    time are not found.

    Args:
        path: The user's file; it is not included itself.

    Raises:
        ModelError: A file cannot be read.
    """
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        source = waiting.pop()
        modules, files = _named(source, path.parent)
        new = modules - found - {path}
        waiting += sorted(new)
        found |= new | files
    return tuple(_digest(file, path.parent) for file in sorted(found))


def _named(source: Path, folder: Path) -> tuple[set[Path], set[Path]]:
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return set(), set()  # the import reports it
    modules: set[Path] = set()
    files: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules |= _module(alias.name, folder)
        elif isinstance(node, ast.ImportFrom):
            base = folder if node.level == 0 else source.parents[node.level - 1]
            start = node.module or ""
            modules |= _module(start, base)
            for alias in node.names:
                modules |= _module(f"{start}.{alias.name}" if start else alias.name, base)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(READ):
            files |= {file for base in {folder, source.parent} if _is_file(file := base / node.value)}
    return modules, files


def _module(name: str, folder: Path) -> set[Path]:
    """Return the existing files of a dotted name in a folder, its packages and the module itself."""
    found: set[Path] = set()
    place = folder
    for part in filter(None, name.split(".")):
        place = place / part
        found |= {file for file in (place / "__init__.py", place.with_name(f"{part}.py")) if _is_file(file)}
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # an invalid file name
        return False


def _digest(path: Path, folder: Path) -> bytes:
    name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ModelError(f"{path}, which the model needs, cannot be read: {error.strerror}") from None
    return name.as_posix().encode(errors="surrogateescape") + b"\0" + content
