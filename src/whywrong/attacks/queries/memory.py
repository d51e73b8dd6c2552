"""Memory of the answers to images that were asked, so that none is asked twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.attacks.queries.answers import Answers
from whywrong.core.randomness import keyed_bits

_SEED = 0x7177  # of the multipliers, any constant

Digest = tuple[int, int, int]
Answer = tuple[int, float]
"""Predicted class, -1 if unusable, and margin of the image's class; NaN if there are labels only."""


class AnswerMemory:
    """Answers by the key and class of an image and the content that was asked.

    Several attacks on the same images share one memory if they get the same keys. Answers to one image of a batch are
    not used for another, so that the count of queries does not depend on the batch.
    """

    def __init__(self) -> None:
        self._answers: dict[Digest, Answer] = {}
        self._multipliers: Tensor | None = None

    def __len__(self) -> int:
        return len(self._answers)

    def digests(self, keys: Tensor, y: Tensor, pixels: Tensor) -> list[Digest]:
        """Compute the digests of images of whole grey levels.

        Args:
            keys: (n,), int64, of the images that these are changes of.
            y: (n,), int64, their classes.
            pixels: (n, C, H, W), multiples of 1/255.
        """
        flat = (pixels * 255).round().long().flatten(1)
        if self._multipliers is None or self._multipliers.shape[1] != flat.shape[1]:
            seed = torch.tensor([_SEED], device=flat.device)
            self._multipliers = keyed_bits(seed, flat.shape[1:]).bitwise_or_(1)
        # A random multiplier for each pixel, modulo 2^64, on the device of the images; one small transfer.
        content = (flat * self._multipliers.to(flat.device)).sum(1)
        return list(zip(*torch.stack([keys, y, content]).tolist(), strict=True))

    def get(self, digest: Digest) -> Answer | None:
        """Return the answer to an image, or None if it was not asked."""
        return self._answers.get(digest)

    def put(self, digests: Sequence[Digest], answers: Answers) -> None:
        """Keep the answers to images."""
        told = zip(answers.label.tolist(), answers.margin.tolist(), strict=True)
        self._answers.update(zip(digests, told, strict=True))

    def read(self, digests: Sequence[Digest], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return predicted classes (n,) int64 and margins (n,); -1 and infinity for images that were not asked."""
        told = [self._answers.get(digest, (-1, math.inf)) for digest in digests]
        label = torch.tensor([one[0] for one in told], dtype=torch.int64, device=device)
        return label, torch.tensor([one[1] for one in told], dtype=torch.float32, device=device)
