"""Promotion and suppression by the units of a layer, exactly, and patching of single units.

Along the straight path between the activations of two images, each unit's share of the change of a logit is an
integral, and the shares add up to the change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.models.classifier import Classifier
from whywrong.models.layers.capture import SpatialLayer, exchange
from whywrong.models.layers.spatial import read_layer

NODES = 16


@dataclass(frozen=True, slots=True, eq=False)
class UnitEffects:
    """Effects of units on two logits, between two images.

    Attributes:
        s: (B, U), float64, suppression: how much the unit's change lowers the logit of ``a``.
        g: (B, U), float64, promotion: how much it raises the logit of ``b``.
        change: (B, 2), float64, change of the logits of ``a`` and ``b``.
        residual: (B,), float64, largest difference of a sum over units and its change, logits.
    """

    s: Tensor
    g: Tensor
    change: Tensor
    residual: Tensor


def unit_effects(
    classifier: Classifier, layer: SpatialLayer, pair: tuple[Tensor, Tensor], a: Tensor, b: Tensor
) -> UnitEffects:
    """Split the change of two logits between two images over the units of a layer.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); grants gradients.
        layer: Spatial layer of ``classifier``.
        pair: Images without and with the change, (B, C, H, W) each.
        a: Class that is suppressed, (B,), int64.
        b: Class that is promoted, (B,), int64.

    Returns:
        The effects. With a layer that only linear steps follow, one gradient is exact; otherwise 16 are averaged.
    """
    before, after = (_read(classifier, x, layer) for x in pair)
    nodes, weights = np.polynomial.legendre.leggauss(1 if layer.complete else NODES)
    total = [torch.zeros_like(before[0]) for _ in range(2)]
    for node, weight in zip(0.5 + 0.5 * nodes, 0.5 * weights, strict=True):
        point = torch.lerp(before[0], after[0], float(node))
        for into, gradient in zip(total, _gradients(classifier, layer, pair[1], point, (a, b)), strict=True):
            into.add_(gradient, alpha=float(weight))
    step = (after[0] - before[0]).double()
    share = [_per_unit(step * gradient.double(), layer) for gradient in total]
    change = torch.stack(
        [(after[1] - before[1]).double().gather(1, one[:, None].to(after[1].device))[:, 0] for one in (a, b)], 1
    )
    gap = torch.stack([one.sum(1) for one in share], 1) - change
    return UnitEffects(-share[0], share[1], change, gap.abs().amax(1))


def patch_units(classifier: Classifier, layer: SpatialLayer, pair: tuple[Tensor, Tensor], units: Tensor) -> Tensor:
    """Put single units of the first image into the pass of the second one.

    Args:
        classifier: As for :func:`unit_effects`.
        layer: Its layer.
        pair: Images without and with the change.
        units: (B, n), int64, units of each image, patched one at a time.

    Returns:
        Logits of the patched passes, (B, n, K).
    """
    before = _read(classifier, pair[0], layer)[0]
    axis = layer.layout.channel_axis
    found = []
    for column in units.T:

        def change(out: Tensor, column: Tensor = column) -> Tensor:
            unit = torch.arange(out.shape[axis], device=out.device)
            chosen = unit == column.to(out.device)[:, None]
            shape = [len(out)] + [1] * (out.ndim - 1)
            shape[axis] = len(unit)
            return torch.where(chosen.view(shape), before.to(out.dtype), out)

        found.append(_asked(classifier, layer, pair[1], change))
    return torch.stack(found, 1)


def silence(classifier: Classifier, layer: SpatialLayer, x: Tensor, units: Tensor) -> Tensor:
    """Compute the logits (B, K) of images while some units (n,) int64 are zero."""
    axis = layer.layout.channel_axis
    return _asked(classifier, layer, x, lambda out: out.index_fill(axis, units.to(out.device), 0.0))


def _asked(classifier: Classifier, layer: SpatialLayer, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    module = classifier.module
    assert module is not None
    with torch.no_grad(), exchange(module, layer, change):
        return classifier.ask(x).float()


def _read(classifier: Classifier, x: Tensor, layer: SpatialLayer) -> tuple[Tensor, Tensor]:
    """Return the activation (B, ...) and the logits (B, K) of images."""
    parts = read_layer(classifier, x, layer, lambda logits, activation, _: (activation.float(), logits.float()))
    activation, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return activation, logits


def _gradients(
    classifier: Classifier, layer: SpatialLayer, x: Tensor, point: Tensor, classes: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Return the gradients of two logits at an activation."""
    module = classifier.module
    assert module is not None
    leaf = point.detach().clone().requires_grad_()
    with torch.inference_mode(False), torch.enable_grad():
        with exchange(module, layer, lambda out: leaf.to(out.dtype).clone()):
            logits = classifier.ask(x)
        values = [logits.gather(1, one[:, None].to(logits.device)).sum() for one in classes]
        found = tuple(torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in values)
    classifier.backwards += 2 * len(x)
    return found


def _per_unit(product: Tensor, layer: SpatialLayer) -> Tensor:
    """Sum (B, ...) over all positions, prefix tokens included, (B, U)."""
    axes = product.movedim(layer.layout.channel_axis, 1)
    return axes.flatten(2).sum(2)
