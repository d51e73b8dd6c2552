"""Signs of what the model sees in parts of the image, enlarged to the whole."""

from __future__ import annotations

from torch import Tensor

from whywrong.core.access import Access
from whywrong.explain.edits import CROPS
from whywrong.explain.signs.answers import Question
from whywrong.explain.signs.sign import Kind, Sign
from whywrong.explain.signs.survival import ask_edits

_WIDE = ("zoom 0.85", "zoom 0.7")
_TIGHT = ("zoom 0.5", "zoom 0.35", "zoom 0.25")
_SURE = 0.5  # probability from which a crop shows a class


def _sign(name: str, doc: str, kind: Kind, *, high: str = "", classes: int = 2, scores: bool = False) -> Sign:
    access = Access.SCORES if kind != "share" or scores else Access.LABELS
    return Sign(
        name=name, doc=doc, group="crops", stage="crops", kind=kind, access=access, high=high, least_classes=classes
    )


def _of_part(part: str, what: str, high: str = "") -> tuple[Sign, ...]:
    return (
        _sign(f"crops_{part}_mean", f"Mean logits that {what} take from the margin.", "logit"),
        _sign(f"crops_{part}_best", f"Most logits that one of {what} takes from the margin.", "logit"),
        _sign(f"crops_{part}_label", f"Share of {what} in which the label is predicted.", "share", high=high),
        _sign(f"crops_{part}_kept", f"Share of {what} in which the prediction stays.", "share"),
    )


_PARTS = {
    "wide": tuple(CROPS.index(name) for name in _WIDE),
    "tight": tuple(CROPS.index(name) for name in _TIGHT),
    "side": tuple(i for i, name in enumerate(CROPS) if name not in _WIDE + _TIGHT),
}
SIGNS: tuple[Sign, ...] = (
    *_of_part("wide", "the central crops of 0.85 and 0.7 of the sides"),
    *_of_part(
        "tight", "the central crops of 0.5, 0.35 and 0.25 of the sides", "enlarging the middle restores the label"
    ),
    *_of_part("side", "the crops of four corners and two sides"),
    _sign("crops_third", "Share of all crops in which a third class is predicted.", "share", classes=3),
    _sign("crops_best_p_label", "Largest probability of the label in a crop.", "share", scores=True),
    _sign(
        "two_objects",
        "1 if one crop shows the prediction and another the label, with a probability above 0.5 each, otherwise 0.",
        "share",
        high="one part shows the prediction and another the label",
        scores=True,
    ),
    _sign(
        "two_objects_least",
        "The smaller of the largest probabilities of the label and of the prediction in crops.",
        "share",
        scores=True,
    ),
)


def crop_signs(question: Question) -> dict[str, Tensor]:
    """Classify eleven crops of every image.

    Costs 11 forward passes an image. Returns values (n,) by name.
    """
    answers = ask_edits(question, CROPS)
    label, predicted = answers.p_label.amax(1), answers.p_predicted.amax(1)
    found: dict[str, Tensor] = {
        "crops_third": answers.third.mean(1),
        "crops_best_p_label": label,
        "two_objects": ((label > _SURE) & (predicted > _SURE)).to(label) + 0 * label,  # stays NaN without scores
        "two_objects_least": label.minimum(predicted),
    }
    for name, columns in _PARTS.items():
        part = answers.at(columns)
        found |= {
            f"crops_{name}_mean": part.change.mean(1),
            f"crops_{name}_best": part.change.amax(1),
            f"crops_{name}_label": part.label.mean(1),
            f"crops_{name}_kept": part.kept.mean(1),
        }
    return found
