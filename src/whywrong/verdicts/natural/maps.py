"""Signs from the maps of the evidence for the label and for the prediction, and from views beyond the crop.

They tell apart whether both classes rest on the same place, whether the evidence for the label lies at the border, and
whether the label is predicted if that evidence is enlarged. Source: ours, docs/methods/natural_errors.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import ModelError
from whywrong.core.status import Status
from whywrong.data.outside import VIEWS
from whywrong.explain.cam import cam
from whywrong.explain.edits import crop_around
from whywrong.models.classifier import Classifier

MAP_SIGNS: tuple[str, ...] = (
    "maps_alike",
    "label_at_border",
    "label_down",
    "label_across",
    "label_enlarged",
    "whole_gain",
    "outward_gain",
)
MAPS, ENLARGED, WHOLE, CORNERS = "maps", "enlarged", "whole", "corners"
PARTS: tuple[str, ...] = (MAPS, ENLARGED, WHOLE, CORNERS)
"""What is measured: both maps, enlarged evidence, the whole photograph, and windows at its corners."""

CROPS = (0.57, 0.5)  # shares of both sides
_BAND = 7  # the border is a seventh of a side


def map_signs(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    logits: Tensor,
    outside: Tensor | None = None,
    parts: Sequence[str] = PARTS,
    place: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Measure the signs named in :data:`MAP_SIGNS`.

    They are the correlation of the two maps; the share of the evidence for the label in the border with most of it; the
    place of its strongest evidence, as shares of height and width; the
    share of two crops around the label's strongest evidence that are predicted as the label; and the logits that the
    whole photograph, and the best of the windows towards its corners, take from the margin. All but the first need maps
    that add up to the logits: the rules that use them did not carry over to maps that do not.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K).
        x: (B, C, H, W) float32 in [0, 1].
        y: (B,) int64, class asked for, which is not predicted.
        logits: (B, K), of the unchanged images.
        outside: (B, V, C, H, W), see :func:`whywrong.data.outside.outside_views`, one view unless :data:`CORNERS` is
            asked for; NaN for images that have none. None if there are none at all.
        parts: Which of :data:`PARTS` are measured.
        place: (B, 2), of the strongest evidence, where the maps that say it are not among the parts.

    Returns:
        (B, 7) float32, NaN where a sign is not asked for, or the access or the data does not allow it; and
        forward and backward passes (B,).
    """
    found = x.new_full((len(x), len(MAP_SIGNS)), torch.nan)
    forwards, backwards = torch.zeros_like(y), torch.zeros_like(y)
    if not len(x) or classifier.access < Access.SCORES:
        return found, forwards, backwards
    exact = place is not None
    if MAPS in parts:
        exact = _add_maps(classifier, x, y, found, (forwards, backwards))
    place = found[:, 2:4] if place is None else place
    if exact and ENLARGED in parts:
        rows = place.isfinite().all(1).nonzero().flatten()
        found[rows, 4] = _enlarged(classifier, x[rows], y[rows], place[rows])
        forwards[rows] += len(CROPS)
    views = [view for view in range(VIEWS) if (WHOLE if view == 0 else CORNERS) in parts]
    if exact and outside is not None and views:
        rows = outside[:, 0, 0, 0, 0].isfinite().nonzero().flatten()
        gain = _gains(classifier, outside[rows][:, views], y[rows], logits[rows])
        if WHOLE in parts:
            found[rows, 5] = gain[:, 0]
        if CORNERS in parts:
            found[rows, 6] = gain[:, -(VIEWS - 1) :].amax(1)
        forwards[rows] += len(views)
    return found, forwards, backwards


def _add_maps(classifier: Classifier, x: Tensor, y: Tensor, found: Tensor, passes: tuple[Tensor, Tensor]) -> bool:
    """Write the signs of both maps and count their passes; return whether the maps add up to the logits."""
    try:
        maps = cam(classifier, x, y) if classifier.access >= Access.INTERNALS else None
    except ModelError:  # no layer of the model has places
        maps = None
    if maps is None:
        return False
    passes[0].add_(maps.forwards.to(y))
    passes[1].add_(maps.backwards.to(y))
    good = torch.tensor([status == Status.OK for status in maps.status], device=x.device).nonzero().flatten()
    label, other = maps.true[good].to(x), maps.wrong[good].to(x)
    found[good, 0] = _correlation(label, other)
    if maps.exact:
        found[good, 1] = border_share(label)
        found[good, 2], found[good, 3] = _strongest(label)
    return maps.exact


def border_share(evidence: Tensor) -> Tensor:
    """Compute the share of the positive evidence in the border that holds most of it.

    Borders are bands of a seventh of a side, at least one cell.

    Args:
        evidence: (B, h, w).

    Returns:
        (B,), in 0 to 1; NaN without positive evidence.
    """
    positive = evidence.clamp_min(0)
    height, width = (max(1, round(side / _BAND)) for side in evidence.shape[1:])
    bands = (positive[:, :height], positive[:, -height:], positive[:, :, :width], positive[:, :, -width:])
    return torch.stack([band.sum((1, 2)) for band in bands]).amax(0) / positive.sum((1, 2))


def _enlarged(classifier: Classifier, x: Tensor, y: Tensor, place: Tensor) -> Tensor:
    """Return the share of the crops around a place (B, 2) that are predicted as ``y``, (B,)."""
    down, across = place.unbind(1)
    answers = [_predicted(classifier, crop_around(x, size, down, across)) for size in CROPS]
    return torch.stack([(answer == y).to(x) for answer in answers]).mean(0)


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    a, b = (part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (one, other))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _strongest(evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of the strongest evidence as shares of height and width, (B,) each."""
    height, width = evidence.shape[1:]
    best = evidence.flatten(1).argmax(1)
    return (best // width + 0.5) / height, (best % width + 0.5) / width


def _predicted(classifier: Classifier, x: Tensor) -> Tensor:
    return classifier.logits(x).argmax(1) if len(x) else torch.zeros(0, dtype=torch.int64, device=x.device)


def _gains(classifier: Classifier, views: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """Return the logits by which each view lowers the margin, (B, V)."""
    batch, count = views.shape[:2]
    if not batch:
        return logits.new_zeros(0, count)
    seen = torch.stack([classifier.logits(views[:, view]) for view in range(count)], 1)  # (B, V, K)
    classes = torch.stack([logits.argmax(1), y], 1)
    before = logits.gather(1, classes)
    after = seen.gather(2, classes[:, None].expand(-1, count, -1))
    return (before[:, 0] - before[:, 1])[:, None] - (after[..., 0] - after[..., 1])
