"""Numbered samples of a data set of any library, with the facts that the object states about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whywrong.core.errors import BadItemError, InputError
from whywrong.core.preprocessing.transforms import StatedTransform, read_transform
from whywrong.data.objects.pixels import is_tensor
from whywrong.data.objects.samples import Key

_DEFAULT_COLLATE = ("default_collate", "default_convert")


@dataclass(slots=True, kw_only=True)
class Items:
    """Samples of a data set, by number.

    Attributes:
        get: Returns the sample of a number in 0..count-1; it may raise anything.
        count: Number of samples; None for a stream, which is read once.
        stream: Samples of a stream, in order.
        title: Kind of the data set, such as ``torchvision.datasets.MNIST``.
        names: Class names, in the order of integer labels; None if the object states none.
        stated: Preprocessing that its transform states.
        notes: Remarks on how it is read, one sentence each.
        image, label: Columns if already known.
        unlabelled: Label that means "no label".
    """

    get: Callable[[int], Any] = lambda number: None
    count: int | None = None
    stream: Iterable[Any] = ()
    title: str
    names: tuple[str, ...] | None = None
    stated: StatedTransform = field(default_factory=StatedTransform)
    notes: list[str] = field(default_factory=list)
    image: Key | None = None
    label: Key | None = None
    unlabelled: int | None = None


def kinds_of(value: Any) -> set[str]:
    """Return the classes of a value as ``library.Class``, including its bases.

    No library is imported for it.
    """
    return {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(value).__mro__}


def open_items(data: Any, split: str | None = None) -> Items | None:
    """Find the samples of a data set object.

    Returns None if the object is no data set.

    Args:
        data: torch ``Dataset``, ``IterableDataset`` or ``DataLoader``; Hugging Face ``Dataset``, ``DatasetDict`` or
            ``IterableDataset``; (x, y) arrays or tensors; a list of samples; a generator.
        split: Part of a ``DatasetDict``.

    Raises:
        InputError: It holds several splits and none is named, or arrays do not match in length.
    """
    kinds = kinds_of(data)
    if "torch.DataLoader" in kinds:
        return _of_loader(data)
    if kinds & {"datasets.DatasetDict", "datasets.IterableDatasetDict"}:
        if split not in data:
            raise InputError(f"say which split to read with split=...; the data set has {', '.join(data)}")
        return open_items(data[split])
    if "datasets.Dataset" in kinds and (data.format or {}).get("type") != "custom":
        return _of_hugging_face(data)
    if isinstance(data, (tuple, list)) and len(data) == 2 and _is_array(data[0]) and _are_labels(data[1], data[0]):
        return _of_arrays(*data)
    if _is_array(data):
        return _of_arrays(data, None)
    if isinstance(data, Mapping) or "pandas.DataFrame" in kinds or isinstance(data, (str, bytes)):
        return None
    if kinds & {"torch.IterableDataset", "datasets.IterableDataset"} or isinstance(data, Iterator):
        return Items(stream=data, title=title_of(data), names=_names(data), stated=_transform(data))
    if hasattr(data, "__getitem__") and ("torch.Dataset" in kinds or hasattr(data, "__len__")):
        return _of_map(data)
    return None


def _of_map(data: Any) -> Items:
    try:
        count = len(data)
    except (TypeError, NotImplementedError):
        raise InputError(f"{title_of(data)} has no length: define __len__, or make it an IterableDataset") from None
    return Items(get=data.__getitem__, count=count, title=title_of(data), names=_names(data), stated=_transform(data))


def _of_arrays(x: Any, y: Any) -> Items:
    if y is None:
        return Items(get=x.__getitem__, count=len(x), title=f"{type(x).__name__} {tuple(x.shape)}")
    if len(x) != len(y):
        raise InputError(f"{len(x)} images came with {len(y)} labels")
    title = f"arrays {tuple(x.shape)} and {tuple(y.shape)}" if hasattr(y, "shape") else f"array {tuple(x.shape)}"
    return Items(get=lambda number: (x[number], y[number]), count=len(x), title=title, image=0, label=1)


def _is_array(value: Any) -> bool:
    """Return whether a value is an array or tensor with rows."""
    return (isinstance(value, np.ndarray) or is_tensor(value)) and value.ndim >= 1


def _are_labels(value: Any, images: Any) -> bool:
    """Return whether a value holds labels: an array, or a list of them beside a batch of images."""
    if _is_array(value):
        return True
    return isinstance(value, (list, tuple)) and images.ndim == 4 and all(map(np.isscalar, value))


def _of_hugging_face(data: Any) -> Items:
    """Return rows with undecoded image files, since the model's own preprocessing applies, not that of the data set."""
    import datasets

    plain = data.with_format(None)
    images = [name for name, feature in plain.features.items() if isinstance(feature, datasets.Image)]
    classes = [name for name, feature in plain.features.items() if isinstance(feature, datasets.ClassLabel)]
    for name in images:
        plain = plain.cast_column(name, datasets.Image(decode=False))
    label = "label" if "label" in plain.features else classes[0] if len(classes) == 1 else None
    return Items(
        get=plain.__getitem__,
        count=len(plain),
        title=title_of(data),
        names=tuple(plain.features[label].names) if label in classes else None,
        image=images[0] if len(images) == 1 else None,
        label=label,
        unlabelled=-1 if label in classes else None,
    )


def in_order(loader: Any) -> bool:
    """Return whether a loader yields every sample once, as its data set gives it."""
    batches = type(loader.batch_sampler).__name__ in ("BatchSampler", "NoneType")
    every = type(loader.sampler).__name__ in ("SequentialSampler", "RandomSampler")
    return batches and every and getattr(loader.collate_fn, "__name__", "") in _DEFAULT_COLLATE


def _of_loader(loader: Any) -> Items:
    """Return the data set of a loader, in its own order; a user's collate function is called on single samples."""
    items = open_items(loader.dataset)
    if items is None:
        raise InputError(f"the DataLoader's data set, {title_of(loader.dataset)}, is none that can be read")
    if getattr(loader.collate_fn, "__name__", "") not in _DEFAULT_COLLATE:
        _collate(items, loader)
    sampler, batches = loader.sampler, type(loader.batch_sampler).__name__
    kind = type(sampler).__name__ if batches in ("BatchSampler", "NoneType") else batches
    if items.count is None:
        return items
    if kind in ("RandomSampler", "SubsetRandomSampler"):
        items.notes.append(
            "the DataLoader shuffles: its data set is read in order instead, so that every image keeps its number"
        )
    elif kind not in ("SequentialSampler", "_InfiniteConstantSampler"):
        items.notes.append(f"the DataLoader's {kind} is not followed: its data set is read in order, every sample once")
    chosen = getattr(sampler, "indices", None)
    if chosen is not None and kind == type(sampler).__name__:
        numbers, get = sorted({int(number) for number in chosen}), items.get
        items.get, items.count = lambda number: get(numbers[number]), len(numbers)
    if loader.drop_last and loader.batch_size and items.count % loader.batch_size:
        items.notes.append("the DataLoader drops the last, smaller batch; its images are read too")
    return items


def _collate(items: Items, loader: Any) -> None:
    get, collate = items.get, loader.collate_fn
    items.get = lambda number: _first_of_batch(collate([get(number)]))
    if items.count is None:
        items.stream = (_first_of_batch(collate([sample])) for sample in items.stream)
    items.image = items.label = None
    items.title += " with a collate function"


def _first_of_batch(batch: Any) -> Any:
    """Return the only sample of a batch of one, as a mapping or a tuple of its parts."""
    if isinstance(batch, Mapping):
        return {key: _first(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(_first(value) for value in batch)
    return _first(batch)


def _first(value: Any) -> Any:
    try:
        if len(value) == 1:
            return value[0]
    except TypeError:
        pass
    raise BadItemError(f"the collate function gives {type(value).__name__} for one sample, not a batch of one")


def _parts(data: Any) -> list[Any]:
    """Return the data sets inside ``Subset`` and ``ConcatDataset``, or the data set itself."""
    kinds = kinds_of(data)
    if "torch.Subset" in kinds:
        return _parts(data.dataset)
    if "torch.ConcatDataset" in kinds:
        return [part for inner in data.datasets for part in _parts(inner)]
    return [data]


def _names(data: Any) -> tuple[str, ...] | None:
    """Return the class names that a data set states, if integer labels index them."""
    found = {_own_names(part) for part in _parts(data)}
    return found.pop() if len(found) == 1 else None


def _own_names(data: Any) -> tuple[str, ...] | None:
    if getattr(data, "target_transform", None) is not None:
        return None  # the numbers then mean something else
    features = getattr(data, "features", None)
    if isinstance(features, Mapping):
        listed = [feature.names for feature in features.values() if hasattr(feature, "names")]
        return tuple(listed[0]) if len(listed) == 1 else None
    names = getattr(data, "classes", None)
    if isinstance(names, (tuple, list)) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _transform(data: Any) -> StatedTransform:
    """Return the transform of a data set, or what the transforms of all its parts have in common."""
    found = {read_transform(getattr(part, "transform", None)) for part in _parts(data)}
    if len(found) > 1:
        random = tuple(sorted({name for stated in found for name in stated.random}))
        means = {(stated.mean, stated.std) for stated in found}
        if len(means) > 1:
            raise InputError(
                f"the parts of {title_of(data)} are normalised in {len(means)} different ways; give them one transform"
            )
        mean, std = means.pop()
        return StatedTransform(mean=mean, std=std, random=random)
    return found.pop() if found else StatedTransform()


def title_of(data: Any) -> str:
    parts = _parts(data)
    inner = type(parts[0]) if parts else type(data)
    name = f"{inner.__module__.partition('.')[0]} {inner.__qualname__}".removeprefix("builtins ")
    return name if parts == [data] else f"{type(data).__name__} of {name}"
