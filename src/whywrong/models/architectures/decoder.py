"""Reconstruct images from the class capsule of one class."""

from __future__ import annotations

from torch import Tensor, nn

from whywrong.core.errors import InputError


class Decoder(nn.Sequential):
    """Three fully connected layers, as published (Sabour et al. 2017, arXiv 1710.09829, section 4.1).

    Args:
        classes: K.
        dim: Numbers of a class capsule, D.
        shape: (C, H, W) of the images.
    """

    def __init__(self, classes: int, dim: int, shape: tuple[int, int, int]) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(classes * dim, 512), nn.ReLU(), nn.Linear(512, 1024), nn.ReLU(),
            nn.Linear(1024, shape[0] * shape[1] * shape[2]), nn.Sigmoid(), nn.Unflatten(1, shape),
        )  # fmt: skip
        self.classes = classes

    def reconstruct(self, caps: Tensor, classes: Tensor) -> Tensor:
        """Reconstruct images (B, C, H, W) in [0, 1] from class capsules (B, K, D).

        All capsules but that of ``classes`` (B,) int64 are set to zero.

        Raises:
            InputError: A class is out of range, or there is not one class for each image.
        """
        if classes.shape != caps.shape[:1] or bool(((classes < 0) | (classes >= self.classes)).any()):
            raise InputError(f"expected one class in 0 to {self.classes - 1} for each of {len(caps)} images")
        own = nn.functional.one_hot(classes, self.classes).to(caps.dtype)
        return self(caps * own[:, :, None])
