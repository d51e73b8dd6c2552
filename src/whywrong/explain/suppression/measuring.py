"""Measure promotion and suppression of the pairs of one call, and gather them by row."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.inverted.segments import superpixels
from whywrong.core.access import Access
from whywrong.core.errors import ModelError
from whywrong.core.status import Status
from whywrong.explain.class_maps import ClassMaps, class_maps
from whywrong.explain.suppression.cells import cell_sizes, grid_cells, mask_cells, paint_cells
from whywrong.explain.suppression.config import SuppressionConfig
from whywrong.explain.suppression.controls import with_random_signs
from whywrong.explain.suppression.curves import ranking_curves
from whywrong.explain.suppression.effects import (
    Pairs,
    left_out,
    passes_of,
    path_effects,
    path_maps,
    shapley_effects,
)
from whywrong.explain.suppression.measures import (
    GAUGES,
    TYPES,
    Scores,
    as_logits,
    effect_strength,
    effect_types,
    looks_like_probabilities,
    promotion_ratio,
    threshold,
    type_shares,
)
from whywrong.explain.suppression.result import CAMS, Shares, SuppressionResult
from whywrong.models.classifier import Classifier
from whywrong.models.layers.spatial import SpatialLayer, spatial_layer
from whywrong.models.method_call import NOT_FINITE, MethodCall

PROBABILITIES = "the scores are probabilities; their logarithm was used"
EQUAL = "the two images are equal"
INCOMPLETE = "the effects of the cells do not add up: they miss {:.2g} of their absolute sum; at most {:g} is allowed"
QUARTER = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Effects of n pairs: s and g (n, G) float64, NaN in cells without pixels, and the totals (n, 2)."""

    s: Tensor
    g: Tensor
    totals: Tensor
    scores: Scores | None


class PairCall:
    """Pairs of one call of a method: their effects, with the numbers of each row.

    Args:
        call: Arguments and passes of the call; its images are ``alt``.
        config: Settings.
        masks: (B, H, W) int64, cells that were given; None for those of the settings.
        extends: Whether ``ref`` are smallest fixes, which are extended before quarters of them are tested.
    """

    def __init__(
        self, call: MethodCall, config: SuppressionConfig, masks: Tensor | None = None, *, extends: bool = False
    ) -> None:
        self.call, self.config, self._masks, self._extends = call, config, masks, extends
        self.layer = find_layer(call.classifier, call.x) if config.maps else None
        x, y = call.x, call.y
        height, width = x.shape[2:]
        grid = config.grid_of(height, width)
        self._grid = grid_cells(grid, height, width).to(x.device) if self.cells == "grid" else None
        shape = (grid, grid) if self.cells == "grid" else (height, width)
        places = self.layer.grid if self.layer is not None else (1, 1)
        nothing = x.new_full((len(x),), torch.nan, dtype=torch.float64)
        numbers = (*(f.name for f in fields(Shares)), *(f"control_{f.name}" for f in fields(Shares)), *_NUMBERS)
        self.numbers = {name: nothing.clone() for name in numbers}
        self.maps = {name: x.new_full((len(x), *shape), torch.nan) for name in ("s", "g")}
        self.cams = {name: x.new_full((len(x), *places), torch.nan) for name in CAMS}
        self.suppressed, self.promoted = torch.full_like(y, -1), torch.full_like(y, -1)
        self.flipped, self.count = torch.zeros_like(call.detail), torch.zeros_like(y)
        self.kind = torch.full_like(y, -1)

    @property
    def cells(self) -> str:
        """Kind of the cells."""
        return "masks" if self._masks is not None else self.config.cells

    def measure(self, rows: Tensor, ref: Tensor, classes: Tensor, logits: Tensor) -> None:
        """Measure the pairs of rows and keep their numbers.

        Args:
            rows: (n,), rows of the call.
            ref: (n, C, H, W), in [0, 1].
            classes: (n, 2) int64, the suppressed and the promoted class.
            logits: (n, 2, K), of ``ref`` and ``alt``.
        """
        if not len(rows):
            return
        pairs = self._pairs(rows, ref, classes, logits)
        logits = torch.stack([as_logits(one, pairs.probabilities) for one in logits.unbind(1)], 1)
        every = torch.arange(len(rows), device=rows.device)
        ends = Scores(torch.stack([Scores.of(z, pairs.a, pairs.b).values for z in logits.unbind(1)], 1))
        eps = threshold(logits[:, 1], self.config.eps)
        found = self._effects(rows, pairs, ends)
        finite = found.totals.isfinite().all(1) & self._finite(found, pairs)
        self._note(rows, pairs, logits, eps, found)
        self._shares(rows, found, eps, "")
        self._quarters(rows, pairs, found, eps)
        if self.config.control and self.config.mode != "shapley":
            signed = with_random_signs(pairs, self.call.keys[rows])
            at_ref = pairs.scores(self.call.logits(rows, signed.ref), every)
            control_ends = Scores(torch.stack([at_ref.values, ends.values[:, 1]], 1))
            self._shares(rows, self._effects(rows, signed, control_ends), eps, "control_")
        if self.layer is not None:
            self._class_maps(rows, pairs)
        self._refuse(rows, finite)

    def _pairs(self, rows: Tensor, ref: Tensor, classes: Tensor, logits: Tensor) -> Pairs:
        alt = self.call.x[rows]
        if self._masks is not None:
            cells = self._masks[rows]
        elif self._grid is not None:
            cells = self._grid.expand(len(rows), -1, -1)
        else:
            cells = superpixels(alt, most=self.config.superpixels)
        count = int(cells.max()) + 1
        unlikely = looks_like_probabilities(logits).all(1)
        return Pairs(
            ref=ref, alt=alt, a=classes[:, 0], b=classes[:, 1], cells=cells, count=count, probabilities=unlikely
        )

    def _effects(self, rows: Tensor, pairs: Pairs, ends: Scores) -> Measured:
        config, classifier = self.config, self.call.classifier
        scores = None
        if config.mode in ("remove", "insert"):
            scores = left_out(classifier, pairs, ends, config.mode)
            effects = scores.under(config.gauge)
        elif config.mode == "path":
            effects = path_effects(path_maps(classifier, pairs, config.gauge, config.nodes), pairs)
        else:
            keys = self.call.keys[rows]
            effects = shapley_effects(classifier, pairs, config.gauge, keys, config.permutations)
        own = (cell_sizes(pairs.cells, pairs.count) > 0).sum(1)
        players = own if config.mode in ("remove", "insert") else pairs.count
        forwards, backwards = passes_of(config.mode, players, config.nodes, config.permutations)
        self.call.count(rows, forwards=forwards, backwards=backwards)
        ends_of = ends.under(config.gauge)
        change = ends_of[:, 1] - ends_of[:, 0]
        return Measured(-effects[..., 0], effects[..., 1], torch.stack([-change[:, 0], change[:, 1]], 1), scores)

    @staticmethod
    def _finite(found: Measured, pairs: Pairs) -> Tensor:
        """Test which pairs have finite effects in all cells that have pixels."""
        there = cell_sizes(pairs.cells, pairs.count) > 0
        return (found.s.isfinite() & found.g.isfinite() | ~there).all(1)

    def _note(self, rows: Tensor, pairs: Pairs, logits: Tensor, eps: Tensor, found: Measured) -> None:
        """Keep what does not depend on the types of cells."""
        delta = pairs.alt - pairs.ref
        s, g = found.s.nan_to_num(0.0), found.g.nan_to_num(0.0)
        sums = torch.stack([s.sum(1), g.sum(1)], 1)
        size = s.abs().sum(1) + g.abs().sum(1)
        self.suppressed[rows], self.promoted[rows] = pairs.a, pairs.b
        predicted = logits.argmax(2)
        self.flipped[rows] = (predicted[:, 0] == pairs.a) & (predicted[:, 1] == pairs.b)
        self.count[rows] = (cell_sizes(pairs.cells, pairs.count) > 0).sum(1)
        ratio = promotion_ratio(found.totals[:, 0], found.totals[:, 1], eps)
        self.kind[rows] = effect_types(found.totals[:, 0], found.totals[:, 1], eps).long()
        complete = self.config.mode in ("path", "shapley")
        missed = (sums - found.totals).abs().sum(1) / size.clamp_min(torch.finfo(torch.float64).tiny)
        self._keep(
            rows,
            l2=norm_of(delta, "l2"),
            linf=norm_of(delta, "linf"),
            eps=eps,
            ratio=ratio,
            sum_suppression=sums[:, 0],
            sum_promotion=sums[:, 1],
            residual=missed if complete else missed.new_full(missed.shape, torch.nan),
        )
        for name, values in (("s", found.s), ("g", found.g)):
            painted = values.unflatten(1, self.maps[name].shape[1:]) if self._grid is not None else None
            painted = paint_cells(values, pairs.cells) if painted is None else painted
            self.maps[name][rows] = painted.to(self.maps[name])

    def _shares(self, rows: Tensor, found: Measured, eps: Tensor, prefix: str) -> None:
        shares = type_shares(found.s, found.g, eps)
        strength = effect_strength(found.s, found.g, eps[:, None]).nansum(1)
        kept = {"total_suppression": found.totals[:, 0], "total_promotion": found.totals[:, 1], "strength": strength}
        kept |= dict(zip(TYPES, shares.plain.unbind(1), strict=True))
        self._keep(rows, **{prefix + name: values for name, values in kept.items()})
        if prefix:
            return
        self._keep(
            rows,
            **{f"weighted_{name}": share for name, share in zip(TYPES[:3], shares.weighted.unbind(1), strict=True)},
            counter_acting=shares.counter,
            eps_shift=torch.stack(
                [(type_shares(found.s, found.g, eps * by).plain - shares.plain).abs().amax(1) for by in (0.1, 10.0)]
            ).amax(0),
        )
        if found.scores is not None:
            moved = []
            for gauge in GAUGES:
                other = found.scores.under(gauge)
                moved.append((type_shares(-other[..., 0], other[..., 1], eps).plain - shares.plain).abs().amax(1))
            self._keep(rows, gauge_shift=torch.stack(moved).amax(0))

    def _quarters(self, rows: Tensor, pairs: Pairs, found: Measured, eps: Tensor) -> None:
        strength = effect_strength(found.s, found.g, eps[:, None])
        if self._extends:
            further = pairs.alt + (1 + self.config.beyond) * (pairs.ref - pairs.alt)
            pairs = replace(pairs, ref=further.clamp(0, 1))
        curves = ranking_curves(
            self.call.classifier, pairs, strength, self.call.keys[rows], shares=(QUARTER,), orders=("top", "random")
        )
        self.call.count(rows, forwards=curves.forwards)
        reads = curves.reads(pairs.b)[..., 0]  # (n, action, order)
        self._keep(
            rows,
            removed_quarter=reads[:, 0, 0],
            removed_random=reads[:, 0, 1],
            kept_quarter=reads[:, 1, 0],
            kept_random=reads[:, 1, 1],
        )

    def _class_maps(self, rows: Tensor, pairs: Pairs) -> None:
        classes = torch.stack([pairs.a, pairs.b], 1)
        assert self.layer is not None
        backwards = 0 if self.layer.head is not None else 2
        for place, images in enumerate((pairs.ref, pairs.alt)):
            found: ClassMaps = class_maps(self.call.classifier, images, classes)
            self.call.count(rows, forwards=1, backwards=backwards)
            for name, values in zip(CAMS[2 * place : 2 * place + 2], found.maps.unbind(1), strict=True):
                self.cams[name][rows] = values.to(self.cams[name])

    def _refuse(self, rows: Tensor, finite: Tensor) -> None:
        """Refuse rows that are not finite or miss their totals, and remark on unusual ones."""
        residual = self.numbers["residual"][rows]
        equal = self.numbers["l2"][rows] == 0
        self.call.mark(rows[equal], Status.OK, EQUAL)
        lost = residual > self.config.tolerance
        for row, missed in zip(rows[lost].tolist(), residual[lost].tolist(), strict=True):
            self.call.mark(row, Status.REFUSED, INCOMPLETE.format(missed, self.config.tolerance))
        self.call.mark(rows[~finite], Status.REFUSED, NOT_FINITE)
        gone = rows[lost | ~finite]
        kept = ("residual",)
        for name, values in self.numbers.items():
            if name not in kept:
                values[gone] = torch.nan
        for values in (*self.maps.values(), *self.cams.values()):
            values[gone] = torch.nan
        self.kind[gone], self.count[gone] = -1, 0

    def _keep(self, rows: Tensor, **numbers: Tensor) -> None:
        for name, values in numbers.items():
            self.numbers[name][rows] = values.double()

    def result(self, pair: str) -> SuppressionResult:
        """Gather the numbers of all rows."""
        numbers = dict(self.numbers)
        groups: dict[str, Any] = {}
        for group, prefix in (("shares", ""), ("control", "control_")):
            groups[group] = Shares(**{f.name: numbers.pop(prefix + f.name) for f in fields(Shares)})
        norms = {name: numbers.pop(name).float() for name in ("l2", "linf")}
        head = self.layer is not None and self.layer.head is not None
        return SuppressionResult(
            pair=pair,
            mode=self.config.mode,
            gauge=self.config.gauge,
            cells=self.cells,
            suppressed=self.suppressed,
            promoted=self.promoted,
            flipped=self.flipped,
            count=self.count,
            image_type=[TYPES[kind] if kind >= 0 else None for kind in self.kind.tolist()],
            cam_kind=None if self.layer is None else "cam" if head else "hirescam",
            cam_exact=self.layer is not None and (head or self.layer.complete),
            **groups,
            **norms,
            **numbers,
            **self.maps,
            **self.cams,
            **self.call.outcome(),
        )


_NUMBERS = (
    *("l2", "linf", "eps", "ratio", "weighted_suppression", "weighted_promotion", "weighted_balanced"),
    *("counter_acting", "sum_suppression", "sum_promotion", "residual", "gauge_shift", "eps_shift"),
    *("removed_quarter", "removed_random", "kept_quarter", "kept_random"),
)


def find_layer(classifier: Classifier, x: Tensor) -> SpatialLayer | None:
    """Find the last spatial layer; None without access to layers, or if there is none."""
    if classifier.access < Access.INTERNALS:
        return None
    try:
        return spatial_layer(classifier, (x.shape[1], x.shape[2], x.shape[3]))
    except ModelError:
        return None


def given_cells(masks: Tensor | None, x: Tensor) -> Tensor | None:
    """Number the pixels of images by masks that were given, None if none were."""
    return None if masks is None else mask_cells(masks, len(x), x.shape[2], x.shape[3]).to(x.device)
