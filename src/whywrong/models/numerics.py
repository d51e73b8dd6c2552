"""Make the arithmetic of a GPU repeatable, with IEEE float32 and the same bits for the same input.

By default, cuDNN rounds the inputs of float32 convolutions to 10 bits (TF32) and may sum in another order each time.
Logits then vary by up to 6e-3 of their spread, more than the methods allow. Operations without a repeatable kernel in
torch still run. The switches apply to the whole process.
Source: ours, docs/guides/gpu.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
import torch.utils.deterministic

from whywrong.core.errors import InputError

PRECISIONS = ("exact", "fast")
_CUDNN: Any = torch.backends.cudnn  # modules with properties, which type checkers do not see
_PRODUCTS: Any = torch.backends.cuda.matmul
_REPEATABLE: Any = torch.utils.deterministic


def check_precision_name(precision: str) -> str:
    """Return ``precision`` if it is a supported name.

    Raises:
        InputError: It is not supported.
    """
    if precision not in PRECISIONS:
        raise InputError(f'precision must be {" or ".join(PRECISIONS)}, got "{precision}"')
    return precision


class ExactArithmetic:
    """Re-entrant context manager for exact arithmetic on GPUs.

    The previous switches are restored when no thread is inside any more.

    Args:
        wanted: False makes it do nothing, as for models on the CPU.
    """

    _inside = 0
    _restore: list[Callable[[], None]] = []  # noqa: RUF012 - of the process, as the switches are

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted

    def __enter__(self) -> ExactArithmetic:
        if self._wanted:
            if ExactArithmetic._inside == 0:
                ExactArithmetic._restore = _switch()
            ExactArithmetic._inside += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wanted:
            ExactArithmetic._inside -= 1
            if ExactArithmetic._inside == 0:
                for undo in reversed(ExactArithmetic._restore):
                    undo()
                ExactArithmetic._restore = []


def _switch() -> list[Callable[[], None]]:
    """Set the switches and return the functions that restore them, in the order in which they were set."""
    found = _CUDNN.deterministic, _CUDNN.benchmark
    _CUDNN.deterministic, _CUDNN.benchmark = True, False

    def put_back() -> None:
        _CUDNN.deterministic, _CUDNN.benchmark = found

    return [
        put_back,
        *_with_repeatable_kernels(),
        *_without_tf32_in_convolutions(),
        *_without_tf32_in_products(),
    ]


def _with_repeatable_kernels() -> list[Callable[[], None]]:
    found, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = _REPEATABLE.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    _REPEATABLE.fill_uninitialized_memory = False  # it would clear every buffer without changing our results
    quiet = warnings.catch_warnings()
    quiet.__enter__()
    for text in (".*does not have a deterministic implementation", "Deterministic behavior was enabled"):
        warnings.filterwarnings("ignore", text, UserWarning)

    def put_back() -> None:
        quiet.__exit__(None, None, None)
        torch.use_deterministic_algorithms(found, warn_only=warned)
        _REPEATABLE.fill_uninitialized_memory = filled

    return [put_back]


def _without_tf32_in_convolutions() -> list[Callable[[], None]]:
    # torch has two switches for this, and reading the older one raises if the newer one was used.
    undo: list[Callable[[], None]] = []
    try:
        older = _CUDNN.allow_tf32
    except RuntimeError:
        older = False
    if older:
        _CUDNN.allow_tf32 = False
        undo.append(lambda: setattr(_CUDNN, "allow_tf32", True))
    newer = getattr(_CUDNN, "conv", None)  # since torch 2.9
    if newer is not None and newer.fp32_precision == "tf32":
        newer.fp32_precision = "ieee"
        undo.append(lambda: setattr(newer, "fp32_precision", "tf32"))
    return undo


def _without_tf32_in_products() -> list[Callable[[], None]]:
    newer = getattr(_PRODUCTS, "fp32_precision", None)
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:  # somebody used the newer switch
        _PRODUCTS.fp32_precision = "ieee"
        return [lambda: setattr(_PRODUCTS, "fp32_precision", newer)]
    if older == "highest":
        return []
    torch.set_float32_matmul_precision("highest")
    return [lambda: torch.set_float32_matmul_precision(older)]
