"""Signs of covering one small window after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.access import Access
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.covering import CoveringConfig, window_masks
from whywrong.explain.signs.answers import Question, ask
from whywrong.explain.signs.sign import Kind, Sign

_LARGE = 96  # pixels a side from which windows do not overlap
LEAST_SIDE = 16
_BEST, _QUARTER = 0.2, 0.25


def _sign(name: str, doc: str, kind: Kind = "quantity", *, high: str = "", scores: bool = True) -> Sign:
    return Sign(
        name=name, doc=doc, group="window", stage="windows", kind=kind, high=high, least_side=LEAST_SIDE,
        access=Access.SCORES if scores else Access.LABELS,
    )  # fmt: skip


SIGNS: tuple[Sign, ...] = (
    _sign("window_best", "Most logits that covering a window takes from the margin.", "logit"),
    _sign("window_excess", "The same, above the lower quarter of the windows.", "logit"),
    _sign("window_relative", "Most logits that covering a window takes from the margin, as a multiple of the margin."),
    _sign(
        "window_concentration",
        "Share of all falls of the margin that the best fifth of the windows holds.",
        "share",
        high="one place carries the prediction",
    ),
    _sign("window_distance", "Distance of the best window from the middle, as a share of half the diagonal."),
    _sign("window_detail", "Fine detail of the best window minus that of the image, in units of the pixel range."),
    _sign("window_label", "Share of the windows that bring out the label.", "share", scores=False),
    _sign("window_any", "1 if some window brings out the label, otherwise 0.", "share", scores=False),
    _sign("window_kept", "Share of the windows that leave the prediction.", "share", scores=False),
)


def windows_of(height: int, width: int) -> Tensor:
    """Build the masks of the windows, 1/4 of the sides each.

    They overlap by half in images of less than 96 pixels a side.

    Returns (S, H, W) bool, in row-major order; S is 49, or 16 without overlap.
    """
    small = CoveringConfig(cells=8, window=2)
    return window_masks(small if min(height, width) < _LARGE else CoveringConfig(cells=4, window=1), height, width)


def window_signs(question: Question) -> tuple[dict[str, Tensor], Tensor]:
    """Cover every window by the mean colour of the ring around it.

    Costs 49 forward passes an image, or 16 from 96 pixels a side.

    Returns:
        Values (n,) by name, and the window (n,) int64 that takes most from the margin, -1 without scores.
    """
    x = question.x
    masks = windows_of(*x.shape[2:]).to(x.device)
    fill = _ring_means(x, masks)  # (n, S, C)

    def changed(pixels: Tensor, image: Tensor, copy: Tensor) -> Tensor:
        return torch.where(masks[copy][:, None], fill[image, copy][:, :, None, None], pixels)

    answers = ask(question, len(masks), changed)
    change, falls = answers.change, answers.change.clamp(min=0)
    ordered = change.sort(1).values
    best = change.nan_to_num(-torch.inf).argmax(1)
    count = max(1, round(_BEST * len(masks)))
    place = _places(masks)[best]
    found = {
        "window_best": ordered[:, -1],
        "window_excess": ordered[:, -1] - ordered[:, round(_QUARTER * (len(masks) - 1))],
        "window_relative": ordered[:, -1] / question.margin.clamp(min=1e-6),
        "window_concentration": falls.topk(count, dim=1).values.sum(1) / falls.sum(1),  # NaN where nothing falls
        "window_distance": place + 0 * change[:, 0],
        "window_detail": _detail(x, masks[best]) + 0 * change[:, 0],
        "window_label": answers.label.mean(1),
        "window_any": answers.label.amax(1),
        "window_kept": answers.kept.mean(1),
    }
    return found, best.where(change.isfinite().all(1), -1)


def _ring_means(x: Tensor, masks: Tensor) -> Tensor:
    """Average the pixels around each window, as far out as half its side; (n, S, C)."""
    rows, columns = masks.any(2).sum(1), masks.any(1).sum(1)
    reach = max(1, int(torch.stack([rows, columns]).amin()) // 2)
    wide = F.max_pool2d(masks[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0]
    ring = (wide - masks.float()).flatten(1)
    return x.flatten(2).matmul(ring.T).transpose(1, 2) / ring.sum(1)[None, :, None]


def _places(masks: Tensor) -> Tensor:
    """Distance of each window from the middle, (S,), as a share of half the diagonal."""
    height, width = masks.shape[1:]
    down = torch.arange(height, device=masks.device) + 0.5
    across = torch.arange(width, device=masks.device) + 0.5
    y = (masks.any(2) * down).sum(1) / masks.any(2).sum(1) / height - 0.5
    z = (masks.any(1) * across).sum(1) / masks.any(1).sum(1) / width - 0.5
    return (y.square() + z.square()).sqrt() / 0.5**0.5


def _detail(x: Tensor, mask: Tensor) -> Tensor:
    """Fine detail inside a mask (n, H, W) minus that of the image, (n,)."""
    fine = (x - gaussian_filter(x, 1.0)).abs().mean(1)
    return (fine * mask).sum((1, 2)) / mask.sum((1, 2)) - fine.mean((1, 2))
