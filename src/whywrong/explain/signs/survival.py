"""Signs of how the prediction answers to 23 small edits."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.explain.edits import EDITS, SURVIVAL
from whywrong.explain.signs.answers import Answers, Question, ask
from whywrong.explain.signs.sign import Kind, Sign

_FAMILIES = {
    "tiny": "little noise, mild JPEG and fewer levels",
    "smooth": "blur, median, total variation and resizing",
    "geometric": "a flip and two shifts",
    "tone": "stretch, gamma and grey",
    "sharpen": "unsharp masking",
}
# Single edits that are signs of their own, with the edits whose mean they are.
_SINGLE: dict[str, tuple[str, ...]] = {
    "flip": ("flip",),
    "shift": ("shift right", "shift down"),
    "noise_2": ("noise 2/255 a", "noise 2/255 b"),
    "noise_6": ("noise 6/255 a", "noise 6/255 b"),
    "noise_16": ("noise 16/255 a",),
    "jpeg_85": ("jpeg 85",),
    "blur_1": ("blur 1",),
    "median": ("median 3",),
    "tv": ("tv 0.06",),
    "stretch": ("stretch",),
}
TOP = 5


def _sign(name: str, doc: str, kind: Kind, *, high: str = "", low: str = "", classes: int = 2) -> Sign:
    access = Access.LABELS if kind == "share" and name != "label_in_top5" else Access.SCORES
    return Sign(
        name=name, doc=doc, group="survival", stage="survival", kind=kind, access=access, high=high, low=low,
        least_classes=classes,
    )  # fmt: skip


def _several(family: str) -> bool:
    return sum(EDITS[name].family == family for name in SURVIVAL) > 1


def _of_family(family: str, what: str) -> tuple[Sign, ...]:
    best = (_sign(f"survival_{family}_best", f"Most logits that one of {what} takes from the margin.", "logit"),)
    return (
        _sign(f"survival_{family}_mean", f"Mean logits that {what} take from the margin.", "logit"),
        *(best if _several(family) else ()),  # the best of a single edit is its mean
        _sign(f"survival_{family}_label", f"Share of {what} after which the label is predicted.", "share"),
        _sign(f"survival_{family}_kept", f"Share of {what} after which the prediction stays.", "share"),
    )


SIGNS: tuple[Sign, ...] = (
    *(sign for family, what in _FAMILIES.items() for sign in _of_family(family, what)),
    *(
        _sign(f"survival_{name}", f"Logits that {' and '.join(edits)} take from the margin, in the mean.", "logit")
        for name, edits in _SINGLE.items()
    ),
    _sign(
        "survival_kept",
        "Share of all small edits after which the prediction stays.",
        "share",
        high="the prediction survives small changes",
        low="the prediction breaks under small changes",
    ),
    _sign(
        "survival_label",
        "Share of all small edits after which the label is predicted.",
        "share",
        high="small changes restore the label",
    ),
    _sign("survival_third", "Share of all small edits after which a third class is predicted.", "share", classes=3),
    _sign("survival_spread", "Standard deviation of the margin over the small edits, logits.", "logit"),
    _sign(
        "label_in_top5",
        "Share of all small edits after which the label is among the five best classes.",
        "share",
        high="the label stays among the best classes",
        classes=TOP + 1,
    ),
)


def survival_edits(channels: int, left_out: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of the small edits that change images of so many channels."""
    return tuple(name for name in SURVIVAL if name not in left_out and (channels == 3 or not EDITS[name].colour))


def survival_signs(question: Question, left_out: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Classify every image after each small edit.

    Costs one forward pass per edit and image. Returns values (n,) by name.
    """
    names = survival_edits(question.call.x.shape[1], left_out)
    answers = ask_edits(question, names)
    found: dict[str, Tensor] = {
        "survival_kept": answers.kept.mean(1),
        "survival_label": answers.label.mean(1),
        "survival_third": answers.third.mean(1),
        "survival_spread": answers.change.std(1),
        "label_in_top5": answers.top5.mean(1),
    }
    for family in _FAMILIES:
        own = [i for i, name in enumerate(names) if EDITS[name].family == family]
        if not own:
            continue
        part = answers.at(own)
        found |= {
            f"survival_{family}_mean": part.change.mean(1),
            f"survival_{family}_label": part.label.mean(1),
            f"survival_{family}_kept": part.kept.mean(1),
        }
        if _several(family):
            found[f"survival_{family}_best"] = part.change.amax(1)
    for sign, edits in _SINGLE.items():
        own = [names.index(name) for name in edits if name in names]
        if own:
            found[f"survival_{sign}"] = answers.at(own).change.mean(1)
    return found


def ask_edits(question: Question, names: tuple[str, ...]) -> Answers:
    """Classify every image after each of the named edits."""
    keys = question.call.keys[question.rows]

    def changed(x: Tensor, image: Tensor, copy: Tensor) -> Tensor:
        starts = range(0, len(x), len(question.rows))  # one block of all images per edit
        first = int(copy[0]) if len(copy) else 0
        blocks = [EDITS[names[first + i]].apply(x[start : start + len(keys)], keys) for i, start in enumerate(starts)]
        return torch.cat(blocks) if blocks else x

    return ask(question, len(names), changed)
