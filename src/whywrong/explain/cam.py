"""Class activation maps of the evidence for the wrong class and for the true class.

Source: Zhou et al. 2016 (CAM), Draelos and Carin 2020, arXiv 2011.08891 (HiResCAM); the difference of two classes is
ours, docs/methods/cam.md. If a linear head follows global average pooling, the map is CAM, divided by the number of
positions, so that it is complete: ``sum over positions of M_c + b_c = z_c``. A layer normalisation between pooling and
head is evaluated with the statistics of the image itself, which keeps the sum exact. Otherwise the map is HiResCAM,
gradient times activation without a ReLU, which is exact if only linear (or piecewise linear and bias-free) operations
follow. Maps are not rescaled: their unit is logits per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.margins import best_other
from whywrong.core.result import MethodResult, column, computed, map_field, result_class
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.class_maps import LINEAR, Kind, check_kind, head_maps, layer_gradients, rule_maps, rule_of
from whywrong.models.classifier import Classifier
from whywrong.models.layers.heads import LinearHead
from whywrong.models.layers.spatial import SpatialLayer, read_layer, spatial_layer
from whywrong.models.method_call import MethodCall

NOT_FINITE = "the model returned NaN or infinite scores, activations or gradients"
BLANK = "blank map: the layer holds no evidence and no gradient for this pair of classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class CamConfig:
    """Settings of :func:`cam`, checked once, when built.

    Attributes:
        kind: ``auto`` uses CAM where it is exact and HiResCAM otherwise; ``hirescam`` always uses HiResCAM.
            ``grad_cam``, ``grad_cam_pp`` and ``layer_cam`` are not complete and drop negative evidence; they are kept
            to compare with other work.
        layer: Name of the module to read, needed if the last spatial layer cannot be found; None finds it.
        tolerance: Largest residual of a map that must be complete, as a share of the sum of its absolute values.

    Example:
        >>> import whywrong as ww
        >>> ww.CamConfig(kind="hirescam").tolerance
        0.001
    """

    kind: Kind = "auto"
    layer: str | None = None
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_kind(self.kind, "cam.kind")
        if self.layer is not None and not (isinstance(self.layer, str) and self.layer):
            raise InputError(f"cam.layer must be the name of a module, got {self.layer!r}")
        if not 0 < self.tolerance <= 1:
            raise InputError(f"cam.tolerance must be in (0, 1], a share, got {self.tolerance}")


@result_class
class CamResult(MethodResult):
    """Maps of a batch and their cost in passes; maps of rows that are not ``ok`` are NaN.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.cam(classifier, x, y).difference.shape
        torch.Size([2, 8, 8])
    """

    status: Sequence[Status] = column("string", "`ok`, `refused` or `bad_input`.")
    reason: Sequence[str | None] = column("string", "Why there is no map; null otherwise.")
    layer: str = column("string", "Layer that the maps were read at.")
    kind: str = column("string", "`cam`, `hirescam`, or the rule that was asked for.")
    exact: bool = column("bool", "Whether the maps must add up to the logits, mathematically.")
    target: Tensor = column(
        "int64", "The class t: the predicted one where the image is wrong, else the runner-up; -1 if unknown."
    )
    residual: Tensor = column(
        "float32",
        "Worst of the three maps: |sum - due| / sum of absolute map values; NaN for a rule that does not add up.",
        check=True,
    )
    evidence: Tensor = column("float32", "Sum of the difference map, logits.")
    remainder: Tensor = column(
        "float32", "What z_t - z_y holds beside the map, logits: head biases and prefix tokens; NaN as `residual`."
    )
    difference: Tensor = map_field(
        "(B, h, w), logits, share of each place in z_t - z_y; positive speaks for the wrong class."
    )
    wrong: Tensor = map_field("(B, h, w), the same for z_t.")
    true: Tensor = map_field("(B, h, w), the same for z_y.")
    forwards: Tensor
    backwards: Tensor

    @computed("int64")
    def rows(self) -> int:
        """Rows of the map."""
        return self.difference.shape[1]

    @computed("int64")
    def cols(self) -> int:
        """Columns of the map."""
        return self.difference.shape[2]


@open_inputs
def cam(
    classifier: Classifier, x: Tensor, y: Tensor, *, keys: Tensor | None = None, config: CamConfig | None = None
) -> CamResult:
    """Compute maps of the evidence for the wrong class against the true class.

    The maps split ``z_t - z_y`` over the positions of a layer; t is the wrong class and y the true one.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); must grant access to its layers.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True class, (B,), int64, in 0..K-1.
        keys: Not used; the method is deterministic.
        config: Settings of the method; None uses the defaults.

    Returns:
        Signed maps in logits at the resolution of the layer, their completeness check, and the number of passes. The
        first call for a classifier finds the layer with synthetic images, which are not counted.

    Raises:
        InputError: A shape, type or class breaks the contract above.
        AccessError: The classifier grants no access to its layers.
        ModelError: No spatial layer is found.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.cam(classifier, x, y).status
        [<Status.OK: 'ok'>, <Status.OK: 'ok'>]
    """
    config = config or CamConfig()
    with MethodCall(classifier, x, y, method="cam", access=Access.INTERNALS) as call:
        layer = spatial_layer(classifier, (x.shape[1], x.shape[2], x.shape[3]), config.layer)
        call.check_classes()
        head = layer.head if config.kind == "auto" else None
        good = call.rows
        labels = call.y[good].to(classifier.device)
        raised: dict[int, Exception] = {}

        def finish(logits: Tensor, activation: Tensor, rows: slice) -> _Maps:
            return _explain(layer, head, rule_of(config.kind), logits, activation, _Rows(good[rows], labels[rows]))

        pixels = x if len(good) == len(x) else x[good]
        parts = read_layer(classifier, pixels, layer, finish, gradients=0 if head else 2, raised=raised)
        for row, error in raised.items():
            call.mark(int(good[row]), Status.REFUSED, str(error))
    return _gather(call, layer, head, parts, config)


@dataclass(frozen=True, slots=True, eq=False)
class _Maps:
    """Maps (3, b, h, w) of z_t - z_y, z_t and z_y, and remainders (2, b) and logits (2, b) of t and y, of one batch."""

    rows: Tensor
    target: Tensor
    maps: Tensor
    rest: Tensor
    logits: Tensor
    rounding: Tensor


def _explain(
    layer: SpatialLayer, head: LinearHead | None, rule: str, logits: Tensor, activation: Tensor, rows: _Rows
) -> _Maps:
    classes = torch.stack([best_other(logits, rows.y), rows.y])  # (2, b)
    scores = torch.stack([logits.gather(1, c[:, None])[:, 0] for c in classes])  # (2, b)
    if head is not None:
        maps, rest = head_maps(layer, head, activation, classes)
        difference = maps[:1] - maps[1:]
    else:
        gradients = layer_gradients(logits, activation, classes)
        maps, rest = rule_maps(layer, rule, activation, gradients, classes)
        difference = maps[:1] - maps[1:]
        if rule not in LINEAR:  # then it is the map of z_t - z_y itself
            difference, _ = rule_maps(layer, rule, activation, [gradients[0] - gradients[1]], classes)
    maps = torch.cat([difference, maps])
    # Rounding error of the model itself; a map cannot be more precise.
    rounding = 8 * torch.finfo(activation.dtype).eps * logits.detach().abs().amax(1)
    maps, rest, scores, rounding = (part.detach().to(rows.at.device) for part in (maps, rest, scores, rounding))
    return _Maps(rows.at, classes[0].to(rows.at.device), maps, rest, scores, rounding)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows (b,) of the call, and their true classes (b,) on the device of the classifier."""

    at: Tensor
    y: Tensor


def _gather(
    call: MethodCall, layer: SpatialLayer, head: LinearHead | None, parts: Sequence[_Maps], config: CamConfig
) -> CamResult:
    x, batch = call.x, len(call.x)
    rule = rule_of(config.kind)
    exact = head is not None or (rule in LINEAR and layer.complete)
    maps = x.new_full((3, batch, *layer.grid), torch.nan)  # difference, wrong, true
    evidence, remainder, residual = (x.new_full((batch,), torch.nan) for _ in range(3))
    target, incomplete = torch.full_like(call.y, -1), torch.zeros_like(call.detail)
    for part in parts:
        found = part.maps.double()  # (3, b, h, w)
        rest = torch.cat([part.rest[:1] - part.rest[1:], part.rest]).double()  # (3, b)
        due = torch.cat([part.logits[:1] - part.logits[1:], part.logits]).double() - rest
        gap, size = (found.sum((2, 3)) - due).abs(), found.abs().sum((2, 3))  # (3, b)
        finite = part.logits.isfinite().all(0) & size.isfinite().all(0)
        blank = size[0] == 0
        broken = (gap > config.tolerance * size + part.rounding).any(0) & exact
        worst = (gap / size).amax(0)
        rows = part.rows
        call.count(rows, forwards=1, backwards=0 if head else 2)
        residual[rows] = worst.float()
        target[rows] = part.target
        call.mark(rows[~finite], Status.REFUSED, NOT_FINITE)
        call.mark(rows[finite & blank], Status.REFUSED, BLANK)
        incomplete[rows] = finite & ~blank & broken
        sound = finite & ~blank & ~broken
        maps[:, rows[sound]] = found[:, sound].float()
        evidence[rows[sound]] = found[0, sound].sum((1, 2)).float()
        remainder[rows[sound]] = rest[0, sound].float()
    lost = incomplete.nonzero().flatten()
    for row, missed in torch.stack([lost.double(), residual[lost].double()], 1).tolist():
        call.mark(int(row), Status.REFUSED, _incomplete(missed, config))
    return CamResult(
        **call.outcome(),
        layer=layer.name,
        kind=rule if head is None else "cam",
        exact=exact,
        target=target,
        difference=maps[0],
        wrong=maps[1],
        true=maps[2],
        evidence=evidence,
        remainder=remainder,
        residual=residual,
    )


def _incomplete(residual: float, config: CamConfig) -> str:
    return (
        f"incomplete map: its sum misses the logits by {residual:.2g} of its absolute sum; "
        f"at most {config.tolerance:g} is allowed"
    )
