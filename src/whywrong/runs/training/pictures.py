"""All labelled images of a source in memory, as a network is trained on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.classes import ClassList
from whywrong.core.errors import DataError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.data.batches import load_images
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source

_MOST_BYTES = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images with their classes.

    Attributes:
        pixels: (N, C, H, W), uint8.
        label: (N,), int64.
        spec: How the images were prepared.
        classes: Classes in the order of ``label``.
        failed: Number of items that could not be used.
    """

    pixels: Tensor
    label: Tensor
    spec: InputSpec
    classes: ClassList
    failed: int

    def identity(self) -> str:
        """Compute the SHA-256 of images and classes."""
        digest = hashlib.sha256(repr((tuple(self.pixels.shape), self.classes.names)).encode())
        digest.update(self.label.numpy().tobytes())
        digest.update(self.pixels.numpy().tobytes())
        return digest.hexdigest()

    def split(self, share: float, seed: int) -> tuple[Tensor, Tensor]:
        """Split the rows into training and held-out ones, class by class.

        Returns:
            Rows (n,) and (m,), sorted. A class keeps at least one training image.
        """
        order = keyed_uniform(row_keys(seed, len(self.label)), (), 907)
        held = torch.zeros(len(self.label), dtype=torch.bool)
        for index in range(len(self.classes)):
            rows = (self.label == index).nonzero().flatten()
            count = min(round(share * len(rows)), len(rows) - 1)
            held[rows[order[rows].argsort()[: max(0, count)]]] = True
        return (~held).nonzero().flatten(), held.nonzero().flatten()


def read_pictures(
    source: Source,
    size: tuple[int, ...] | None = None,
    *,
    limit: int | None = None,
    options: DecodeOptions | None = None,
) -> Pictures:
    """Read all labelled images of a source.

    Args:
        source: Source of the images.
        size: (C, H, W) to which images are converted; None if all have the size of the first.
        limit: Most items, spread over the source.
        options: How files are decoded.

    Raises:
        InputError: Sizes differ and none is given, or the images do not fit in memory.
        DataError: Fewer than two classes have an image.
    """
    names = source.facts.classes or source.class_names
    if len(names) < 2:
        raise DataError(f"{source.title}: training needs labelled images of at least 2 classes, found {len(names)}")
    classes = ClassList(tuple(map(str, names)))
    spec = None if size is None else InputSpec(channels=size[0], height=size[1], width=size[2])
    images = load_images(source, spec=spec, classes=classes, batch_size=256, options=options, limit=limit)
    spec = images.spec
    count = len(source) if limit is None else min(limit, len(source))
    if count * spec.channels * spec.height * spec.width > _MOST_BYTES:
        raise InputError(
            f"{count:,} images of {spec.height} x {spec.width} pixels do not fit into {_MOST_BYTES // 2**30} GiB: give "
            "a smaller --input-size, or --images N"
        )
    pixels, labels, failed = [], [], 0
    try:
        for batch in images:
            rows = batch.y >= 0
            pixels.append((batch.x[rows] * 255).round().to(torch.uint8))
            labels.append(batch.y[rows])
            failed += len(batch.failed)
    except InputError as error:
        if size is not None:
            raise
        sizes = str(error).partition(";")[0]
        raise InputError(f"{sizes}; training needs one size: give --input-size 64 (input_size=(3, 64, 64))") from None
    label = torch.cat(labels) if labels else torch.zeros(0, dtype=torch.int64)
    found = label.unique()
    if len(found) < 2:
        raise DataError(f"{source.title}: only {len(found)} of {len(classes)} classes have an image that can be read")
    return Pictures(torch.cat(pixels), label, spec, classes, failed)
