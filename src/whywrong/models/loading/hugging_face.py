"""Load image classifiers of transformers (extra ``hf``) from a folder, the library's cache, or a download."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whywrong.core.errors import EnvironmentFailure, InputError, ModelError
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.loading.objects import find_image_processor, stated_by_transformers
from whywrong.models.weights.files import load_weights

_SHOWN = 3


def load_hugging_face(request: ModelRequest) -> Loaded:
    """Load a model of transformers with its class names and image processor.

    Weights are read from safetensors only, and code in the folder is never run. The network is used only if the weights
    are ``pretrained``.

    Args:
        request: Its name is a folder written by ``save_pretrained``, or a model in the cache of the library. Its
            weights are a file that replaces those of the folder, ``random`` (seeded), or ``pretrained``, which lets the
            library download a missing model.

    Raises:
        InputError: The folder or name does not exist on this machine, or nothing states the normalisation.
        ModelError: It is no image classifier, has no safetensors, or the weights do not fit.
        EnvironmentFailure: transformers is not installed, or the download failed.
    """
    try:
        from transformers import AutoConfig
    except ImportError:
        raise EnvironmentFailure('models of Hugging Face need the extra: pip install "whywrong[hf]"') from None
    name = request.name
    folder = os.path.isdir(name)
    if not folder and (name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1):
        raise InputError(f"{name}: no such folder")
    local = folder or request.weights != "pretrained"
    options = {"local_files_only": local, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise _not_found(name, local, error) from None
    module, notes = _module(request, config, options)
    stated = stated_by_transformers(module, find_image_processor(name, local=local), request.given)
    if stated.missing is not None and request.given.get("mean") is None:
        raise InputError(
            f"hf:{name} holds no preprocessor_config.json: pass --mean and --std of its training, and --resize if "
            "images are cropped; --mean none if it takes images in [0, 1]"
        )
    return Loaded(
        model=module,
        name=f"hf:{os.path.abspath(name) if folder else name}",
        says=stated.says,
        sources=(b"transformers",),
        notes=notes,
    )


def _not_found(name: str, local: bool, error: Exception) -> Exception:
    text = " ".join(str(error).split())[:200]
    if os.path.isdir(name):
        return ModelError(f"{name} is not a model of transformers that can be loaded: {text}")
    if local:
        return InputError(
            f"hf:{name} is neither a folder nor in the cache of transformers; pass --weights pretrained to let it be "
            "downloaded"
        )
    return EnvironmentFailure(f"hf:{name} could not be downloaded: {text}")


def _module(request: ModelRequest, config: Any, options: Mapping[str, Any]) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the module with its weights, and return notes on them."""
    from transformers import AutoModelForImageClassification

    name, weights = request.name, request.weights
    if type(config) not in AutoModelForImageClassification._model_mapping:
        raise ModelError(f"hf:{name} is a {config.model_type} model, which transformers has no image classifier for")
    if weights not in (None, "pretrained"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = AutoModelForImageClassification.from_config(config)
        return module.eval(), () if weights == "random" else load_weights(
            module, Path(weights), key=request.weights_key
        )
    try:
        with _quiet():
            module, info = AutoModelForImageClassification.from_pretrained(
                name, config=config, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
            )
    except Exception as error:
        raise _unread(name, error) from error
    missing = sorted(info["missing_keys"])
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise ModelError(
            f"hf:{name} has no weights for {shown}: it is a backbone without a trained classifier; give the fine-tuned "
            "model"
        )
    for part, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f'hf:{name}: weight "{part}" holds NaN or infinity; the training diverged or it is damaged'
            )
    return module.eval(), ()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing and from asking its hub to convert pickled weights."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    before = os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if before is None:
            del os.environ["DISABLE_SAFETENSORS_CONVERSION"]
        else:
            os.environ["DISABLE_SAFETENSORS_CONVERSION"] = before


def _unread(name: str, error: Exception) -> ModelError:
    if os.path.isdir(name) and not any(file.endswith(".safetensors") for file in os.listdir(name)):
        return ModelError(
            f"{name} holds no safetensors, and pickled weights are not opened by their library: save the model again "
            "with save_pretrained, or name the file with --weights, as --weights pytorch_model.bin"
        )
    return ModelError(f"hf:{name} cannot be loaded: {' '.join(str(error).split())[:300]}")
