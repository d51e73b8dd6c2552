"""Errors that say that memory ran out or that a GPU failed, and memory kept between passes."""

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
    """Whether an exception says that memory ran out, on any device."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in text for sign in _NO_MEMORY)


def device_failed(error: BaseException) -> bool:
    """Whether an exception says that a GPU is out of order: it fails in all that it is asked afterwards."""
    if isinstance(error, DeviceFailure):
        return True
    if not isinstance(error, RuntimeError) or out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # since torch 2.8
    text = str(error)
    return (kind is not None and isinstance(error, kind)) or any(sign in text for sign in _NO_DEVICE)


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Turn the failure of a GPU, wherever it shows, into one sentence about the machine.

    Raises:
        DeviceFailure: In place of what torch raises.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceFailure) or not device_failed(error):
            raise
        raise device_failure(error) from error


def device_failure(error: BaseException) -> DeviceFailure:
    """Return the message for an error of which :func:`device_failed` holds."""
    first = (str(error).strip().splitlines() or [""])[0]
    return DeviceFailure(
        f"the GPU failed ({first}); what is committed stays. Run the same command again; if it fails again, with "
        "CUDA_LAUNCH_BLOCKING=1 to see where, or with --device cpu"
    )


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next pass, instead of returning it to the system each time.

    Activations of a few megabytes and more are otherwise mapped and cleared anew by every pass, which costs up to
    half of the time of a backward pass on a CPU. Meant for processes of our own (command line, workers), once, before
    the first pass: it concerns the whole process.

    Returns:
        Whether it took effect; it exists for glibc only.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - other C libraries lack it
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_max = -1, -4
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))
