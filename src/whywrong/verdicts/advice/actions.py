"""Actions against causes, each fitted on one half of the errors, with a sham action as the control.

Source: ours, docs/guides/advice.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from whywrong.core.access import Access
from whywrong.core.randomness import keyed_uniform
from whywrong.explain.edits import EDITS, crop_around
from whywrong.explain.interventions.boxes import content_box
from whywrong.explain.interventions.catalogue import BY_NAME
from whywrong.explain.interventions.fields import equal_field
from whywrong.explain.interventions.giving import another_place
from whywrong.models.classifier import Classifier
from whywrong.verdicts.advice.marks import cover_boxes, find_templates, matches
from whywrong.verdicts.advice.pictures import Pictures

ABSTAINED = -1
_RARE = 0.98  # an image is treated if it is more unusual than this share of the correct ones
_VOTES = ("noise 6/255 a", "noise 6/255 b", "jpeg 85", "jpeg 60", "tv 0.06")
_WIDER = (0.0, 1 / 32, 1 / 16, 1 / 8)  # shares of the side by which a covered box is widened
_DRAW = 77  # number of the random draw of the abstaining sham
_CONTENT = (1.0, 1.25, 1.5)  # sides of a crop, in sides of the content box
_WHOLE = (0.5, 1.0)  # weight of the whole photograph beside the crop

# Answers (n,) of a model to images, after an action or its sham.
Answer = Callable[[Pictures], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """A fitted action and its sham, as functions of a batch of images.

    Attributes:
        action: Returns the predictions after the action; -1 if it abstains.
        sham: Returns the predictions after a change of equal strength that is unrelated to the cause.
    """

    action: Answer
    sham: Answer


@dataclass(frozen=True, slots=True)
class Action:
    """A remedy for errors of one cause.

    Attributes:
        name: Name of the action.
        cause: Cause of the errors that it corrects.
        words: What to do, as an instruction.
        fit: Fits the action to the model, the errors and the correct images of the fitting half, and the name of a
            restoration. Returns None if there is nothing to fit.
    """

    name: str
    cause: str
    words: str
    fit: Callable[[Classifier, Pictures, Pictures, str], Arms | None]


def _gate(level: Tensor, reference: Pictures) -> float:
    """Return the level that 2 % of the correct images exceed; infinite if it is unknown."""
    known = reference.level[reference.level.isfinite()]
    return float(known.quantile(_RARE)) if len(known) and bool(level.isfinite().any()) else torch.inf


def _fit_restoration(classifier: Classifier, errors: Pictures, reference: Pictures, restoration: str) -> Arms | None:
    """Choose the edit of a restoration that mends most, for images beyond the gate only."""
    if restoration not in BY_NAME or BY_NAME[restoration].cause != "corruption":
        return None
    threshold = _gate(errors.level, reference)
    if threshold == torch.inf:
        return None

    def change(name: str) -> Callable[[Pictures], Tensor]:
        def apply(images: Pictures) -> Tensor:
            treated = (images.level > threshold)[:, None, None, None]
            return torch.where(treated, EDITS[name].apply(images.x, images.keys), images.x)

        return apply

    edits = [name for name in BY_NAME[restoration].edits if errors.x.shape[1] == 3 or not EDITS[name].colour]
    return _best_of(classifier, [change(name) for name in edits], errors, reference)


def _fit_cover(classifier: Classifier, errors: Pictures, reference: Pictures, restoration: str) -> Arms | None:
    """Cover the recurring mark wherever its template matches; widen the cover as mends most."""
    del restoration
    templates = find_templates(errors, reference)
    if not templates:
        return None

    def covered(images: Pictures, more: float, sham: bool) -> Tensor:
        x = images.x
        for number, template in enumerate(templates):
            found = matches(images.x, template)[:, None]
            boxes = torch.where(found, template.box, torch.nan)
            if sham:
                down, across = another_place(boxes, images.keys, number, *x.shape[2:])
                sides = boxes.new_tensor([x.shape[3], x.shape[2]])
                boxes = torch.cat([boxes[:, :2] + torch.stack([across, down], 1) / sides, boxes[:, 2:]], 1)
            x = cover_boxes(x, boxes, more)
        return x

    def change(more: float) -> Callable[[Pictures], Tensor]:
        return lambda images: covered(images, more, sham=False)

    best = _most_gained(classifier, [change(more) for more in _WIDER], errors, reference)
    more = _WIDER[best]
    return Arms(
        lambda images: classifier.predict(covered(images, more, sham=False)),
        lambda images: classifier.predict(covered(images, more, sham=True)),
    )


def _fit_vote(classifier: Classifier, errors: Pictures, reference: Pictures, restoration: str) -> Arms | None:
    """Predict the class that most of five slightly changed copies get."""
    del errors, reference, restoration

    def action(images: Pictures) -> Tensor:
        return _majority([classifier.predict(EDITS[name].apply(images.x, images.keys)) for name in _VOTES])

    def sham(images: Pictures) -> Tensor:
        copies = []
        for number, name in enumerate(_VOTES):
            changed = EDITS[name].apply(images.x, images.keys)
            copies.append(classifier.predict(equal_field(images.x, changed, images.keys, number)))
        return _majority(copies)

    return Arms(action, sham)


def _fit_crop(classifier: Classifier, errors: Pictures, reference: Pictures, restoration: str) -> Arms | None:
    """Enlarge the part of the picture that has content, if it is unusually small."""
    del restoration
    area = content_box(reference.x)[:, 2:].prod(1)
    threshold = float(area.quantile(1 - _RARE)) if len(area) else 0.0

    def cropped(images: Pictures, factor: float, sham: bool) -> Tensor:
        boxes = content_box(images.x)
        treated = boxes[:, 2:].prod(1) <= threshold
        side = (boxes[:, 2:].amax(1) * factor).clamp(max=1)
        middle = boxes[:, :2] + boxes[:, 2:] / 2
        if sham:
            down, across = another_place(boxes, images.keys, 0, *images.x.shape[2:])
            sides = boxes.new_tensor([images.x.shape[3], images.x.shape[2]])
            middle = middle + torch.stack([across, down], 1) / sides
        changed = crop_around(images.x, side, middle[:, 1], middle[:, 0])
        return torch.where(treated[:, None, None, None], changed, images.x)

    changes = [lambda images, factor=factor: cropped(images, factor, sham=False) for factor in _CONTENT]
    factor = _CONTENT[_most_gained(classifier, changes, errors, reference)]
    return Arms(
        lambda images: classifier.predict(cropped(images, factor, sham=False)),
        lambda images: classifier.predict(cropped(images, factor, sham=True)),
    )


def _fit_whole(classifier: Classifier, errors: Pictures, reference: Pictures, restoration: str) -> Arms | None:
    """Predict from the whole photograph, alone or with the crop, as mends most; the sham adds nothing to the crop."""
    del restoration
    if not bool(errors.whole.isfinite().any()):
        return None

    def answered(images: Pictures, share: float, sham: bool) -> Tensor:
        beyond = _smaller(images) if sham else images.whole
        there = images.whole.isfinite().flatten(1).all(1)
        seen = torch.where(there[:, None, None, None], beyond, images.x)
        if share == 1:
            return classifier.predict(seen)
        return (share * classifier.logits(seen) + (1 - share) * classifier.logits(images.x)).argmax(1)

    shares = _WHOLE if classifier.access >= Access.SCORES else (1.0,)
    answers = [lambda images, share=share: answered(images, share, sham=False) for share in shares]
    share = shares[_most_right(classifier, answers, errors, reference)]
    return Arms(lambda images: answered(images, share, sham=False), lambda images: answered(images, share, sham=True))


def _smaller(images: Pictures) -> Tensor:
    """Show the crop as small as it is in the whole photograph, its mirror image around it; (N, C, H, W)."""
    height, width = images.x.shape[2:]
    left, top, across, down = (part[:, None] for part in images.crop.nan_to_num(nan=1.0).unbind(1))
    steps = [(torch.arange(side, device=images.x.device) + 0.5) / side for side in (width, height)]
    columns, rows = 2 * (steps[0] - left) / across - 1, 2 * (steps[1] - top) / down - 1
    grid = torch.stack([columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)], dim=3).to(
        images.x
    )
    return grid_sample(images.x, grid, padding_mode="reflection", align_corners=False)


def _fit_abstention(classifier: Classifier, errors: Pictures, reference: Pictures, restoration: str) -> Arms | None:
    """Abstain on images more unusual than 98 % of the correct ones; the sham abstains as often, at random."""
    del classifier, restoration
    threshold = _gate(errors.level, reference)
    if threshold == torch.inf:
        return None

    def action(images: Pictures) -> Tensor:
        return images.predicted.where(~(images.level > threshold), ABSTAINED)

    beyond = torch.cat([errors.level, reference.level]) > threshold
    rate = float(beyond.float().mean())

    def sham(images: Pictures) -> Tensor:
        drawn = keyed_uniform(images.keys, (), _DRAW) < rate
        return images.predicted.where(~drawn, ABSTAINED)

    return Arms(action, sham)


def _best_of(
    classifier: Classifier, changes: Sequence[Callable[[Pictures], Tensor]], errors: Pictures, reference: Pictures
) -> Arms:
    """Return the change that gains most on the fitting half; its sham adds a smooth field of the same norm."""
    change = changes[_most_gained(classifier, changes, errors, reference)]
    return Arms(
        lambda images: classifier.predict(change(images)),
        lambda images: classifier.predict(equal_field(images.x, change(images), images.keys)),
    )


def _most_gained(
    classifier: Classifier, changes: Sequence[Callable[[Pictures], Tensor]], errors: Pictures, reference: Pictures
) -> int:
    answers = [lambda part, change=change: classifier.predict(change(part)) for change in changes]
    return _most_right(classifier, answers, errors, reference)


def _most_right(classifier: Classifier, answers: Sequence[Answer], errors: Pictures, reference: Pictures) -> int:
    gains = []
    for answer in answers:
        mended, kept = (in_batches(classifier, images, answer) == images.y for images in (errors, reference))
        gains.append(int(mended.sum()) + int(kept.sum()))
    return gains.index(max(gains))


def _majority(answers: Sequence[Tensor]) -> Tensor:
    """Return the most frequent answer of each image, the first of equally frequent ones."""
    votes = torch.stack(list(answers), 1)
    counts = (votes[:, :, None] == votes[:, None, :]).sum(2)
    return votes.gather(1, counts.argmax(1, keepdim=True))[:, 0]


def in_batches(classifier: Classifier, images: Pictures, answer: Answer) -> Tensor:
    """Apply an answer to N images in batches of the classifier's size, (N,) int64."""
    rows = torch.arange(len(images), device=images.x.device)
    parts = [answer(images.at(part)) for part in rows.split(classifier.batch_size)] if len(images) else []
    return torch.cat(parts) if parts else rows


_ALL: tuple[Action, ...] = (
    Action(
        "restore", "corruption", "Restore images that are more damaged than 98 % of the correct ones", _fit_restoration
    ),
    Action("cover the mark", "spurious", "Cover the recurring mark before classification", _fit_cover),
    Action("vote", "adversarial", "Predict with a vote over five slightly changed copies", _fit_vote),
    Action("crop to the content", "occluded", "Enlarge the part of the image that has content", _fit_crop),
    Action("see the whole", "occluded", "Classify the whole photograph as well as the crop", _fit_whole),
    Action("abstain", "confusion", "Abstain if the decision is closer than in 98 % of correct images", _fit_abstention),
    Action(
        "abstain", "shift", "Abstain on images that are more unusual than 98 % of the correct ones", _fit_abstention
    ),
)
ACTIONS: Mapping[str, tuple[Action, ...]] = {
    cause: tuple(action for action in _ALL if action.cause == cause) for cause in dict.fromkeys(a.cause for a in _ALL)
}
