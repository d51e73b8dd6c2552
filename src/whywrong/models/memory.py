"""How many images go through a classifier at once, and what happens when memory runs out."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import DeviceFailure, InputError, ModelError

if TYPE_CHECKING:
    from whywrong.models.classifier import Classifier

BUDGET_CPU = 2**30  # bytes kept for the backward pass; larger batches fall out of the caches and gain nothing
BUDGET_ACCELERATOR = 8 * 2**30
LARGEST = 128
WITHOUT_PROBE = 32
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


def saved_bytes(classifier: Classifier, x_one: Tensor) -> int:
    """Bytes that one image keeps alive between its forward and its backward pass.

    Args:
        classifier: Its module is asked once; the pass is not counted as a query.
        x_one: One image, (1, C, H, W), in [0, 1].

    Raises:
        InputError: More or less than one image.
        ModelError: The model cannot be asked for it.
    """
    if len(x_one) != 1:
        raise InputError(f"the memory probe takes one image, got {len(x_one)}")
    module = classifier.module
    own = {p.untyped_storage().data_ptr() for p in module.parameters()} if module is not None else set()
    seen: dict[int, Tensor] = {}  # held until the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            seen[address] = tensor
        return tensor

    before = classifier.forwards
    try:
        with classifier, torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            classifier.ask(x_one.detach().clone().requires_grad_())
    finally:
        classifier.forwards = before
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


def plan_batch_size(classifier: Classifier, x_one: Tensor) -> int:
    """Batch size of best throughput: a power of two up to 128, from a probe of one image and a fixed budget.

    The answer depends on the model and the kind of device, never on momentary load, so that a run repeats itself.
    On two CPU cores it gives 128 for small nets at 32 px and 8 to 32 at 224 px, within a few per cent of the best.

    Args:
        classifier: Asked once where it grants gradients; 32 is the answer otherwise.
        x_one: One image, (1, C, H, W), in [0, 1].
    """
    if classifier.access < Access.GRADIENTS:
        return min(WITHOUT_PROBE, classifier.largest_batch or WITHOUT_PROBE)
    try:
        each = saved_bytes(classifier, x_one)
    except Exception as error:
        if not (isinstance(error, ModelError) or out_of_memory(error)):
            raise
        return WITHOUT_PROBE  # the first real batch shows what is wrong with the image, or is halved until it fits
    budget = BUDGET_CPU if classifier.device.type == "cpu" else BUDGET_ACCELERATOR
    fitting = max(1, min(LARGEST, budget // max(each, 1)))
    return 1 << (int(fitting).bit_length() - 1)


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
