"""Covering with rivals, which tests whether hiding one small region brings out one class more than any rival.

Source: ours, docs/methods/covering.md. The value V of a single image says little, because a similar class is brought
out more easily than a distant one. A run therefore compares it with the values of correctly classified images, tested
for their runner-up class; see :mod:`whywrong.runs.controls` and :func:`whywrong.core.statistics.confirm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.result import MethodResult, column, map_field, result_class
from whywrong.core.status import Status
from whywrong.data.corruptions.filters import gaussian_matrix
from whywrong.doors.methods import open_inputs
from whywrong.explain.masking.composites import each_composite
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall

_TIE = 1e-6  # closer probabilities count as equal: the first window wins, independent of the batch
_TRUNCATE = 4.0  # standard deviations at which the blur is truncated


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveringConfig:
    """Settings of :func:`covering`, checked once, when built.

    Attributes:
        cells: Cells of the grid per side; 4 to 32.
        window: Cells of a window per side, less than ``cells``.
        blur: Standard deviation of the blur that covers a window, as a share of the side of the image.

    Example:
        >>> import whywrong as ww
        >>> ww.CoveringConfig(cells=16, window=3).blur
        0.125
    """

    cells: int = 8
    window: int = 2
    blur: float = 1 / 8

    def __post_init__(self) -> None:
        if not 4 <= self.cells <= 32:
            raise InputError(f"cells must be in 4..32, got {self.cells}")
        if not 1 <= self.window < self.cells:
            raise InputError(f"window must be in 1..{self.cells - 1} cells, got {self.window}")
        if not 0 < self.blur <= 1:
            raise InputError(f"blur must be a share of the side in (0, 1], got {self.blur}")

    @property
    def places(self) -> int:
        """Positions of a window along one side."""
        return self.cells - self.window + 1


@result_class
class CoveringResult(MethodResult):
    """Effect of covering, one row per image; p is the softmax, S the set of windows.

    A rival is a class that is neither the tested nor the predicted class. Unless a row is ``ok``, its numbers are NaN
    and its classes -1.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.covering(classifier, x, y).v.shape
        torch.Size([2])
    """

    status: Sequence[Status] = column("string", "`ok`, `already_correct`, `skipped`, `bad_input` or `refused`.")
    reason: Sequence[str | None] = column("string", "Why a row is refused; null otherwise.")
    v: Tensor = column("float32", "Largest p of the asked class over S minus largest p of any rival over S.")
    p_true: Tensor = column("float32", "Largest probability of the asked class over the windows.")
    p_rival: Tensor = column("float32", "Largest probability of a rival over the windows.", check=True)
    rival: Tensor = column("int64", "That rival.")
    window: Tensor = column("int64", "Window that brings the asked class out most, numbered by rows.")
    turned: Tensor = column(
        "bool", "Whether the image with that window covered is predicted as the asked class.", check=True
    )
    turned_windows: Tensor = column("int64", "Windows that turn the prediction into the asked class.")
    margin: Tensor = column("float32", "Logits by which the predicted class leads the asked one, nothing covered.")
    left: Tensor = column("float32", "Left edge of that window, share of the width.")
    top: Tensor = column("float32", "Top edge of that window, share of the height.")
    width: Tensor = column("float32", "Width of that window, share of the width.")
    height: Tensor = column("float32", "Height of that window, share of the height.")
    cover: Tensor = map_field("(B, places, places), probability of the asked class with each window covered.")
    forwards: Tensor
    backwards: Tensor

    @property
    def box(self) -> Tensor:
        """(B, 4), left, top, width and height of the best window, as shares of the image."""
        return torch.stack([self.left, self.top, self.width, self.height], 1)


@open_inputs
def covering(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    config: CoveringConfig | None = None,
) -> CoveringResult:
    """Cover each window with a blur and test whether ``y`` rises above every rival.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), K >= 3; must grant scores.
        x: Images, (B, C, H, W), floating point, in [0, 1], at least ``config.cells`` pixels a side; left untouched.
        y: Tested class, (B,), int64, in 0..K-1; for a misclassified image its label.
        keys: Not used; the method is deterministic.
        detail: (B,) bool, rows to explain; None explains all.
        config: Settings; None uses the defaults.

    Returns:
        V, the best window, and a map. An image costs 1 forward pass, and one more per window (49) unless it is
        predicted as ``y``.

    Raises:
        InputError: A shape, type, class or size breaks the contract above, or the model has fewer than 3 classes.
        AccessError: The classifier grants labels only.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> result = ww.covering(classifier, torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
        >>> result.cover.shape
        torch.Size([2, 7, 7])
    """
    config = config or CoveringConfig()
    with (
        MethodCall(
            classifier, x, y, method="covering", access=Access.SCORES, detail=detail, skips=True, classes=3
        ) as call,
        torch.no_grad(),
    ):
        if min(x.shape[2:]) < config.cells:
            raise InputError(f"covering needs at least {config.cells} pixels a side, got {tuple(x.shape[2:])}")
        return _Covering(call, config).run()


def window_masks(config: CoveringConfig, height: int, width: int) -> Tensor:
    """Build the pixel masks of all windows.

    Returns (S, H, W) bool, windows in row-major order; edges of cells are rounded to whole pixels.
    """
    spans = []
    for size in (height, width):
        edges = torch.arange(config.cells + 1) * size // config.cells
        start, end = edges[: config.places, None], edges[config.window :, None]
        at = torch.arange(size)
        spans.append((at >= start) & (at < end))  # (places, size)
    return (spans[0][:, None, :, None] & spans[1][None, :, None, :]).flatten(0, 1)


def blurred(x: Tensor, share: float) -> Tensor:
    """Blur images (B, C, H, W) with a Gaussian of ``share`` of each side.

    The borders are mirrored.
    """
    down, across = (
        gaussian_matrix(size, share * size, _TRUNCATE, torch.device("cpu")).to(x.device, x.dtype)
        for size in x.shape[2:]
    )
    return (down @ x @ across.T).clamp(0, 1)


class _Covering:
    """Intermediate results of each row."""

    def __init__(self, call: MethodCall, config: CoveringConfig) -> None:
        self.call, self.x, self.y, self.config = call, call.x, call.y, config
        x, y = call.x, call.y
        self.numbers = {name: x.new_full((len(x),), torch.nan) for name in ("v", "p_true", "p_rival", "margin")}
        self.rival, self.window, self.turned_windows = (
            torch.full_like(y, -1),
            torch.full_like(y, -1),
            torch.zeros_like(y),
        )
        self.turned = torch.zeros_like(y, dtype=torch.bool)
        self.box = x.new_full((len(x), 4), torch.nan)
        self.cover = x.new_full((len(x), config.places, config.places), torch.nan)

    def run(self) -> CoveringResult:
        rows, logits = self.call.clean_pass()
        if len(rows):
            self._ask(rows, logits)
        return CoveringResult(
            **self.numbers,
            rival=self.rival,
            window=self.window,
            turned=self.turned,
            turned_windows=self.turned_windows,
            left=self.box[:, 0],
            top=self.box[:, 1],
            width=self.box[:, 2],
            height=self.box[:, 3],
            cover=self.cover,
            **self.call.outcome(),
        )

    def _ask(self, rows: Tensor, logits: Tensor) -> None:
        predicted = logits.argmax(1)
        self.numbers["margin"][rows] = (logits.amax(1) - logits.gather(1, self.y[rows, None])[:, 0]).to(self.x)
        right = predicted == self.y[rows]
        self.call.mark(rows[right], Status.ALREADY_CORRECT)
        if not bool(right.all()):
            self._cover(rows[~right], predicted[~right])

    def _cover(self, rows: Tensor, predicted: Tensor) -> None:
        masks = window_masks(self.config, *self.x.shape[2:]).to(self.x.device)
        asked, rival, best_rival, answer = self._scores(rows, predicted, masks)  # (n, S) each
        self.call.count(rows, forwards=len(masks))
        finite = asked.isfinite().all(1)
        self.call.mark(rows[~finite], Status.REFUSED, NOT_FINITE)
        self.numbers["margin"][rows[~finite]] = torch.nan
        rows, asked, rival, best_rival, answer = (part[finite] for part in (rows, asked, rival, best_rival, answer))
        best = (asked >= asked.amax(1, keepdim=True) - _TIE).int().argmax(1)  # the first of several equals
        most = (rival >= rival.amax(1, keepdim=True) - _TIE).int().argmax(1)
        into = answer == self.y[rows, None]
        self.numbers["p_true"][rows], self.numbers["p_rival"][rows] = asked.amax(1), rival.amax(1)
        self.numbers["v"][rows] = asked.amax(1) - rival.amax(1)
        self.rival[rows] = best_rival.gather(1, most[:, None])[:, 0]
        self.window[rows] = best
        self.turned[rows] = into.gather(1, best[:, None])[:, 0]
        self.turned_windows[rows] = into.sum(1)
        self.cover[rows] = asked.view(-1, self.config.places, self.config.places)
        self.box[rows] = _boxes(masks).to(self.x)[best]

    def _scores(self, rows: Tensor, predicted: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the scores of every covered image.

        Returns, (n, S) each: p of the tested class, p of the best rival, that rival, the prediction.

        All pairs of image and window form one flat batch, which is built and classified in batches of the classifier's
        size.
        """
        x, y = self.x[rows], self.y[rows]
        blur = blurred(x, self.config.blur)
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        pairs = torch.arange(len(rows) * len(masks), device=x.device)
        pair, window = pairs // len(masks), pairs % len(masks)
        for some, logits in each_composite(self.call.classifier, x, blur, pair, lambda some: masks[window[some]]):
            image = pair[some]
            shares = logits.softmax(1).to(x)
            asked = shares.gather(1, y[image, None])[:, 0]
            ours = torch.stack([y[image], predicted[image]], 1)
            rival = shares.scatter(1, ours, -1.0).max(1)
            asked = asked.where(logits.isfinite().all(1), torch.nan)
            parts.append((asked, rival.values, rival.indices, logits.argmax(1)))
        found = (torch.cat(column).view(len(rows), len(masks)) for column in zip(*parts, strict=True))
        asked, rival, best_rival, answer = found
        return asked, rival, best_rival, answer


def _boxes(masks: Tensor) -> Tensor:
    """Compute the boxes (S, 4) of the windows.

    Columns are left, top, width and height, as shares of the image.
    """
    rows, columns = masks.any(2), masks.any(1)
    spans = [columns.int().argmax(1), rows.int().argmax(1), columns.sum(1), rows.sum(1)]
    sizes = torch.tensor([masks.shape[2], masks.shape[1]] * 2, device=masks.device)
    return torch.stack(spans, 1) / sizes
