"""Penultimate features of many images, and maps of the evidence of a component.

If average pooling leads to the last layer, features are sums over positions, and so is every component: its map is
exact. Otherwise the map is HiResCAM of the component, gradient times activation, which need not be complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from whywrong.core.checks import bad_rows, check_images
from whywrong.core.errors import InputError, ModelError
from whywrong.explain.spurious.neural_pca import ClassComponents
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import LastLayer, find_last_layer, read_features, tapped
from whywrong.models.layers.spatial import SpatialLayer, read_layer, spatial_layer


@dataclass(frozen=True, eq=False)
class Features:
    """Penultimate features and logits of images.

    The step from features to logits is linear, so nothing else is needed.

    Attributes:
        phi: (N, D), float32, penultimate features.
        logits: (N, K), float32, as returned by the model.
        label: (N,), int64, class of each image.
    """

    phi: Tensor
    logits: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.phi)

    def __getitem__(self, rows: Tensor | slice) -> Features:
        """Select some of the images."""
        return Features(self.phi[rows], self.logits[rows], self.label[rows])

    @cached_property
    def predicted(self) -> Tensor:
        """(N,), int64."""
        return self.logits.argmax(1)

    @cached_property
    def phi64(self) -> Tensor:
        """``phi`` in double precision, cached because every class needs it."""
        return self.phi.double()

    @cached_property
    def _first_two(self) -> tuple[Tensor, Tensor]:
        best = self.logits.topk(2, dim=1)
        return best.values, best.indices

    @cached_property
    def _total(self) -> Tensor:
        return self.logits.double().logsumexp(1)

    def best_other(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the highest logit of any class except ``index``, and that class.

        Both are (N,).
        """
        values, indices = self._first_two
        at = (indices[:, :1] == index).long()
        return values.gather(1, at)[:, 0], indices.gather(1, at)[:, 0]

    def without(self, index: int, less: Tensor) -> Tensor:
        """Predict classes (N,) int64 with ``less`` removed from the logit of ``index``.

        ``less`` is (N,), at least 0.
        """
        other, rival = self.best_other(index)
        predicted = self.predicted
        loses = (predicted == index) & (self.logits[:, index] - less < other)
        return torch.where(loses, rival, predicted)

    def chance(self, index: int, less: Tensor | None = None) -> Tensor:
        """Compute the probability (N,) float64 of class ``index``.

        ``less`` (N,) is removed from its logit first.
        """
        own = self.logits[:, index].double()
        share = (own - self._total).exp()
        others = self._total + torch.log1p(-share)
        near_one = (share > 0.9).nonzero().flatten()  # cancellation in the difference above
        if len(near_one):
            rest = self.logits[near_one].double()
            rest[:, index] = -torch.inf
            others[near_one] = rest.logsumexp(1)
        return torch.sigmoid((own if less is None else own - less) - others)

    @staticmethod
    def cat(parts: Sequence[Features]) -> Features:
        """Concatenate one or more parts."""
        return Features(*(torch.cat([getattr(part, name) for part in parts]) for name in ("phi", "logits", "label")))


def image_features(
    classifier: Classifier, x: Tensor, y: Tensor, *, last: LastLayer | None = None
) -> tuple[Features, dict[int, str]]:
    """Compute features of a batch, and the reasons for images that cannot be used.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); must grant access to its layers.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: Class of each, (B,), int64.
        last: Last layer of the classifier; None finds it, once per classifier.

    Returns:
        Features of the usable rows, in order, on the CPU; and the reason for each other row.

    Raises:
        InputError: The images are invalid, or the labels have another length.
        AccessError: The classifier grants no access to its layers.
        ModelError: It has no linear last layer.
    """
    check_images(x, classifier.preprocess.channels if classifier.preprocess else None)
    if y.shape != (len(x),):
        raise InputError(f"{len(x)} images came with labels {tuple(y.shape)}")
    last = last or find_last_layer(classifier, (x.shape[1], x.shape[2], x.shape[3]))
    bad = bad_rows(x)
    good = (~bad).nonzero().flatten()
    raised: dict[int, Exception] = {}
    logits, phi = read_features(classifier, x if len(good) == len(x) else x[good], last, raised)
    reasons = dict.fromkeys(bad.nonzero().flatten().tolist(), "pixels are not finite or outside [0, 1]")
    reasons |= {int(good[row]): str(error) for row, error in raised.items()}
    finite = logits.isfinite().all(1) & phi.isfinite().all(1)
    for row in (~finite).nonzero().flatten().tolist():
        reasons.setdefault(int(good[row]), "the model returned NaN or infinite scores or features")
    kept = finite.nonzero().flatten()
    return Features(phi[kept].cpu(), logits[kept].cpu(), y[good[kept]].cpu()), reasons


@dataclass(frozen=True, slots=True, eq=False)
class ComponentMaps:
    """Maps of the evidence for components of one class.

    Attributes:
        maps: (B, L, h, w), float32, logits per cell; NaN if the image could not be used.
        alpha: (B, L), float32, contribution of each component, logits.
        exact: Whether each map adds up to its alpha.
        residual: (B, L), |sum of the map - alpha| as a share of the sum of its absolute values.
        layer: The layer at which the maps were read.
    """

    maps: Tensor
    alpha: Tensor
    exact: bool
    residual: Tensor
    layer: str


def component_maps(classifier: Classifier, x: Tensor, components: ClassComponents) -> ComponentMaps:
    """Compute maps of the components of a class.

    The mean level of a component over the images of its class is subtracted evenly from all positions.

    Args:
        classifier: As for :func:`image_features`.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        components: Neural PCA of one class of this classifier.

    Raises:
        InputError: The images are invalid.
        ModelError: No spatial layer or no linear last layer is found.
    """
    check_images(x, classifier.preprocess.channels if classifier.preprocess else None)
    size = (x.shape[1], x.shape[2], x.shape[3])
    last = find_last_layer(classifier, size)
    layer = spatial_layer(classifier, size)
    device = classifier.device
    directions, pulls = components.directions.to(device), components.pulls.to(device)
    weight, mean = components.weight.to(device), components.mean.to(device)

    def finish(_logits: Tensor, activation: Tensor, _rows: slice) -> tuple[Tensor, Tensor]:
        if tap.features is None:
            raise ModelError("the model did not pass through its last layer; it was found in another state")
        centred = tap.features.double() * weight - mean
        alpha = (centred @ directions.T) * pulls  # (b, L)
        if layer.head is not None:
            raw = _pooled_maps(layer, activation, components.index, directions, pulls)
            # The class mean and the biases of a normalisation add the same to every image.
            even = (alpha.detach() - raw.sum((2, 3))) / (raw.shape[2] * raw.shape[3])
            return (raw + even[:, :, None, None]).float().cpu(), alpha.detach().float().cpu()
        grads = [
            torch.autograd.grad(column.sum(), activation, retain_graph=number + 1 < alpha.shape[1])[0]
            for number, column in enumerate(alpha.unbind(1))
        ]
        raw = torch.stack([layer.layout.patches(grad * activation.detach()).sum(1) for grad in grads], 1)
        return raw.float().cpu(), alpha.detach().float().cpu()

    with tapped(last) as tap:
        parts = read_layer(classifier, x, layer, finish, gradients=0 if layer.head else len(components))
    maps, alpha = (torch.cat(column) for column in zip(*parts, strict=True))
    gap, scale = (maps.sum((2, 3)) - alpha).abs(), maps.abs().sum((2, 3))
    return ComponentMaps(maps, alpha, layer.head is not None, gap / scale.clamp_min(1e-30), layer.name)


def _pooled_maps(layer: SpatialLayer, activation: Tensor, index: int, directions: Tensor, pulls: Tensor) -> Tensor:
    """Compute the share of each position in <1, v_l> <psi, v_l>, (b, L, h, w) float64."""
    assert layer.head is not None
    weight, _, shares, _ = layer.head.terms(
        layer.layout.patches(activation).float(), layer.layout.extra(activation).float()
    )
    psi = shares.double() * weight[index].double()[:, None, None]  # (b, D, h, w)
    return torch.einsum("bdhw,ld->blhw", psi, directions * pulls[:, None])
