"""Objectives that guide the search toward readable gradients.

Each class is an objective in the sense of :mod:`whywrong.explain.counterfactuals.objectives`: it returns value,
direction and logits of the explained classifier, and states the passes it takes. Logits are always those of the
explained classifier, and validity is judged on them.

Sources: cone projection, Augustin, Boreiko, Croce and Hein 2022 (DVCE), arXiv 2210.11841, in the form of its code, with
the explained gradient as the axis; probability ensemble, the code of the sparse counterfactuals; smoothing, Kaur, Cohen
and Lipton 2019, arXiv 1910.08640.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from whywrong.attacks.balls import norm_of, unit
from whywrong.core.access import Access
from whywrong.core.errors import InputError, NotDifferentiableError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.agreement import check_classes_agree, check_inputs_agree, same_classifier
from whywrong.models.classifier import Classifier
from whywrong.models.modes import EvaluationMode

Denoiser = Callable[[Tensor], Tensor]
Way = Literal["cone", "ensemble"]
WAYS: tuple[Way, ...] = ("cone", "ensemble")


class ConeGuidance:
    """The explained gradient, turned toward that of an auxiliary robust classifier by a limited angle.

    If the auxiliary gradient lies within ``angle`` of the explained one, the explained gradient is used unchanged;
    otherwise the direction is the one at exactly ``angle`` from the explained gradient, in the plane of both, on the
    side of the auxiliary one. In thousands of dimensions two gradients are almost orthogonal, so nearly every step lies
    on the surface of the cone.

    Args:
        classifier: The explained one; must grant gradients.
        aux: The auxiliary one, of the same classes; must grant gradients.
        angle: Largest angle between direction and explained gradient, degrees, in (0, 90]. At 90 the direction is
            orthogonal to the explained gradient.
        temperature: Divides the logits of the explained classifier.

    Attributes:
        gradient_cost, value_cost, temperature: As for :class:`Objective`; passes of the explained classifier.
        aux_cost: Forward and backward passes of the auxiliary one, per image and gradient.

    Raises:
        InputError: The angle is out of range, the classes differ, or ``aux`` is the explained classifier.
        AccessError: The auxiliary classifier grants no gradients.
    """

    gradient_cost: tuple[int, int] = (1, 1)
    value_cost = 1
    aux_cost = (1, 1)

    def __init__(self, classifier: Classifier, aux: Classifier, angle: float = 60.0, temperature: float = 1.0) -> None:
        if not 0 < angle <= 90:
            raise InputError(f"angle must be in (0, 90] degrees, got {angle}")
        check_auxiliary(classifier, aux)
        self.angle, self.temperature = angle, temperature
        self._own, self._aux = ClassObjective(classifier, temperature=temperature), ClassObjective(aux)

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute value, direction and logits.

        Returns log-probability of the target (B,), direction (B, C, H, W), logits (B, K).
        """
        value, own, logits = self._own.gradient(z, target, keys)
        _, other, _ = self._aux.gradient(z, target, keys)
        return value, into_cone(own, other, self.angle), logits

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the log-probability of the target (B,) and logits (B, K).

        The auxiliary classifier is not used.
        """
        return self._own.value(z, target, keys)


class EnsembleGuidance:
    """The objective log(0.5 p + 0.5 p_aux) of the target.

    A change must convince one of the two classifiers; it is worth most if it convinces both.

    Args:
        classifier: The explained one; must grant gradients.
        aux: The auxiliary one, of the same classes; must grant gradients.
        temperature: Divides the logits of the explained classifier.

    Attributes:
        gradient_cost, value_cost, temperature: As for :class:`Objective`; passes of the explained classifier.
        aux_cost: Forward and backward passes of the auxiliary one, per image and gradient.

    Raises:
        InputError: The classes differ, or ``aux`` is the explained classifier.
        AccessError: The auxiliary classifier grants no gradients.
    """

    gradient_cost: tuple[int, int] = (1, 1)
    value_cost = 1
    aux_cost = (1, 1)

    def __init__(self, classifier: Classifier, aux: Classifier, temperature: float = 1.0) -> None:
        check_auxiliary(classifier, aux)
        self.temperature = temperature
        self._own, self._aux = ClassObjective(classifier, temperature=temperature), ClassObjective(aux)

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute value, gradient and logits.

        Returns value (B,), gradient (B, C, H, W), logits (B, K) of the explained classifier.
        """
        own, own_grad, logits = self._own.gradient(z, target, keys)
        aux, aux_grad, _ = self._aux.gradient(z, target, keys)
        # d log(a + b) = (a dlog a + b dlog b) / (a + b); logarithms keep improbable targets from underflow.
        share = torch.sigmoid(own - aux).view(-1, 1, 1, 1)
        return _log_mean(own, aux), share * own_grad + (1 - share) * aux_grad, logits

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute value (B,) and logits (B, K) of the explained classifier."""
        own, logits = self._own.value(z, target, keys)
        return _log_mean(own, self._aux.value(z, target, keys)[0]), logits


class SmoothGuidance:
    """Mean log-probability of the target over noisy copies, for a classifier trained with noise.

    The noise is drawn in pairs n, -n, so that the mean is exact if the log-probability is linear; the noisy copies may
    leave [0, 1]. Every gradient draws new noise, in the order of the calls: build one object per search.

    Args:
        classifier: The explained one; must grant gradients.
        sigma: Standard deviation of the noise, [0, 1] units; positive.
        samples: Noisy copies per image; even, at least 2.
        temperature: Divides the logits.
        seed: Seed of the noise if the search passes no keys.

    Attributes:
        gradient_cost, value_cost, temperature: As for :class:`Objective`; one more forward pass gives the logits at
            ``z``.

    Raises:
        InputError: A setting is out of range.
    """

    def __init__(
        self, classifier: Classifier, sigma: float = 0.1, samples: int = 8, temperature: float = 1.0, seed: int = 0
    ) -> None:
        if not 0 < sigma <= 1:
            raise InputError(f"sigma must be in (0, 1] (pixels are in [0, 1]), got {sigma}")
        if samples < 2 or samples % 2:
            raise InputError(f"samples must be even and at least 2: noise comes in pairs, got {samples}")
        self.sigma, self.samples, self.temperature, self.seed = sigma, samples, temperature, seed
        self.gradient_cost: tuple[int, int] = (samples + 1, samples)
        self.value_cost = samples + 1
        self._own = ClassObjective(classifier, temperature=temperature, bounded=False)
        self._classifier, self._draws = classifier, 0

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute value, gradient and logits.

        Returns the mean log-probability over the copies (B,), its gradient (B, C, H, W), logits (B, K) at ``z``.
        """
        copies, classes = self._copies(z, target, keys)
        value, grad, _ = self._own.gradient(copies, classes)
        value, grad = (part.unflatten(0, (self.samples, len(z))).mean(0) for part in (value, grad))
        return value, grad, self._classifier.logits(z)

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the mean log-probability over the copies and the logits.

        Returns (B,), and logits (B, K) at ``z``.
        """
        copies, classes = self._copies(z, target, keys)
        value = self._own.value(copies, classes)[0].unflatten(0, (self.samples, len(z))).mean(0)
        return value, self._classifier.logits(z)

    def _copies(self, z: Tensor, target: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return noisy copies (samples * B, C, H, W) and their targets, copy by copy."""
        keys = row_keys(self.seed, len(z), z.device) if keys is None else keys
        pairs = self.samples // 2
        noise = torch.stack([keyed_normal(keys, z.shape[1:], self._draws + i) for i in range(pairs)])
        self._draws += pairs
        copies = z + self.sigma * torch.cat([noise, -noise]).to(z.dtype)  # (samples, B, C, H, W)
        return copies.flatten(0, 1), target.repeat(self.samples)


class DenoisedGuidance:
    """Log-probability of the target after a denoiser.

    Changes that the denoiser removes do not count.

    Args:
        classifier: The explained one; must grant gradients.
        denoiser: Maps images (b, C, H, W) in [0, 1] to denoised ones, differentiable; a module is not changed.
        temperature: Divides the logits.

    Attributes:
        gradient_cost, value_cost, temperature: As for :class:`Objective`; one more forward pass gives the logits at
            ``z``.

    Raises:
        InputError: The denoiser changes the shape.
        NotDifferentiableError: No gradient goes through the denoiser.
    """

    gradient_cost: tuple[int, int] = (2, 1)
    value_cost = 2

    def __init__(self, classifier: Classifier, denoiser: Denoiser, temperature: float = 1.0) -> None:
        self.temperature = temperature
        self._own = ClassObjective(classifier, temperature=temperature, bounded=False)
        self._classifier, self._denoiser = classifier, denoiser
        self._mode = EvaluationMode(denoiser if isinstance(denoiser, nn.Module) else None)

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute value, gradient and logits.

        Returns the log-probability after the denoiser (B,), its gradient at ``z`` (B, C, H, W), logits (B, K) at ``z``.
        """
        values, grads = [], []
        for start in range(0, len(z), self._classifier.batch_size):  # the graph of the denoiser must fit in memory too
            rows = slice(start, start + self._classifier.batch_size)
            with self._mode, torch.inference_mode(False), torch.enable_grad():
                pixels = z[rows].detach().clone().requires_grad_()
                clean = self._denoise(pixels)
                if not clean.requires_grad:
                    raise NotDifferentiableError(
                        "no gradient goes through the denoiser; use one made of torch operations"
                    )
                value, slope, _ = self._own.gradient(clean.detach(), target[rows])
                grads.append(torch.autograd.grad(clean, pixels, slope.to(clean.dtype))[0])
            values.append(value)
        logits = self._classifier.logits(z)
        if not values:
            return logits.new_zeros(0), torch.zeros_like(z), logits
        return torch.cat(values), torch.cat(grads), logits

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the log-probability after the denoiser (B,), and logits (B, K) at ``z``."""
        with self._mode, torch.no_grad():
            clean = [self._denoise(part) for part in z.split(self._classifier.batch_size)]
        return self._own.value(torch.cat(clean), target)[0], self._classifier.logits(z)

    def _denoise(self, pixels: Tensor) -> Tensor:
        clean = self._denoiser(pixels)
        if clean.shape != pixels.shape:
            raise InputError(f"the denoiser must keep the shape {tuple(pixels.shape)}, it gave {tuple(clean.shape)}")
        return clean


def guided_by(
    classifier: Classifier, aux: Classifier, way: Way, angle: float = 60.0, temperature: float = 1.0
) -> ConeGuidance | EnsembleGuidance:
    """Build the objective guided by an auxiliary classifier.

    ``angle``, in degrees, is only used by the cone.
    """
    if way == "cone":
        return ConeGuidance(classifier, aux, angle, temperature)
    return EnsembleGuidance(classifier, aux, temperature)


def into_cone(axis: Tensor, other: Tensor, angle: float) -> Tensor:
    """Turn ``axis`` toward ``other`` by at most ``angle``.

    Args:
        axis: (B, C, H, W), the explained gradient.
        other: (B, C, H, W), the robust gradient.
        angle: Degrees, in (0, 90].

    Returns:
        (B, C, H, W), of the length of ``axis``: ``axis`` itself if the two lie within ``angle`` or span no plane (one
        is zero, or they point in opposite directions).
    """
    u, v = unit(axis), unit(other)
    cosine = (u.flatten(1).double() * v.flatten(1)).sum(1)
    across = v - cosine.to(u.dtype).view(-1, 1, 1, 1) * u
    across = across - (u * across).flatten(1).sum(1).view(-1, 1, 1, 1) * u  # repeated: rounding leaves a rest of u
    length = norm_of(across, "l2")
    turned = math.cos(math.radians(angle)) * u + math.sin(math.radians(angle)) * unit(across)
    peak = axis.flatten(1).abs().amax(1).view(-1, 1, 1, 1)  # the length of a tiny gradient underflows when squared
    size = peak * norm_of(axis / peak.where(peak > 0, 1.0), "l2").view(-1, 1, 1, 1)
    keep = (cosine >= math.cos(math.radians(angle))) | (length <= 1e-6)
    # Rows that are not finite stay non-finite: the search freezes them.
    return torch.where(keep.view(-1, 1, 1, 1), axis, turned * size)


def check_auxiliary(classifier: Classifier, aux: Classifier) -> None:
    """Refuse an auxiliary classifier that does not fit.

    Raises:
        InputError: It is the explained classifier, has other classes, or takes images of another size.
        AccessError: It grants no gradients.
    """
    aux.require(Access.GRADIENTS, "guiding a counterfactual")
    if same_classifier(classifier, aux):
        raise InputError("aux is the explained classifier itself; give another one that was trained to be robust")
    check_inputs_agree(classifier, aux, "aux")
    check_classes_agree(classifier, aux, "aux")


def _log_mean(first: Tensor, second: Tensor) -> Tensor:
    return torch.logaddexp(first, second) - math.log(2)
