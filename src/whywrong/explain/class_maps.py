"""Class activation maps of any classes, with the rules of the CAM family.

Source: Zhou et al. 2016, arXiv 1512.04150 (CAM); Draelos and Carin 2020, arXiv 2011.08891 (HiResCAM); Selvaraju et al.
2017, arXiv 1610.02391 (Grad-CAM); Chattopadhyay et al. 2018, arXiv 1710.11063 (Grad-CAM++); Jiang et al. 2021,
DOI 10.1109/TIP.2021.3089943 (Layer-CAM); Muhammad and Yeasin 2020, arXiv 2008.00299 (Eigen-CAM). Maps are not rescaled,
so that those of two images can be compared, docs/methods/cam.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.checks import check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.models.layers.heads import LinearHead
from whywrong.models.layers.spatial import SpatialLayer, read_layer, spatial_layer

Kind = Literal["auto", "hirescam", "grad_cam", "grad_cam_pp", "layer_cam"]
KINDS: tuple[Kind, ...] = ("auto", "hirescam", "grad_cam", "grad_cam_pp", "layer_cam")
LINEAR = ("cam", "hirescam")  # maps of a difference of two classes are the difference of their maps
_SMALL = 1e-6


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Sum gradient times activation over channels, signed.

    Args:
        activation: (B, C, h, w).
        gradient: (B, C, h, w), of the score of a class.

    Returns:
        (B, h, w), as all rules of this module.
    """
    return (gradient * activation).sum(1)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight channels by the mean of their gradient and keep the positive part."""
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu()


def grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight channels by their positive gradients, as in Grad-CAM++."""
    square = gradient.square()
    total = activation.sum((2, 3), keepdim=True)
    share = square / (2 * square + total * gradient * square + _SMALL)
    weight = (torch.where(gradient == 0, 0.0, share) * gradient.relu()).sum((2, 3), keepdim=True)
    return (weight * activation).sum(1).relu()


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Sum positive gradient times activation, and keep the positive part."""
    return (gradient.relu() * activation).sum(1).relu()


def eigen_cam(activation: Tensor) -> Tensor:
    """Project activations on their first principal component over positions.

    The map does not depend on a class and must not be used to compare two. Its sign is chosen so that the largest
    absolute value is positive.
    """
    batch, channels, height, width = activation.shape
    matrix = activation.flatten(2).transpose(1, 2).double()  # (B, hw, C)
    centred = matrix - matrix.mean(1, keepdim=True)
    first = torch.linalg.svd(centred, full_matrices=False).Vh[:, 0]  # (B, C)
    heat = (centred @ first.view(batch, channels, 1))[:, :, 0]
    turned = heat.amax(1) < -heat.amin(1)
    return torch.where(turned[:, None], -heat, heat).view(batch, height, width)


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hirescam": hires_cam,
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_plus_plus,
    "layer_cam": layer_cam,
}


@dataclass(frozen=True, slots=True, eq=False)
class ClassMaps:
    """Class activation maps of several classes per image.

    Attributes:
        maps: (B, n, h, w), signed, in logits per cell for ``cam`` and ``hirescam``.
        rest: (B, n), what the logits hold beside these maps: biases and prefix tokens; NaN for other kinds.
        logits: (B, K).
        layer: Name of the layer.
        kind: ``cam`` or the rule.
        exact: Whether maps and rest must add up to the logits.
    """

    maps: Tensor
    rest: Tensor
    logits: Tensor
    layer: str
    kind: str
    exact: bool


def class_maps(
    classifier: Classifier, x: Tensor, classes: Tensor, *, kind: Kind = "auto", layer: str | None = None
) -> ClassMaps:
    """Compute class activation maps of given classes.

    Args:
        classifier: Must grant access to its layers.
        x: (B, C, H, W), in [0, 1]; one forward pass each, and one backward pass to the layer per class unless the
            maps follow from a linear head.
        classes: (B, n) int64.
        kind: ``auto`` uses CAM if a linear head follows pooling, otherwise HiResCAM; others name a rule.
        layer: Module to read; None finds the last spatial layer.

    Raises:
        InputError: A shape, type or class breaks the contract above.
        AccessError: The classifier grants no access to its layers.
        ModelError: No spatial layer is found.
    """
    check_images(x)
    check_kind(kind)
    if classes.ndim != 2:
        raise InputError(f"classes must be int64 (B, n), got {tuple(classes.shape)}")
    for column in classes.unbind(1):
        check_labels(column, len(x), None if classifier.classes is None else classifier.num_classes, "class")
    place = spatial_layer(classifier, (x.shape[1], x.shape[2], x.shape[3]), layer)
    head = place.head if kind == "auto" else None
    asked = classes.to(classifier.device)

    def finish(logits: Tensor, activation: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        own = asked[rows].T  # (n, b)
        if head is not None:
            maps, rest = head_maps(place, head, activation, own)
        else:
            gradients = layer_gradients(logits, activation, own)
            maps, rest = rule_maps(place, rule_of(kind), activation, gradients, own)
        return tuple(part.detach().to(x.device) for part in (maps.transpose(0, 1), rest.T, logits))  # type: ignore[return-value]

    parts = read_layer(classifier, x, place, finish, gradients=0 if head is not None else classes.shape[1])
    n = classes.shape[1]
    empty = (x.new_zeros(0, n, *place.grid), x.new_zeros(0, n), x.new_zeros(0, len(place.constant)))
    maps, rest, logits = (torch.cat(column) for column in zip(empty, *parts, strict=True))
    name = "cam" if head is not None else rule_of(kind)
    exact = head is not None or (name == "hirescam" and place.complete)
    return ClassMaps(maps, rest, logits, place.name, name, exact)


def check_kind(kind: str, what: str = "kind") -> None:
    """Refuse an unknown kind of map.

    Raises:
        InputError: The message lists the kinds.
    """
    if kind not in KINDS:
        raise InputError(f"{what} must be one of {', '.join(KINDS)}, got {kind!r}")


def rule_of(kind: str) -> str:
    """Return the rule used without a linear head, HiResCAM for ``auto``."""
    return "hirescam" if kind == "auto" else kind


def head_maps(layer: SpatialLayer, head: LinearHead, activation: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Split the logits of classes (n, b) exactly over positions.

    Returns maps (n, b, h, w) and what lies beside them, (n, b).
    """
    weight, constant, shares, extra = head.terms(
        layer.layout.patches(activation).float(), layer.layout.extra(activation).float()
    )
    pull = weight[classes]  # (n, b, C)
    maps = torch.einsum("nbc,bchw->nbhw", pull, shares)
    return maps, constant[classes] + torch.einsum("nbc,bcp->nb", pull, extra)


def layer_gradients(logits: Tensor, activation: Tensor, classes: Tensor) -> list[Tensor]:
    """Compute the gradient at a layer of the logit of each class (n, b).

    Returns n gradients of the shape of the activation.
    """
    found: list[Tensor] = []
    for number, own in enumerate(classes):
        score = logits.gather(1, own[:, None]).sum()
        keep = number + 1 < len(classes)
        found.append(torch.autograd.grad(score, activation, retain_graph=keep)[0].float())
    return found


def rule_maps(
    layer: SpatialLayer, rule: str, activation: Tensor, gradients: Sequence[Tensor], classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply a rule to gradients at a layer.

    Returns maps (n, b, h, w) and what lies beside them, (n, b), NaN if the rule is not HiResCAM.
    """
    whole = activation.detach().float()
    patches = layer.layout.patches(whole)
    maps = torch.stack([RULES[rule](patches, layer.layout.patches(gradient)) for gradient in gradients])
    if rule != "hirescam":
        return maps, maps.new_full(maps.shape[:2], torch.nan)
    rest = torch.stack([layer.layout.extra(gradient * whole).sum((1, 2)) for gradient in gradients])
    return maps, rest + layer.constant.to(rest.device)[classes]
