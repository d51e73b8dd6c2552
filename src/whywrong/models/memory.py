"""Detect errors of exhausted memory and failed GPUs, and keep memory between passes."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

from whywrong.core.errors import DeviceFailure

_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_NO_DEVICE = (
    "CUDA error",
    "device-side assert",
    "illegal memory access",
    "illegal instruction",
    "unspecified launch failure",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_MAPPING_ERROR",
    "HIP error",
)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out, on any device."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in text for sign in _NO_MEMORY)


def device_failed(error: BaseException) -> bool:
    """Return whether an exception means that a GPU has failed.

    Every later call on such a GPU fails, too.
    """
    if isinstance(error, DeviceFailure):
        return True
    if not isinstance(error, RuntimeError) or out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # since torch 2.8
    text = str(error)
    return (kind is not None and isinstance(error, kind)) or any(sign in text for sign in _NO_DEVICE)


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Convert the failure of a GPU to a one-sentence error.

    Raises:
        DeviceFailure: The GPU failed; it replaces the error of torch.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceFailure) or not device_failed(error):
            raise
        raise device_failure(error) from error


def device_failure(error: BaseException) -> DeviceFailure:
    """Return the exception for an error that :func:`device_failed` accepts."""
    first = (str(error).strip().splitlines() or [""])[0]
    return DeviceFailure(
        f"the GPU failed ({first}); what is committed stays. Run the same command again; if it fails again, with "
        "CUDA_LAUNCH_BLOCKING=1 to see where, or with --device cpu"
    )


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next pass.

    Otherwise every pass maps and clears activations of a few megabytes and more anew, which takes up to half of the
    time of a backward pass on a CPU. It applies to the whole process and is meant for our own processes (command line,
    workers), once, before the first pass.

    Returns:
        Whether it took effect; it works with glibc only.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - other C libraries lack it
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_max = -1, -4
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))
