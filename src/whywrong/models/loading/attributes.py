"""Read the preprocessing that a user's model states in its attributes.

Only plain values count. A parameter, buffer, submodule, method or tensor called ``mean`` or ``resize`` belongs to the
network. A model may also keep a plain ``mean`` and normalise with it in its own forward pass. This is tested by running
it: if mean and pixels are shifted together, and std and pixels scaled together, such a model gives the same answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.core.input_spec import INTERPOLATIONS, InputSpec
from whywrong.models.answers import read_part
from whywrong.models.containment import Contained
from whywrong.models.kinds import unwrap
from whywrong.models.loading.loaded import SPEC_FIELDS
from whywrong.models.modes import EvaluationMode

_SAME = 1e-3  # relative to the spread of the scores: rounding stays below it, another normalisation does not
_MOST_PAIRS = 9  # pairs of values tested per object
_MOVE, _STRETCH = 0.13, 1.7


def stated_preprocessing(model: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read the preprocessing from plain attributes of a model.

    Args:
        model: Module or callable.
        given: What the user states elsewhere, by the same names; None or absent if not stated.

    Returns:
        Values by the names in ``SPEC_FIELDS``; and notes on which of them were used.
    """
    values = {name: value for name in SPEC_FIELDS if (value := _attribute(model, name)) is not None}
    said: dict[str, Any] = {}
    if "input_size" in values and _sizes(values["input_size"]):
        said["input_size"] = tuple(int(v) for v in values["input_size"])
    size = given.get("input_size") or said.get("input_size")
    size = size if size is not None and len(size) == 3 else None
    resize = values.get("resize")
    if _whole(resize) and (resize == 0 or size is None or resize >= max(size[1:])):
        said["resize"] = int(resize)
    interpolation = values.get("interpolation")
    if isinstance(interpolation, str) and interpolation.lower() in INTERPOLATIONS:
        said["interpolation"] = interpolation.lower()
    mean, std = (_channels(values.get(name), size[0] if size else None) for name in ("mean", "std"))
    if mean is not None and std is not None and (not std or min(std) > 0) and len(mean) == len(std):
        said |= {"mean": mean, "std": std}
    open_ones = {name: value for name, value in values.items() if given.get(name) is None}
    return said, _notes({name: value for name, value in said.items() if name in open_ones}, open_ones)


def _attribute(model: Any, name: str) -> Any:
    for holder in (model, unwrap(model) if isinstance(model, nn.Module) else model):
        try:
            value = getattr(holder, name, None)
        except Exception:  # noqa: BLE001 - a property of the user's class may raise anything; then it states nothing
            value = None
        if value is not None:
            return value
    return None


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _sizes(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == 3
        and all(_whole(v) and v > 0 for v in value)
        and value[0] in (1, 3)
    )


def _channels(value: Any, channels: int | None) -> tuple[float, ...] | None:
    """Return one number per channel; a single number is accepted for one channel only."""
    if isinstance(value, Real) and channels == 1 and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, Real) and math.isfinite(v) for v in value):
        return None
    return tuple(map(float, value)) if channels is None or len(value) in (0, channels) else None


def _notes(said: dict[str, Any], values: dict[str, Any]) -> list[str]:
    taken = [name for name in SPEC_FIELDS[1:] if said.get(name)]
    notes = [f"{_listed(taken)} taken from attributes of the model"] if taken else []
    left = [f"{name} ({_kind(value)})" for name, value in values.items() if name not in said]
    if left:
        notes.append(
            f"{_listed(left)} of the model not taken as preprocessing: no plain values that fit; pass "
            f"{', '.join('--' + n.split()[0].replace('_', '-') for n in left)} if they describe the input"
        )
    return notes


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _kind(value: Any) -> str:
    return "a function" if callable(value) and not isinstance(value, nn.Module) else type(value).__name__


def settle_normalisation(model: Any, spec: InputSpec) -> tuple[InputSpec, list[str]]:
    """Remove mean and std from a spec if the model already normalises with them.

    Args:
        model: Module or callable from whose attributes ``spec`` was read.
        spec: Input spec with mean and std.

    Returns:
        The spec to use, and a note if it was changed.

    Raises:
        InputError: The forward pass uses mean and std, but it is unclear whether it normalises its input with them.
    """
    if spec.mean is None or spec.std is None or isinstance(model, torch.jit.ScriptModule):
        return spec, []
    model = unwrap(model) if isinstance(model, nn.Module) else model
    found = {holder.name: _use(model, holder, spec) for holder in _holders(model, spec.mean, spec.std)}
    normalising = [name for name, use in found.items() if use == "normalises"]
    if normalising:
        note = f"the model normalises its input with {normalising[0]} itself; mean and std are not applied again"
        return replace(spec, mean=None, std=None), [note]
    using = [name for name, use in found.items() if use == "uses"]
    if using:
        raise InputError(
            f"the forward pass uses {using[0]}, so it is unclear whether mean and std are still to be applied: pass "
            "--mean none if the model takes images in [0, 1], or --mean and --std if it takes normalised ones"
        )
    return spec, []


@dataclass(frozen=True, slots=True)
class _Holder:
    """Object in which a model keeps mean and std, with its name and the names of both values in it."""

    part: Any
    name: str
    keys: tuple[str, str]


def _holders(model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Iterator[_Holder]:
    """Yield objects inside a model that hold exactly these numbers, as plain values or as tensors."""
    parts = list(model.named_modules()) if isinstance(model, nn.Module) else [("", model)]
    for where, part in parts:
        values = dict(getattr(part, "__dict__", {}))
        if isinstance(part, nn.Module):
            values |= {**part._buffers, **part._parameters}
        if where == "":
            values |= {name: getattr(part, name) for name in ("mean", "std") if hasattr(part, name)}  # class attributes
        means, stds = ([key for key, value in values.items() if _equals(value, wanted)] for wanted in (mean, std))
        for keys in [(m, s) for m in means for s in stds if m != s][:_MOST_PAIRS]:
            yield _Holder(part, " and ".join(f"{where}.{key}" if where else key for key in keys), keys)


def _equals(value: Any, wanted: tuple[float, ...]) -> bool:
    if isinstance(value, Real):
        value = (value,)
    if not isinstance(value, (tuple, list, np.ndarray, Tensor)):
        return False
    try:
        flat = torch.as_tensor(value).detach().flatten().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        return False
    return flat.shape == (len(wanted),) and torch.allclose(flat, torch.tensor(wanted).double(), atol=1e-4)


def _use(model: Any, holder: _Holder, spec: InputSpec) -> str:
    """Test what the forward pass does with the values of a holder.

    Returns ``normalises``, ``uses`` or ``ignores``.
    """
    assert spec.mean is not None
    assert spec.std is not None
    mean = torch.tensor(spec.mean).view(-1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    x = 0.2 + 0.6 * torch.rand((2, spec.channels, spec.height, spec.width), generator=generator)
    moved = tuple(v + _MOVE for v in spec.mean), spec.std
    stretched = spec.mean, tuple(_STRETCH * v for v in spec.std)
    try:
        plain, again = _scores(model, x), _scores(model, x)
        with _changed(holder, *moved):
            other, along = _scores(model, x), _scores(model, x + _MOVE)
        with _changed(holder, *stretched):
            wider, stretch = _scores(model, x), _scores(model, mean + _STRETCH * (x - mean))
    except Exception:  # noqa: BLE001 - a model that refuses the trial images cannot be asked this way
        return "ignores"
    if not _alike(plain, again):
        return "ignores"  # randomised answers tell nothing
    if _alike(plain, other) and _alike(plain, wider):
        return "ignores"
    return "normalises" if _alike(plain, along) and _alike(plain, stretch) else "uses"


def _scores(model: Any, x: Tensor) -> Tensor:
    module = model if isinstance(model, nn.Module) else None
    tensors = [*module.parameters(), *module.buffers()] if module is not None else []
    place = next((t for t in tensors if t.is_floating_point()), x)
    with Contained(), EvaluationMode(module), torch.no_grad():
        return read_part(model(x.to(place.device, place.dtype)), "logits").detach().float().flatten(1).cpu()


def _alike(a: Tensor, b: Tensor) -> bool:
    scale = (a - a.mean()).abs().max().clamp_min(1e-12)
    return a.shape == b.shape and bool(((a - b).abs().max() <= _SAME * scale).item())


@contextmanager
def _changed(holder: _Holder, mean: tuple[float, ...], std: tuple[float, ...]) -> Iterator[None]:
    """Replace the values of a holder inside the context, and always restore them."""
    part = holder.part
    tables = [part._buffers, part._parameters] if isinstance(part, nn.Module) else []
    undo = []
    try:
        for key, values in zip(holder.keys, (mean, std), strict=True):
            table = next((t for t in tables if key in t), vars(part))
            old = table.get(key, undo)  # ``undo`` marks an attribute of the class
            undo.append((table, key, old))
            like = getattr(part, key)
            if isinstance(like, Tensor):
                new: Any = torch.tensor(values, dtype=like.dtype, device=like.device).reshape(like.shape)
                new = nn.Parameter(new, requires_grad=False) if isinstance(like, nn.Parameter) else new
            elif isinstance(like, np.ndarray):
                new = np.asarray(values, like.dtype).reshape(like.shape)
            else:
                new = values[0] if isinstance(like, Real) else type(like)(values)
            table[key] = new
        yield
    finally:
        for table, key, old in undo:
            if old is undo:
                del table[key]
            else:
                table[key] = old
