"""Read a torchvision ``ImageFolder`` from its files, to keep the photographs and let other processes read them."""

from __future__ import annotations

import os
from typing import Any

from whywrong.core.data_facts import DataFacts
from whywrong.core.errors import DataError
from whywrong.core.preprocessing.transforms import read_transform
from whywrong.data.objects.items import kinds_of, title_of
from whywrong.data.sources import Source, open_source


def folder_of(data: Any, label_by: str | None) -> Source | None:
    """Open the folder behind an ``ImageFolder``.

    Args:
        data: Any data set.
        label_by: How labels are read.

    Returns:
        The source; None if the data set is no plain ``ImageFolder`` of exactly the images in its folder, or its
            transform cannot be fully read. Its own samples are used in that case.
    """
    plain = (
        "torchvision.ImageFolder" in kinds_of(data)
        and type(data).__getitem__.__qualname__ == "DatasetFolder.__getitem__"
        and getattr(data.loader, "__name__", "") == "default_loader"
        and data.target_transform is None
    )
    if not plain:
        return None
    stated = read_transform(data.transform)
    if data.transform is not None and stated.spec is None:
        return None
    try:
        source = open_source(data.root, label_by=label_by, follow_links=True)
    except DataError:
        return None
    root = os.path.abspath(data.root)
    given = {(os.path.relpath(os.path.abspath(path), root), data.classes[index]) for path, index in data.samples}
    if {(entry.key, entry.label) for entry in source.entries()} != given:
        return None
    source.facts = DataFacts(
        title=f"{title_of(data)}, {len(data.samples):,} items",
        classes=tuple(data.classes),
        spec=stated.spec,
        mean=stated.mean,
        std=stated.std,
    )
    return source
