"""What to pass instead of a data set of another library: one sentence for what a first notebook tries."""

from __future__ import annotations

from typing import Any

from whywrong.core.errors import InputError

_SAVE = 'save them with numpy.savez("data.npz", images=..., labels=...), images uint8 (N, H, W, C), and give "data.npz"'


def refuse_type(data: Any) -> InputError:
    """Build the error for data that is neither a path nor a source; it says what to pass."""
    kinds = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(data).__mro__}
    name, remedy = f"{type(data).__module__.partition('.')[0]} {type(data).__name__}", "give a path"
    if kinds & {"torch.DataLoader", "torch.Dataset"}:
        dataset = getattr(data, "dataset", data) if "torch.DataLoader" in kinds else data
        root = getattr(dataset, "root", None)
        images = f'its folder, "{root}"' if root else "the folder of its images"
        remedy = f"give {images}, which whywrong reads and prepares itself; if the images are in memory, {_SAVE}"
    elif kinds & {"datasets.Dataset", "datasets.DatasetDict", "datasets.IterableDataset"}:
        remedy = 'save it with save_to_disk("set") and give "hf:set"'
    elif "pandas.DataFrame" in kinds:
        remedy = 'save it with to_csv("labels.csv") and give the folder of the images and manifest="labels.csv"'
    elif isinstance(data, (tuple, list, dict)) or kinds & {"torch.Tensor", "numpy.ndarray"}:
        name, remedy = f"a {type(data).__name__}", f"for images in memory, {_SAVE}"
    return InputError(
        f"data must be a path (folder, manifest, .npz, .tar, hf:..., planted:...) or a source, got {name}: {remedy}"
    )
