"""Load programs of ``torch.export`` (``.pt2``) and TorchScript (``.pt``), which need no Python code of the user.

TorchScript runs in its own interpreter. ``torch.export.load`` would unpickle and evaluate parts of a file, so
:func:`_check_export` checks every part first and refuses anything that could run code.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from whywrong.core.errors import InputError, ModelError
from whywrong.models.loading.libraries import refuse_weights
from whywrong.models.loading.loaded import Loaded, ModelRequest

_MOST_JSON = 2**28  # bytes of one JSON description
_PLAIN = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|version|\.data/\w+|.+\.json|data/weights/weight_\d+"
    r"|data/constants/tensor_\d+|data/sample_inputs/[\w.]+\.pt)"
)
_OPERATION = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|torchvision)\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+"
)
_SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'(, \w+=(True|False))*\)")
_EXPRESSION = re.compile(r"([a-z]{1,3}\d+|[A-Z]\w*\(|[\s\d()+*/,<>=&|~-])*")


def load_program(request: ModelRequest) -> Loaded:
    """Load an exported program or a TorchScript file.

    The classifier grants gradients.

    Args:
        request: Its name is the file, which holds the weights.

    Raises:
        InputError: The file does not exist, holds weights only, or separate weights were given.
        ModelError: It is damaged, could run code, or its input is not one batch of images.
    """
    path = Path(os.path.abspath(request.name))
    if not path.is_file():
        raise InputError(f"no model at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    script = any(name.endswith("/constants.pkl") for name in names)
    if not script and not path.name.lower().endswith(".pt2"):
        raise refuse_weights(path)
    if request.weights is not None:
        raise InputError(f"{path.name} carries its own weights; leave weights out")
    module, size = (_load_script(path), None) if script else _load_export(path)
    for part in module.modules():
        part.training = False
    content = hashlib.sha256(path.read_bytes()).digest()
    says = {} if size is None else {"input_size": size}
    return Loaded(model=module, name=str(path), says=says, sources=(content,))


def _load_script(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a deprecation warning does not help a user with a TorchScript file
            return torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ModelError(f"{path.name} cannot be read as TorchScript: {_one_line(error)}") from error


def _load_export(path: Path) -> tuple[Any, tuple[int, ...]]:
    """Load the module of an exported program and the size (C, H, W) of its images.

    Raises:
        ModelError: It could run code, is damaged, or its input is not images.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_export(path.name, archive)
        program = torch.export.load(str(path))
        inputs = [n.meta["val"] for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
        module = program.module(check_guards=False)  # guards are Python text, which would be run
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path.name} cannot be read as an exported program: {_one_line(error)}") from error
    shapes = [tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)]
    if len(inputs) != 1 or len(shapes) != 1 or len(shapes[0]) != 4 or not all(type(d) is int for d in shapes[0][1:]):
        raise ModelError(f"{path.name} must take one batch of images (B, C, H, W) of one size, it takes {shapes}")
    batch = shapes[0][0]
    if type(batch) is int and batch > 1:
        raise ModelError(
            f"{path.name} was exported for exactly {batch} images at a time: export it again with dynamic_shapes=({{0: "
            "torch.export.Dim('batch')},)"
        )
    if type(batch) is int:
        module.largest_batch = batch  # type: ignore[assignment]
    return module, shapes[0][1:]


def _check_export(name: str, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that holds more than plain tensors, known operations and arithmetic of sizes.

    Raises:
        ModelError: Something else was found; the message names it.
    """

    def refuse(what: str) -> ModelError:
        return ModelError(
            f"{name} holds {what[:120]}, which loading it could run; nothing in it was executed. Export the model with "
            "torch.export.save from plain tensors and operations of torch"
        )

    names = archive.namelist()
    if len(set(names)) != len(names):  # two readers could pick different ones
        raise refuse("parts of the same name")
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or not _PLAIN.fullmatch(member.filename):
            raise refuse(f'the part "{member.filename}"')
        if member.filename.endswith(".pt"):
            try:
                torch.load(io.BytesIO(archive.read(member)), weights_only=True)
            except Exception:  # noqa: BLE001 - whatever cannot be read this way would be unpickled
                raise refuse(f'a pickle, "{member.filename}"') from None
        if not member.filename.endswith(".json"):
            continue
        if member.file_size > _MOST_JSON:
            raise refuse(f"a description of {member.file_size} bytes")
        for key, value in _entries(json.loads(archive.read(member))):
            if key == "use_pickle" and value:
                raise refuse("pickled tensors")
            if key == "target" and isinstance(value, str) and "." in value and not _OPERATION.fullmatch(value):
                raise refuse(f'the operation "{value}"')
            if key == "expr_str" and not _EXPRESSION.fullmatch(_SYMBOL.sub("s0", str(value))):
                raise refuse(f'the expression "{value}"')


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all keys and values in nested dictionaries and lists."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from inner.items()
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
