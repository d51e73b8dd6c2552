"""Composites of two images, which show the second image inside some pixels and the first one elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from whywrong.models.classifier import Classifier


def each_composite(
    classifier: Classifier, first: Tensor, second: Tensor, image: Tensor, inside: Callable[[slice], Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    """Classify a flat list of composites, built a batch at a time.

    They are built on the device of the images.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        first: (B, C, H, W), the images shown outside; their pixels are checked by the caller, as those of ``second``.
        second: (B, C, H, W), the images shown inside.
        image: (Q,) int64, the pair that each composite is made of.
        inside: Maps a slice of the list to the pixels (q, H, W) bool that show ``second``.

    Yields:
        The slice, and the logits (q, K) of its composites.
    """
    step = classifier.batch_size  # fixed here, since it shrinks if memory runs out
    for start in range(0, len(image), step):
        rows = slice(start, min(start + step, len(image)))
        pair = image[rows]
        mixed = torch.where(inside(rows)[:, None], second[pair], first[pair])
        yield rows, classifier.logits(mixed, bounded=False)
