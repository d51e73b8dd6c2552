"""Choose the device of a model, and a GPU for each worker."""

from __future__ import annotations

import torch

from whywrong.core.errors import InputError, ModelError

_REMEDY = 'use --device cpu (device="cpu")'


def choose_device(said: str | torch.device | None) -> torch.device:
    """Choose a device, by default the first GPU, otherwise the CPU.

    Raises:
        InputError: The name is no device, the kind is not supported, or this machine does not have it.
    """
    if said is None:
        return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(said)
    except (RuntimeError, TypeError):
        raise InputError(f'a device is cpu, cuda, cuda:1 ..., got "{said}"') from None
    check_kind(device)
    if device.type == "cuda":
        _check_card(device)
    return device


def check_kind(device: torch.device) -> None:
    """Raise an error if the methods do not support this kind of device.

    Raises:
        InputError: The kind is not supported; the message says what to do.
    """
    if device.type == "mps":
        raise InputError(f"mps has no float64, in which the methods sum; {_REMEDY}")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"models run on cpu and cuda, not on {device.type}; {_REMEDY}")


def _check_card(device: torch.device) -> None:
    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch finds no CUDA GPU"
        raise InputError(f"there is no {device}: {why}; {_REMEDY}")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise InputError(f"there is no {device}: this machine has {there}; name one of them, or {_REMEDY}")


def cards(device: torch.device, said: str | None, workers: int) -> tuple[str, ...]:
    """Assign a GPU to each of several workers.

    The result is empty if they compute on the CPU.

    Args:
        device: Device of the run's model.
        said: Device that the user requested.
        workers: At least 2.

    Raises:
        InputError: There are fewer GPUs than workers, or the user named a single GPU.
    """
    if device.type != "cuda":
        return ()
    if said is not None and torch.device(said).index is not None:
        raise InputError(
            f"--device {said} is one card, and {workers} workers need one each: say --device cuda, or --workers 1"
        )
    count = torch.cuda.device_count()
    if workers > count:
        have = "1 GPU" if count == 1 else f"{count} GPUs"
        raise InputError(
            f"{workers} workers need a GPU each and this machine has {have}: say --workers {count}, or --device cpu"
        )
    return tuple(f"cuda:{number}" for number in range(workers))


def device_of_model(said: torch.device | str | None, found: torch.device | None) -> torch.device:
    """Return the device of a module's tensors.

    For a model without tensors, it is the given device.

    Raises:
        ModelError: The given device is not that of the tensors.
    """
    if found is not None:
        check_kind(found)
    if said is None:
        return found or torch.device("cpu")
    device = choose_device(said)
    if found is None:
        return device
    if device.type != found.type or device.index not in (None, found.index or 0):
        raise ModelError(f'the model is on {found} and device={device} was said; move it there with .to("{device}")')
    return found
