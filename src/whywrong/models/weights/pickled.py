"""Read the tables of tensors in ``torch.save`` checkpoints, and ignore everything else.

``torch.load(weights_only=True)`` does the reading. Trainers also store settings: an ``argparse.Namespace``, numpy
scalars, paths, dates. The names of such classes are first collected from the opcodes, and each is replaced by
:class:`Inert`, so that a file can neither import nor call anything on the machine. A file that names a function which
could do harm is still refused.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from whywrong.core.errors import ModelError

REMEDY = (
    "whole pickled modules and checkpoints with code are never opened; where the model was made, save its weights: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), or torch.save(model.state_dict(), ...)"
)

SAFE_TORCH = (2, 10)  # older versions run code of some files despite weights_only

# Names that torch itself decides about: they build tensors, and weights_only allows no other of them.
_LEFT_TO_TORCH = ("torch", "collections", "_codecs")
_TORCH_OBJECTS = (
    "torch.nn.modules.", "torch.nn.functional.", "torch.nn.init.", "torch.optim.", "torch.utils.data.",
    "torch.torch_version.", "torch.amp.", "torch.cuda.amp.",
)  # fmt: skip
# Inert objects would replace these, too, but a file that names one is an attack, which the message should say.
_HARMFUL_MODULES = frozenset(
    [
        "os", "posix", "nt", "subprocess", "sys", "importlib", "runpy", "shutil", "socket", "pty", "ctypes", "code",
        "codeop", "pickle", "_pickle", "marshal", "types", "operator", "functools", "webbrowser", "asyncio",
        "multiprocessing", "threading", "timeit", "pdb", "bdb", "cProfile", "profile", "trace", "platform",
        "tempfile", "io", "http", "urllib", "ftplib", "smtplib", "pip", "ensurepip", "commands", "popen2",
        "builtins", "__builtin__", "linecache", "pydoc", "distutils", "setuptools", "venv", "zipimport", "pkgutil",
        "inspect", "ast", "dis", "gc", "atexit", "signal", "resource", "mmap", "sqlite3"
    ]
)  # fmt: skip
_PLAIN_BUILTINS = frozenset(
    [
        "set", "frozenset", "dict", "list", "tuple", "bytearray", "bytes", "str", "int", "float", "complex", "bool",
        "object", "slice", "range", "type"
    ]
)  # fmt: skip
_PICKLES = 5  # in the older format: magic number, protocol, machine, object, names of the storages


class Inert:
    """Placeholder for an object whose class is not loaded; it accepts anything and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        return None

    def __setstate__(self, state: Any) -> None:
        return None


class _PlainDict:
    """Plain replacement of a ``defaultdict``, whose items the unpickler may set."""

    def __new__(cls, *args: Any) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


def _check_version(path: Path) -> None:
    """Refuse all files except safetensors if torch has known ways around ``weights_only``.

    Raises:
        ModelError: torch is older than 2.10 (CVE-2025-32434 was fixed in 2.6, CVE-2026-24747 in 2.10).
    """
    numbers = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if numbers is None or tuple(map(int, numbers.groups())) < SAFE_TORCH:
        raise ModelError(
            f"{path.name} is not opened by torch {torch.__version__}, in which such a file can run code (fixed in "
            "2.10): upgrade torch, or save the weights with safetensors.torch.save_file(model.state_dict(), "
            "'weights.safetensors')"
        )


def read_pickled(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Read a file of ``torch.save`` without running any of its code.

    Returns:
        The content, with an :class:`Inert` in place of every object that is neither a tensor nor plain data; and the
        classes of these objects.

    Raises:
        ModelError: The file holds code, is damaged, or is not from ``torch.save``.
    """
    _check_version(path)
    _check_zip(path)
    names = _names(path)
    harmful = sorted(name for name in names if _harmful(name))
    if harmful:
        raise ModelError(
            f"{path.name} holds more than weights: it asks to call {harmful[0]}, which no weights need; nothing in it "
            f"was executed; {REMEDY}"
        )
    inert = {name for name in names if not _left_to_torch(name)}
    stands_for: list[Any] = [(_PlainDict if n == "collections.defaultdict" else Inert, n) for n in sorted(inert)]
    try:
        with torch.serialization.safe_globals(stands_for), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; unreadable files are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path.name} holds more than weights ({_first_reason(error)}); {REMEDY}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way; none of them loads
        text = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{path.name} cannot be read as weights ({type(error).__name__}: {text}); truncated, damaged, or {REMEDY}"
        ) from None
    if isinstance(content, Inert):
        raise ModelError(
            f"{path.name} holds more than weights: one whole object ({', '.join(sorted(inert))}); {REMEDY}"
        )
    return content, tuple(sorted(inert - {"collections.defaultdict"}))


def _left_to_torch(name: str) -> bool:
    if name == "collections.defaultdict" or name.startswith(_TORCH_OBJECTS):
        return False
    return name.split(".")[0] in _LEFT_TO_TORCH or name in ("builtins.set", "builtins.bytearray", "builtins.complex")


def _harmful(name: str) -> bool:
    module, _, rest = name.partition(".")
    if module in ("builtins", "__builtin__"):
        return rest not in _PLAIN_BUILTINS
    return module in _HARMFUL_MODULES and name not in ("functools.partial", "types.SimpleNamespace")


def _names(path: Path) -> set[str]:
    """Collect the names of all classes and functions that the pickles of a file use, from the opcodes alone."""
    names: set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.rpartition("/")[2] == "data.pkl":
                        with archive.open(member) as file:
                            names |= set(_asked_for(file))
        else:
            with path.open("rb") as file:
                for _ in range(_PICKLES):
                    names |= set(_asked_for(file))
    except Exception:  # noqa: BLE001 - what cannot be disassembled is left to torch.load, which refuses unknown names
        return names
    return names


def _asked_for(file: IO[bytes]) -> Iterator[str]:
    # Protocol 2, which torch.save writes, names everything by GLOBAL; weights_only knows no other opcode for it.
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            if (module, name) in NAME_MAPPING:  # protocol 2 names the classes of Python 2
                module, name = NAME_MAPPING[module, name]
            yield f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _first_reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if "GLOBAL" in line or "nsupported" in line or "WeightsUnpickler" in line]
    return (telling or lines or [""])[0][:200]


def _check_zip(path: Path) -> None:
    """Refuse archives that expand beyond their size; ``torch.save`` never compresses."""
    try:
        if not zipfile.is_zipfile(path):
            return  # the older format is one pickle
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # noqa: BLE001 - zipfile fails in many ways on damaged directories
        raise ModelError(f"{path.name} is a damaged archive: {error}") from None
    names = [member.filename for member in members]
    if any("constants.pkl" in name for name in names):
        raise ModelError(f"{path.name} is a TorchScript program, not weights; {REMEDY}")
    odd = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size]
    if odd or len(set(names)) != len(names) or sum(m.file_size for m in members) > path.stat().st_size:
        what = f'member "{odd[0]}" is compressed' if odd else "members overlap or occur twice"
        raise ModelError(f"{path.name} was not written by torch.save: {what}; {REMEDY}")
