"""Load models from a user's Python file, ``file.py:function``."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from whywrong.core.errors import InputError, ModelError, ModelRaisedError, WhyWrongError
from whywrong.models.containment import Contained
from whywrong.models.loading.attributes import stated_preprocessing
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.loading.user_sources import source_digests
from whywrong.models.weights.files import load_weights


def load_user_file(request: ModelRequest) -> Loaded:
    """Load a model by running a function of the user's file.

    The model is an ``nn.Module`` or any callable from images (B, C, H, W) to scores or labels. It may have
    ``classes`` or another list of names that :func:`whywrong.models.class_attributes.classes_of` reads, and
    ``input_size`` (C, H, W), ``resize``, ``interpolation``, ``mean`` and ``std`` as plain values.

    Args:
        request: Its name is ``file.py:function``: a function without arguments, in a file whose folder is importable
            while it loads. Weights are a file to load into the module; None keeps its own.

    Raises:
        InputError: The file or function does not exist.
        ModelError: The file or the function raised, or the result is no model.
    """
    file, _, function = request.name.rpartition(":")
    if not file.lower().endswith(".py"):
        raise InputError(f"{request.name}: say which function returns the model, as {request.name}:build")
    path, weights = Path(file).resolve(), request.weights
    if not path.is_file():
        raise InputError(f"no Python file at {path}")
    sys.path.insert(0, str(path.parent))
    try:
        build = _find(_execute(path), path, function)
        try:
            with Contained(f"{path.name}:{function}()"):
                model = build if isinstance(build, nn.Module) else build()
        except WhyWrongError:
            raise
        except Exception as error:
            raise ModelError(f"{path.name}:{function}() raised {type(error).__name__}: {error}") from error
    finally:
        if str(path.parent) in sys.path:
            sys.path.remove(str(path.parent))
    if not callable(model):
        raise ModelError(f"{path.name}:{function}() must return a module or a callable, got {type(model).__name__}")
    notes: tuple[str, ...] = ()
    if weights is not None:
        if not isinstance(model, nn.Module) or weights in ("random", "pretrained"):
            raise InputError(
                f"weights={weights} cannot be put into {path.name}:{function}; it takes a safetensors or state-dict "
                "file for an nn.Module"
            )
        notes = load_weights(model, Path(weights), key=request.weights_key)
    says, more = stated_preprocessing(model, request.given)
    return Loaded(
        model=model,
        name=f"{path}:{function}",
        says=says,
        ask=f"set input_size = (3, 224, 224) on what {path.name}:{function} returns, or give --input-size 224",
        sources=(path.read_bytes(), function.encode(), *source_digests(path)),
        notes=(*notes, *(f"{path.name}:{function}: {text}" for text in more)),
        by_attributes=True,
    )


def _execute(path: Path) -> ModuleType:
    # A unique name: dataclasses and inspect look a module up by name, and files of the same name must not collide.
    name = f"_whywrong_{path.stem}_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with Contained(f"{path.name}, while it was imported,"):
            spec.loader.exec_module(module)
    except ModelRaisedError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise ModelError(f"{path.name} raised {type(error).__name__} when it was imported: {error}") from error
    return module


def _find(module: ModuleType, path: Path, function: str) -> Any:
    build = getattr(module, function, None)
    if not callable(build):
        own = [
            n
            for n, v in vars(module).items()
            if inspect.isfunction(v) and v.__module__ == module.__name__ and n[0] != "_"
        ]
        raise InputError(f'{path.name} has no function "{function}"; it has: {", ".join(own) or "none"}')
    if not isinstance(build, nn.Module):
        try:
            inspect.signature(build).bind()
        except TypeError:
            raise InputError(
                f"{path.name}:{function} takes arguments; name a function without any that returns the model"
            ) from None
        except ValueError:
            pass  # a built-in without a signature
    return build
