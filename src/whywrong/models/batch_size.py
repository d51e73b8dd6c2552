"""Choose how many images a classifier processes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError, ModelError
from whywrong.models.classifier import Classifier
from whywrong.models.memory import out_of_memory

BUDGET_CPU = 2**30  # bytes kept for the backward pass; larger batches exceed the caches and are not faster
BUDGET_ACCELERATOR = 8 * 2**30
LARGEST = 128
WITHOUT_PROBE = 32


def saved_bytes(classifier: Classifier, x_one: Tensor) -> int:
    """Measure the memory that one image holds from forward to backward pass.

    Returns bytes.

    Args:
        classifier: Its module is run once; the pass is not counted as a query.
        x_one: One image, (1, C, H, W), in [0, 1].

    Raises:
        InputError: ``x_one`` does not hold exactly one image.
        ModelError: The model cannot be measured.
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
    """Choose the batch size with the best throughput from a probe of one image.

    The result is a power of two up to 128.

    The result depends only on the model and the kind of device, not on the current load, so that runs are repeatable.
    On two CPU cores it is 128 for small nets at 32 px and 8 to 32 at 224 px, within a few per cent of the best.

    Args:
        classifier: Run once if it grants gradients; otherwise the batch size is 32.
        x_one: One image, (1, C, H, W), in [0, 1].
    """
    if classifier.access < Access.GRADIENTS:
        return min(WITHOUT_PROBE, classifier.largest_batch or WITHOUT_PROBE)
    try:
        each = saved_bytes(classifier, x_one)
    except Exception as error:
        if not (isinstance(error, ModelError) or out_of_memory(error)):
            raise
        return WITHOUT_PROBE  # the first real batch reports the fault, or is halved until it fits
    budget = BUDGET_CPU if classifier.device.type == "cpu" else BUDGET_ACCELERATOR
    fitting = max(1, min(LARGEST, budget // max(each, 1)))
    return 1 << (int(fitting).bit_length() - 1)
