"""Find a recurring mark with a template, and cover it with the pixels around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.explain.interventions.giving import box_masks
from whywrong.explain.masking.inpainting import inpaint
from whywrong.verdicts.advice.pictures import Pictures

_STEPS = 16  # boxes count as the same place if they agree on this grid
_REACH = 2  # pixels by which a mark may be moved
_FEWEST = 2  # errors that a template needs
_SHARE = 0.99  # share of the correct images that a template must not match
_LEAST = 0.5  # least correlation of a match


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Template of a mark at one place of the image.

    Attributes:
        box: (4,), left, top, width and height as shares of the image.
        content: (C, h, w), mean high-pass content of the mark.
        threshold: Correlation above which an image has the mark.
    """

    box: Tensor
    content: Tensor
    threshold: float


def find_templates(errors: Pictures, reference: Pictures) -> list[Template]:
    """Make one template per place, with a threshold between errors and correct images.

    Args:
        errors: Errors with the boxes of their marks.
        reference: Correctly classified images.

    Returns:
        Templates that match their own errors better than 99 % of the correct images.
    """
    known = errors.boxes.isfinite().all(1).nonzero().flatten()
    places = torch.unique((errors.boxes[known] * _STEPS).round().long(), dim=0, return_inverse=True)[1]
    found = []
    for place in range(int(places.max()) + 1 if len(known) else 0):
        rows = known[places == place]
        if len(rows) < _FEWEST:
            continue
        box = errors.boxes[rows[0]]
        content = torch.stack([_window(fine(errors.x[row : row + 1]), box)[0] for row in rows.tolist()])
        template = content.mean(0)
        usual = float(_correlation(reference.x, box, template).quantile(_SHARE)) if len(reference) else 0.0
        own = float(_correlation(errors.x[rows], box, template).median())
        if own > max(usual, _LEAST):
            found.append(Template(box, template, max((own + usual) / 2, _LEAST)))
    return found


def matches(x: Tensor, template: Template) -> Tensor:
    """Test which images (n, C, H, W) have a mark, (n,) bool."""
    return _correlation(x, template.box, template.content) > template.threshold


def cover_boxes(x: Tensor, boxes: Tensor, more: float) -> Tensor:
    """Fill boxes (n, 4) from the pixels around them.

    Boxes are widened on all sides by the share ``more`` of the image side. Boxes of NaN cover nothing.
    """
    wide = torch.cat([boxes[:, :2] - more, boxes[:, 2:] + 2 * more], 1)
    ends = (wide[:, :2] + wide[:, 2:]).clamp(max=1)
    start = wide[:, :2].clamp(min=0)
    hidden = box_masks(torch.cat([start, ends - start], 1), *x.shape[2:])
    return inpaint(x, ~hidden, x.mean((2, 3), keepdim=True)).clamp(0, 1)


def fine(x: Tensor) -> Tensor:
    """Subtract the local mean over 7 x 7 pixels, against effects of light."""
    padded = F.pad(x, (3, 3, 3, 3), mode="replicate")
    return x - F.avg_pool2d(padded, 7, stride=1)


def _window(x: Tensor, box: Tensor, down: int = 0, across: int = 0) -> Tensor:
    """Cut a box, moved by whole pixels within the image."""
    height, width = x.shape[2:]
    left, top, wide, high = box.tolist()
    rows, columns = max(1, round(high * height)), max(1, round(wide * width))
    first = min(max(round(top * height) + down, 0), height - rows)
    start = min(max(round(left * width) + across, 0), width - columns)
    return x[..., first : first + rows, start : start + columns]


def _correlation(x: Tensor, box: Tensor, template: Tensor) -> Tensor:
    """Return the largest correlation with a template over moves of up to 2 pixels, (n,)."""
    content, target = fine(x), F.normalize(template.flatten() - template.mean(), dim=0)
    found = []
    for down in range(-_REACH, _REACH + 1):
        for across in range(-_REACH, _REACH + 1):
            window = _window(content, box, down, across).flatten(1)
            window = F.normalize(window - window.mean(1, keepdim=True), dim=1)
            found.append(window @ target)
    return torch.stack(found).amax(0)
