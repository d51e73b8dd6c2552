"""Errors that are dark, over-exposed or blurred, compared with the correct images."""

from __future__ import annotations

import numpy as np

from whywrong.core.statistics import holm
from whywrong.verdicts.groups.group import Group, Words
from whywrong.verdicts.groups.rows import Rows

_FEWEST_RIGHT = 50  # correct images from which quantiles are taken
_SHARE = 0.02  # of the correct images beyond the limit
_LEVEL = 0.01
_FEWEST = 2
_SATURATED = 250  # grey levels
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_ACTION = "Restore such images before classification, or train with this damage."
_KINDS = (
    ("dark", "dark images", "{count} are darker than 98 % of the correct images.", True),
    (
        "overexposed",
        "over-exposed images",
        "{count} have more white pixels than 98 % of the correct images.",
        False,
    ),
    ("blurred", "blurred images", "{count} are less sharp than 98 % of the correct images.", True),
)


def damaged_exposure(rows: Rows) -> list[Group]:
    """Find errors darker, brighter or more blurred than 98 % of correct images.

    A group needs more errors beyond the limit than expected by chance (binomial test, Holm's correction over the three
    kinds). (ours)
    """
    from scipy.stats import binom

    values = _quantities(rows)
    found, p = [], []
    for kind, _, _, low in _KINDS:
        value = values.get(kind)
        known = np.zeros(len(rows), bool) if value is None else np.isfinite(value)
        right, wrong = rows.right[known[rows.right]], rows.wrong[known[rows.wrong]]
        if value is None or len(right) < _FEWEST_RIGHT or not len(wrong):
            found.append(np.zeros(0, np.int64))
            p.append(np.nan)
            continue
        away = -value if low else value
        limit = np.quantile(away[right], 1 - _SHARE, method="higher")
        members = wrong[away[wrong] > limit]
        beyond = (int((away[right] > limit).sum()) + 1) / (len(right) + 1)
        found.append(members[np.argsort(-away[members], kind="stable")])
        p.append(float(binom.sf(len(members) - 1, len(wrong), beyond)))
    groups = []
    for (kind, name, sentence, _), members, one in zip(_KINDS, found, holm(np.array(p)).tolist(), strict=True):
        if len(members) >= _FEWEST and one <= _LEVEL:
            words = Words(kind=kind, cause="corruption", action=_ACTION)
            groups.append(words.group(rows, members, name, sentence, statistics={"p_holm": one}))
    return groups


def _quantities(rows: Rows) -> dict[str, np.ndarray]:
    """Return mean luma, share of saturated pixels and sharpness of all items, as far as known."""
    found: dict[str, np.ndarray] = {}
    if rows.known("pictures").any():
        luma = np.einsum("nchw,c->nhw", rows.pictures.astype(np.float32), _LUMA)
        found["dark"] = luma.mean((1, 2))
        found["overexposed"] = (luma >= _SATURATED).mean((1, 2))
    if rows.known("sharpness").any():
        found["blurred"] = rows.sharpness.astype(np.float64)
    return found
