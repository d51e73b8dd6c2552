"""Error messages for common wrong types of a data set."""

from __future__ import annotations

from typing import Any

from whywrong.core.errors import InputError

_SAVE = 'save them with numpy.savez("data.npz", images=..., labels=...), images uint8 (N, H, W, C), and give "data.npz"'


def refuse_type(data: Any) -> InputError:
    """Build the error for data that is neither a path nor a source.

    The message says what to pass.
    """
    kinds = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(data).__mro__}
    name, remedy = f"{type(data).__module__.partition('.')[0]} {type(data).__name__}", "give a path"
    if "pandas.DataFrame" in kinds:
        remedy = 'save it with to_csv("labels.csv") and give the folder of the images and manifest="labels.csv"'
    elif isinstance(data, (tuple, list, dict)) or kinds & {"torch.Tensor", "numpy.ndarray"}:
        name, remedy = f"a {type(data).__name__}", f"for images in memory, give (x, y), or {_SAVE}"
    return InputError(
        "data must be a path (folder, manifest, .npz, .tar, hf:..., planted:...), a data set or loader of torch or "
        f"Hugging Face, (x, y) arrays or a source, got {name}: {remedy}"
    )
