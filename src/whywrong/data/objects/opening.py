"""Open a path, a source or a Python object as a source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from whywrong.core.errors import InputError
from whywrong.core.registry import nearest
from whywrong.data.objects.folder import folder_of
from whywrong.data.objects.items import in_order, kinds_of, open_items
from whywrong.data.objects.pixels import Scale
from whywrong.data.objects.samples import Key
from whywrong.data.objects.source import ObjectSource
from whywrong.data.sources import Source, open_source
from whywrong.data.sources.wrong_types import refuse_type

READING = (
    *("image_column", "label_column", "label_by", "split"),
    *("mean", "std", "manifest", "boxes", "follow_links"),
)  # all settings of reading, of files or of objects


def check_reading(names: Iterable[str], others: Iterable[str] = ()) -> None:
    """Refuse names that are no settings of reading data.

    Args:
        names: Keyword arguments that were given.
        others: Settings of the caller, for the message.

    Raises:
        InputError: A name is unknown; the message says which is nearest.
    """
    known = (*others, *READING)
    for name in names:
        if name not in READING:
            raise InputError(f'no setting "{name}"{nearest(name, known)}; the settings are: {", ".join(sorted(known))}')


def open_any(data: Any, *, model_scale: Scale | None = None, **reading: Any) -> Source:
    """Open a path or a data set in memory as a source.

    A source is returned unchanged.

    Args:
        data: Path, source, torch ``Dataset`` or ``DataLoader``, Hugging Face ``Dataset``, (x, y) arrays, list of
            samples or generator.
        model_scale: Normalisation of the model that uses the data.
        reading: As for :func:`whywrong.data.sources.open_source` for a path, otherwise as for :func:`open_object`.

    Raises:
        DataError: The data cannot be read.
        InputError: It is none of these, or a needed fact is missing; the message names the argument.
    """
    check_reading(reading)
    if isinstance(data, (str, os.PathLike)):
        for name in ("mean", "std"):
            if reading.pop(name, None) is not None:
                raise InputError(
                    f"{name} belongs to the model where the data are files: whywrong.load_classifier(model, {name}=...)"
                )
        return open_source(data, **reading)
    given = {name: value for name, value in reading.items() if value}
    if isinstance(data, Source):
        if given:
            raise InputError(f"a source that is open is read as it is; leave out {', '.join(given)}")
        return data
    wrong = given.keys() & {"manifest", "boxes", "follow_links"}
    if wrong:
        raise InputError(f"{', '.join(sorted(wrong))} goes with a folder; leave it out for a data set in memory")
    return open_object(data, model_scale=model_scale, **{k: reading[k] for k in given})


def open_object(
    data: Any,
    *,
    image_column: Key | None = None,
    label_column: Key | None = None,
    label_by: str | None = None,
    split: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    model_scale: Scale | None = None,
) -> Source:
    """Open a data set in memory and read through it once.

    Args:
        data: torch ``Dataset``, ``IterableDataset`` or ``DataLoader``, Hugging Face ``Dataset``, (x, y) arrays or
            tensors, list of samples, or generator.
        image_column, label_column: Key or position of image and label in a sample; ``label_column="none"`` ignores
            labels.
        label_by: How labels are read, ``index``, ``wnid`` or ``name``.
        split: Part of a Hugging Face ``DatasetDict``.
        mean, std: Normalisation of its images, if no transform states it.
        model_scale: Normalisation of the model that uses the data.

    Raises:
        DataError: Nothing in it can be read, or a label is invalid.
        InputError: It is no data set, or a needed fact is missing; the message names the argument.
    """
    loader = "torch.DataLoader" in kinds_of(data)
    if not (image_column or label_column or mean):
        folder = folder_of(data.dataset if loader else data, label_by)
        if folder is not None and (not loader or in_order(data)):
            remarks = open_items(data).notes if loader else ()  # type: ignore[union-attr]
            folder.facts = replace(folder.facts, remarks=tuple(remarks))
            return folder
    items = open_items(data, split)
    if items is None:
        raise refuse_type(data)
    source = ObjectSource(
        items,
        columns=(image_column, label_column),
        label_by=label_by,
        stated=_scale(mean, std) or _scale(items.stated.mean, items.stated.std),
        model=model_scale,
    )
    source.scan()
    return source


def _scale(mean: Sequence[float] | None, std: Sequence[float] | None) -> Scale | None:
    """Build a normalisation from mean and std; None without both.

    Raises:
        InputError: Only one of them was given, or they differ in length.
    """
    if not mean and not std:
        return None
    try:
        means, stds = tuple(map(float, mean or ())), tuple(map(float, std or ()))
    except (TypeError, ValueError):
        raise InputError(f"mean and std must be numbers, one for each channel, got {mean!r} and {std!r}") from None
    if len(means) != len(stds) or min(stds) <= 0:
        raise InputError(f"mean and std come together, one positive std for each mean; got {mean!r} and {std!r}")
    return Scale(means, stds)
