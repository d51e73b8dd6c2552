"""Rules for errors that nobody planted, chosen on photographs whose errors were read by eye.

Tests against role-played images are nearly free on natural errors, whose label is usually right, so that any second
look restores it. These rules compare an error with correct images of equal margin by signs that separated the reasons
that readers gave. Only a placeholder picture and alike classes can be told well; the others are worded as a look.
Source: ours, docs/methods/natural_errors.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from whywrong.core.matching import match_nearest
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.natural.maps import CORNERS, ENLARGED

FEWEST_REFERENCE = 50
FEWEST_CLASSES = 50  # the rules were chosen on 1,000 classes; among few, one of the five best is no close class
PLACEHOLDER_SHARE = 0.995  # quantile of the similarity to images of other classes
_CLOSE = 0.5  # quantile of the margin
_APART, _ALIKE = 0.15, 0.25  # quantiles of the correlation of both maps
_AT_BORDER, _USUAL, _RARE = 0.9, 0.75, 0.98  # quantiles of evidence at the border, and of what a wider view gains
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalFinding:
    """What a rule says about one error.

    Attributes:
        cause: Cause it belongs to.
        kind: ``placeholder``, ``alike classes``, ``cut`` or ``something else in the picture``.
        stated: Whether it may be stated; otherwise the error only looks like it.
        sentence: The verdict in words, with ``{label}`` and ``{predicted}``.
        numbers: Measured values, and the values of comparable correct images that they were compared with.
        for_text: What speaks for it, with the same fields.
        against_text: What speaks against it.
    """

    cause: str
    kind: str
    stated: bool
    sentence: str
    numbers: Mapping[str, float]
    for_text: tuple[str, ...]
    against_text: tuple[str, ...] = ()


def natural_findings(errors: Measured, reference: Measured) -> list[NaturalFinding | None]:
    """Apply the rules to errors, of which the first that holds speaks.

    Args:
        errors: N errors, with the signs ``label_in_top5``, ``survival_label``, ``flat_share`` and those of
            :data:`whywrong.verdicts.natural.maps.MAP_SIGNS`; a rule is silent where one of its signs is missing.
        reference: Correct images in the part of errors, with the same signs; with fewer than 50 all rules are silent.
            With fewer than 50 classes, all but the rule for placeholders are.

    Returns:
        One finding an error, None where no rule holds.
    """
    if len(reference) < FEWEST_REFERENCE or not len(errors) or not reference.logits.shape[1]:
        return [None] * len(errors)
    placeholders = _placeholders(errors, reference)
    if errors.logits.shape[1] < FEWEST_CLASSES:
        return placeholders
    signs = _Signs(errors, reference)
    rules = (_confusion, _cut, _context)
    return [
        placeholders[row] or next((found for rule in rules if (found := rule(signs, row)) is not None), None)
        for row in range(len(errors))
    ]


def comparable(errors: Measured, reference: Measured) -> np.ndarray:
    """Choose the half of the correct images whose margins resemble those of the errors.

    Only these need the signs that the rules compare.

    Returns:
        (M,) int64 rows of the reference, at least 50 if there are so many with finite logits.
    """
    margin, asked = _log_margin(reference), _log_margin(errors)
    known = np.flatnonzero(np.isfinite(margin))
    wanted = max(FEWEST_REFERENCE, len(known) // 2)
    return known[match_nearest(asked[np.isfinite(asked)], margin[known], wanted)]


def possible_findings(errors: Measured, reference: Measured) -> np.ndarray:
    """Choose the errors of which a rule may still speak, so that it needs to know which small changes they survive.

    Args:
        errors: N errors, measured with ``parts=(MAPS, WHOLE)``.
        reference: Correct images, measured whole.

    Returns:
        Rows (n,) int64.
    """
    if len(reference) < FEWEST_REFERENCE or not len(errors):
        return np.zeros(0, np.int64)
    signs = _Signs(errors, reference)
    close = signs.all("margin") <= signs.quantile("margin", _CLOSE)
    alike = signs.all("maps_alike") >= signs.quantile("maps_alike", _ALIKE)
    apart = signs.all("maps_alike") <= signs.quantile("maps_alike", _APART)
    wider = signs.all("whole_gain") >= signs.quantile("whole_gain", _USUAL)
    return np.flatnonzero((close & alike) | apart | wider)


def undecided(errors: Measured, reference: Measured) -> dict[str, np.ndarray]:
    """Choose the errors of which a rule still needs more than maps and the whole photograph.

    Args:
        errors: N errors, measured with ``parts=(MAPS, WHOLE)``.
        reference: Correct images, measured whole.

    Returns:
        Rows (n,) int64 by part of :data:`whywrong.verdicts.natural.maps.PARTS`.
    """
    if len(reference) < FEWEST_REFERENCE or not len(errors):
        return {}
    signs = _Signs(errors, reference)
    apart = signs.all("maps_alike") <= signs.quantile("maps_alike", _APART)
    raised = signs.all("whole_gain") > signs.quantile("whole_gain", _RARE)
    never = signs.all("survival_label") == 0
    cut = np.array([_at_border(signs, row) for row in range(len(errors))])
    told = np.array([_confusion(signs, row) is not None for row in range(len(errors))])
    return {ENLARGED: np.flatnonzero(apart & ~cut), CORNERS: np.flatnonzero(raised & never & ~told)}


class _Signs:
    """Signs of the errors, and their quantiles over correct images of equal margin."""

    def __init__(self, errors: Measured, reference: Measured) -> None:
        self.errors = errors
        self.reference = reference.at(comparable(errors, reference))
        self._quantiles: dict[tuple[str, float], float] = {}

    def value(self, name: str, row: int) -> float:
        return float(self.all(name)[row])

    def all(self, name: str) -> np.ndarray:
        return self._all(self.errors, name)

    def quantile(self, name: str, share: float) -> float:
        """Return a quantile over the correct images; NaN if fewer than 50 have the sign."""
        if (name, share) not in self._quantiles:
            values = self._all(self.reference, name)
            values = values[np.isfinite(values)]
            enough = len(values) >= FEWEST_REFERENCE
            self._quantiles[name, share] = float(np.quantile(values, share)) if enough else float("nan")
        return self._quantiles[name, share]

    def helpers(self, row: int) -> tuple[int, int, int]:
        """Return how many other models predict the label, the prediction, and another class."""
        if not self.errors.helper_logits.size:
            return 0, 0, 0
        answers = self.errors.helper_logits[:, row].argmax(1)
        label, predicted = (int((answers == of[row]).sum()) for of in (self.errors.label, self.errors.predicted))
        return label, predicted, len(answers) - label - predicted

    @staticmethod
    def _all(items: Measured, name: str) -> np.ndarray:
        if name == "margin":
            return np.exp(_log_margin(items))
        return items.sign(name) if name in items.sign_names else np.full(len(items), np.nan)


def _log_margin(items: Measured) -> np.ndarray:
    """Return log of the logits by which the prediction leads the label, (N,); NaN if they are not finite."""
    rows = np.arange(len(items))
    logits = items.logits.astype(np.float64)
    lead = logits[rows, items.predicted] - logits[rows, items.label]
    return np.log(np.maximum(lead, _TINY), where=np.isfinite(lead), out=np.full(len(items), np.nan))


def _placeholders(errors: Measured, reference: Measured) -> list[NaturalFinding | None]:
    """Find errors that are nearly the same picture as one of another class, and nearly empty."""
    found: list[NaturalFinding | None] = [None] * len(errors)
    if not errors.features.shape[1] or "flat_share" not in errors.sign_names:
        return found
    classes = np.concatenate([errors.label, reference.predicted])
    features = np.concatenate([errors.features, reference.features]).astype(np.float64)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _TINY)
    alike = np.full(len(classes), -1.0)
    for row in range(len(classes)):
        others = classes != classes[row]
        others[: len(errors)] &= row < len(errors)  # the bar is among correct images alone
        if others.any():
            alike[row] = (features[others] @ features[row]).max()
    bar = float(np.quantile(alike[len(errors) :], PLACEHOLDER_SHARE))
    bar += (1 - bar) / 2  # half-way from the most alike photographs to the same picture
    flat, usual = errors.sign("flat_share"), float(np.nanquantile(reference.sign("flat_share"), 0.95))
    for row in np.flatnonzero((alike[: len(errors)] > bar) & (flat >= usual)):
        found[row] = NaturalFinding(
            cause="label",
            kind="placeholder",
            stated=True,
            sentence="Probably not a picture of {label}: the same nearly empty picture also has another label.",
            numbers={
                "similarity": float(alike[row]),
                "similarity_of_others": bar,
                "flat_share": float(flat[row]),
                "flat_share_of_others": usual,
            },
            for_text=(
                f"Its features have a cosine of {alike[row]:.2f} with an image of another class; the most alike correct"
                f" images of different classes have {2 * bar - 1:.2f}.",
                f"{flat[row]:.0%} of its neighbouring pixels are equal; in 95 % of correct images at most {usual:.0%}"
                " are.",
            ),
        )
    return found


def _confusion(signs: _Signs, row: int) -> NaturalFinding | None:
    top, margin, alike = (signs.value(name, row) for name in ("label_in_top5", "margin", "maps_alike"))
    least_top, most_margin = signs.quantile("label_in_top5", 0.5), signs.quantile("margin", _CLOSE)
    least_alike = signs.quantile("maps_alike", _ALIKE)
    if not (top >= least_top and margin <= most_margin and alike >= least_alike):
        return None
    label, predicted, third = signs.helpers(row)
    against = (f"{third} of {label + predicted + third} other models predict a third class.",) if third else ()
    backing = (
        (f"Other models predict {{label}} ({label}) and {{predicted}} ({predicted}).",) if label + predicted else ()
    )
    stated = label + predicted > 0 or not third
    start = "Probably" if stated else "Looks like"
    return NaturalFinding(
        cause="confusion",
        kind="alike classes",
        stated=stated,
        sentence=f"{start} confusion: {{label}} and {{predicted}} look alike here, or both labels could be right.",
        numbers={
            "label_in_top5": top,
            "label_in_top5_of_others": least_top,
            "margin": margin,
            "margin_of_others": most_margin,
            "maps_alike": alike,
            "maps_alike_of_others": least_alike,
        },
        for_text=(
            f"{{label}} stays among the five best classes in {top:.0%} of the small changes; in half of comparable "
            f"correct images the next class does so in less than {least_top:.0%}.",
            f"{{predicted}} leads {{label}} by {margin:.1f} logits; in correct images the lead is usually larger "
            f"({most_margin:.1f}).",
            f"The evidence for both classes is in the same places (correlation {alike:.2f}; below {least_alike:.2f} in"
            " a "
            "quarter of correct images).",
            *backing,
        ),
        against_text=against,
    )


def _at_border(signs: _Signs, row: int) -> bool:
    """Test whether the evidence for the label lies at the border, and what lies beyond it speaks for the label."""
    border, whole = signs.value("label_at_border", row), signs.value("whole_gain", row)
    return border >= signs.quantile("label_at_border", _AT_BORDER) and whole >= signs.quantile("whole_gain", _USUAL)


def _cut(signs: _Signs, row: int) -> NaturalFinding | None:
    border, whole, outward = (signs.value(name, row) for name in ("label_at_border", "whole_gain", "outward_gain"))
    restored = signs.value("survival_label", row)
    most_border, usual = signs.quantile("label_at_border", _AT_BORDER), signs.quantile("whole_gain", _USUAL)
    rare, rare_outward = signs.quantile("whole_gain", _RARE), signs.quantile("outward_gain", _RARE)
    at_border = _at_border(signs, row)
    beyond = whole > rare and outward > rare_outward and restored == 0
    if not (at_border or beyond):
        return None
    text = [
        f"With the whole photograph, {{label}} gains {whole:.1f} logits over {{predicted}}; in three quarters of "
        f"comparable correct images the gain is below {usual:.1f}."
    ]
    if at_border:
        text.append(
            f"{border:.0%} of the evidence for {{label}} lies at one border of the crop; in nine tenths of correct"
            f" images less than {most_border:.0%} does."
        )
    if beyond:
        text.append(
            f"Crops towards the corners raise it by up to {outward:.1f} logits (in 98 % of correct images, less than "
            f"{rare_outward:.1f}), and no small change restores it."
        )
    return NaturalFinding(
        cause="occluded",
        kind="cut",
        stated=False,
        sentence="The crop seems to cut off the {label}.",
        numbers={
            "label_at_border": border,
            "label_at_border_of_others": most_border,
            "whole_gain": whole,
            "whole_gain_of_others": usual,
            "outward_gain": outward,
            "outward_gain_of_others": rare_outward,
        },
        for_text=tuple(text),
        against_text=(f"Small changes that add nothing also restore {{label}} in {restored:.0%} of the tries.",)
        if restored > 0
        else (),
    )  # fmt: skip


def _context(signs: _Signs, row: int) -> NaturalFinding | None:
    alike, enlarged = signs.value("maps_alike", row), signs.value("label_enlarged", row)
    most = signs.quantile("maps_alike", _APART)
    if not (alike <= most and enlarged == 1):
        return None
    restored = signs.value("survival_label", row)
    return NaturalFinding(
        cause="spurious",
        kind="something else in the picture",
        stated=False,
        sentence="Something else in the picture seems to be predicted as {predicted}.",
        numbers={"maps_alike": alike, "maps_alike_of_others": most, "label_enlarged": enlarged},
        for_text=(
            "If the image is cropped to the strongest evidence for {label}, both of two crops are predicted as"
            " {label}.",
            f"The evidence for both classes is in different places (correlation {alike:.2f}; above {most:.2f} in 85 %"
            " of "
            "correct images).",
        ),
        against_text=(f"Small changes that remove nothing also restore {{label}} in {restored:.0%} of the tries.",)
        if restored > 0
        else (),
    )  # fmt: skip
