"""Class-wise neural PCA, which finds the directions in which the evidence of one class's images varies.

Source: Neuhaus, Augustin, Boreiko and Hein 2023, arXiv 2212.04871, as in its published code. With penultimate features
phi, and weight w_k and bias b_k of class k,

    psi(x) = w_k * phi(x),   v_l = eigenvectors of Cov(psi) over images of class k,
    alpha_l(x) = <1, v_l> <psi(x) - mean, v_l>,   f_k(x) = b_k + <1, mean> + sum_l alpha_l(x).

The split of the logit is exact over all l. Components that are not kept are summed as ``rest``, and the whole sum is
compared with the logit of the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuralPCAConfig:
    """Settings of :func:`class_components`.

    Attributes:
        components: Components kept per class, those of the largest variance.
        min_images: Smallest number of images of a class; with fewer, a direction is not reliable.
    """

    components: int = 10
    min_images: int = 20

    def __post_init__(self) -> None:
        if self.components < 1:
            raise InputError(f"components must be at least 1, got {self.components}")
        if self.min_images < 3:
            raise InputError(f"min_images must be at least 3, got {self.min_images}")


@dataclass(frozen=True, slots=True, eq=False)
class ClassComponents:
    """The neural PCA of one class.

    Attributes:
        index: Class k.
        images: Number of images it was computed from.
        weight: (D,), float64, w_k.
        bias: b_k, logits.
        mean: (D,), float64, mean of psi over these images; its entries sum to the mean logit without b_k.
        directions: (L, D), float64, orthonormal, by decreasing variance; their sign is arbitrary.
        eigenvalues: (L,), float64, variance of psi along each, logits squared.
        share: (L,), share of the total variance of psi, in [0, 1].
        spread: (L,), standard deviation of alpha_l over these images, logits.
        residual: Largest |b_k + sum over all components - logit of the model| over these images, as a share of the sum
            of the absolute terms of the logit.
    """

    index: int
    images: int
    weight: Tensor
    bias: float
    mean: Tensor
    directions: Tensor
    eigenvalues: Tensor
    share: Tensor
    spread: Tensor
    residual: float

    def __len__(self) -> int:
        return len(self.directions)

    @property
    def base(self) -> float:
        """The mean logit of class k over its images, b_k + <1, mean>."""
        return self.bias + float(self.mean.sum())

    @property
    def pulls(self) -> Tensor:
        """(L,), <1, v_l>, logits of class k per unit along each direction."""
        return self.directions.sum(1)

    def alphas(self, phi: Tensor) -> Tensor:
        """Compute the contribution of each component to the logit of class k.

        Args:
            phi: (B, D), penultimate features.

        Returns:
            (B, L), float64, logits.
        """
        taken = self.directions * self.weight * self.pulls[:, None]  # (L, D)
        return phi.double() @ taken.T - (self.directions @ self.mean) * self.pulls

    def rest(self, phi: Tensor) -> Tensor:
        """Compute the contribution of all other directions to the logit.

        Returns (B,), float64, logits, so that base + alphas + rest = logit.
        """
        return phi.double() @ self.weight - self.mean.sum() - self.alphas(phi).sum(1)


def class_components(
    phi: Tensor,
    logit: Tensor,
    weight: Tensor,
    bias: float,
    index: int,
    *,
    config: NeuralPCAConfig | None = None,
) -> ClassComponents:
    """Compute the neural PCA of one class.

    Args:
        phi: (N, D), penultimate features of images of class ``index``.
        logit: (N,), logits of the class returned by the model, used only as a check.
        weight: (D,), row of the last layer.
        bias: Bias of the class.
        index: Index of the class.
        config: Settings; None takes the defaults.

    Raises:
        InputError: Shapes differ, features are not finite, or there are fewer than ``min_images`` images.
    """
    config = config or NeuralPCAConfig()
    if phi.ndim != 2 or weight.shape != phi.shape[1:] or logit.shape != phi.shape[:1]:
        raise InputError(
            f"features (N, D), logits (N,) and weight (D,) do not fit: {tuple(phi.shape)}, {tuple(logit.shape)}, "
            f"{tuple(weight.shape)}"
        )
    if len(phi) < config.min_images:
        raise InputError(f"class {index} has {len(phi)} images, neural PCA needs at least {config.min_images}")
    if not bool(phi.isfinite().all()):
        raise InputError(f"class {index}: features are not finite")
    weight = weight.double()
    psi = phi.double() * weight
    mean = psi.mean(0)
    centred = psi - mean
    directions, eigenvalues = _eigen(centred)
    pulls = directions.sum(1)
    alphas = (centred @ directions.T) * pulls  # (N, all)
    size = psi.abs().sum(1) + abs(bias)
    gap = (bias + mean.sum() + alphas.sum(1) - logit.double()).abs()
    kept = slice(0, config.components)
    total = eigenvalues.sum()
    return ClassComponents(
        index=index,
        images=len(phi),
        weight=weight,
        bias=bias,
        mean=mean,
        directions=directions[kept],
        eigenvalues=eigenvalues[kept],
        share=eigenvalues[kept] / total if total > 0 else torch.zeros_like(eigenvalues[kept]),
        spread=alphas[:, kept].std(0, correction=0),
        residual=float((gap / size.clamp_min(1e-300)).max()),
    )


def _eigen(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Compute all principal directions (R, D) of centred rows (N, D).

    Also returns their variances (R,), largest first.
    """
    images, width = centred.shape
    if images > width:
        values, vectors = torch.linalg.eigh(centred.T @ centred / images)
        return vectors.T.flip(0), values.flip(0).clamp_min(0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    return directions, singular**2 / images
