"""Classes that attract errors, pairs of classes that are confused in both directions, and families of classes."""

from __future__ import annotations

import numpy as np

from whywrong.core.statistics import holm
from whywrong.verdicts.groups.families import class_families
from whywrong.verdicts.groups.group import Group, Words, listed, p_words
from whywrong.verdicts.groups.rows import Rows

_LEVEL = 0.01  # of P values after Holm's correction
_FACTOR = 2.0  # least ratio to chance: the classes of every model attract errors a little unevenly
_FEWEST = 5  # photographs
_FEWEST_IN_FAMILY = 3

_ATTRACTOR = Words(
    kind="attractor",
    cause="",
    action="Look for something that these images share with images of the predicted class, and test it.",
)
_PAIR = Words(
    kind="pair",
    cause="confusion",
    action="Collect more images of both classes, raise the resolution, or merge the classes.",
)
_FAMILY = Words(
    kind="family",
    cause="confusion",
    action="Collect more images of these classes, raise the resolution, or score the family as one class.",
)


def attractors(rows: Rows) -> list[Group]:
    """Find classes that errors of several other classes are predicted as, more often than by chance.

    By chance, an error is predicted as another class in proportion to the number of items with that label. The number
    of errors is tested with the binomial distribution and Holm's correction over the classes. The label with most
    errors is left out, so that two similar classes are no attractor. (ours)

    Returns:
        Groups of at least 5 photographs from at least 3 classes, and of twice as many as expected by chance, largest
        first.
    """
    chosen = rows.first_of_source(rows.wrong)
    k = len(rows.classes)
    if k < 4 or len(chosen) < _FEWEST:
        return []
    share = (np.bincount(rows.label, minlength=k) + 1) / (len(rows) + k)
    label, predicted = rows.label[chosen], rows.predicted[chosen]
    weight = 1 / (1 - share[label])
    expected = share * (weight.sum() - np.bincount(label, weights=weight, minlength=k))
    count = np.bincount(predicted, minlength=k)
    several = count - _from_one_class(label, predicted, k)
    p = holm(_binomial(several, len(chosen), expected))
    found = []
    for t in ((p <= _LEVEL) & (count >= _FEWEST) & (several >= _FACTOR * expected)).nonzero()[0].tolist():
        members = rows.wrong[rows.predicted[rows.wrong] == t]
        true = np.unique(rows.label[members])
        if len(true) < 3:
            continue
        members = members[np.argsort(-np.nan_to_num(rows.confidence[members]), kind="stable")]
        found.append(
            _ATTRACTOR.group(
                rows,
                members,
                f"predicted as {rows.name(t)}",
                f"{{count}}, from {len(true)} classes, are predicted as {rows.name(t)}; "
                f"{expected[t]:.0f} are expected by chance ({p_words(float(p[t]))}).",
                statistics={
                    "class": t,
                    "expected": float(expected[t]),
                    "classes": len(true),
                    "p_holm": float(p[t]),
                },
            )
        )
    return sorted(found, key=lambda group: -group.size)


def _from_one_class(label: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Return the largest number of errors that each class (K,) receives from one other class."""
    pairs, times = np.unique(np.stack([label, predicted]), axis=1, return_counts=True)
    most = np.zeros(k, np.int64)
    np.maximum.at(most, pairs[1], times)
    return most


def confused_pairs(rows: Rows) -> list[Group]:
    """Find pairs of classes that are confused more often than by chance.

    By chance, the predictions of the errors are independent of their labels. The number of errors is tested with the
    binomial distribution and Holm's correction over the pairs that occur. (ours)

    Returns:
        Groups of at least 5 photographs, and of twice as many as expected by chance, largest first. The statistic
        ``both`` is the share of the less frequent direction; a large share means that the classes overlap.
    """
    chosen = rows.first_of_source(rows.wrong)
    if len(chosen) < _FEWEST or len(rows.classes) < 3:
        return []
    k = len(rows.classes)
    label, predicted = rows.label[chosen], rows.predicted[chosen]
    out, into = np.bincount(label, minlength=k), np.bincount(predicted, minlength=k)
    low, high = np.minimum(label, predicted), np.maximum(label, predicted)
    pairs, count = np.unique(np.stack([low, high]), axis=1, return_counts=True)
    expected = (out[pairs[0]] * into[pairs[1]] + out[pairs[1]] * into[pairs[0]]) / len(chosen)
    p = holm(_binomial(count, len(chosen), expected))
    kept = (p <= _LEVEL) & (count >= _FEWEST) & (count >= _FACTOR * expected)
    found = []
    for index in kept.nonzero()[0].tolist():
        a, b = pairs[:, index].tolist()
        of_pair = ((rows.label == a) & (rows.predicted == b)) | ((rows.label == b) & (rows.predicted == a))
        members = of_pair.nonzero()[0]
        there = int((rows.label[members] == a).sum())
        found.append(
            _PAIR.group(
                rows,
                members[np.argsort(-np.nan_to_num(rows.true_confidence[members]), kind="stable")],
                f"{rows.name(a)} and {rows.name(b)}",
                f"{{count}} confuse {rows.name(a)} and {rows.name(b)}: {there} are {rows.name(a)} predicted as "
                f"{rows.name(b)}, {len(members) - there} the reverse; {expected[index]:.0f} are expected by chance "
                f"({p_words(float(p[index]))}).",
                pair=(a, b),
                statistics={
                    "expected": float(expected[index]),
                    "p_holm": float(p[index]),
                    "both": min(there, len(members) - there) / len(members),
                },
            )
        )
    return sorted(found, key=lambda group: -group.size)


def family_groups(rows: Rows, families: np.ndarray | None = None) -> list[Group]:
    """Find families of classes whose errors stay inside the family more often than by chance.

    Families are useful if most pairs of classes occur only once. By chance, the predictions of the errors are
    independent of their labels. (ours)

    Args:
        rows: All items.
        families: (K,) int64, family of each class, -1 for none; None finds them with :func:`class_families`.

    Returns:
        Groups of at least 3 photographs and 3 classes, and of twice as many as expected by chance. Empty if fewer than
        half
            of the pairs occur once, because pairs of classes then describe the errors.
    """
    chosen = rows.first_of_source(rows.wrong)
    if len(chosen) < _FEWEST_IN_FAMILY or not _scattered(rows, chosen):
        return []
    family = class_families(rows) if families is None else families
    of_label, of_predicted = family[rows.label], family[rows.predicted]
    inside = (of_label == of_predicted) & (of_label >= 0)
    many = int(family.max()) + 1
    if many < 1:
        return []
    out, into, count = (
        np.bincount(values[values >= 0], minlength=many)
        for values in (of_label[chosen], of_predicted[chosen], of_label[chosen][inside[chosen]])
    )
    expected = out * into / len(chosen)
    p = np.full(many, np.nan)
    tested = count > 0
    p[tested] = _binomial(count[tested], len(chosen), expected[tested])
    p = holm(p)
    found = []
    for f in ((p <= _LEVEL) & (count >= _FEWEST_IN_FAMILY) & (count >= _FACTOR * expected)).nonzero()[0].tolist():
        members = (inside & (of_label == f) & (rows.label != rows.predicted)).nonzero()[0]
        used, times = np.unique(np.concatenate([rows.label[members], rows.predicted[members]]), return_counts=True)
        if len(used) < 3:
            continue
        names = [rows.name(index) for index in used[np.argsort(-times, kind="stable")].tolist()]
        found.append(
            _FAMILY.group(
                rows,
                members[np.argsort(-np.nan_to_num(rows.true_confidence[members]), kind="stable")],
                f"family of {listed(names, 2)}",
                f"{{count}} confuse classes of one family: {listed(names, 4)}; "
                f"{expected[f]:.1f} are expected by chance ({p_words(float(p[f]))}).",
                statistics={"expected": float(expected[f]), "classes": len(used), "p_holm": float(p[f])},
            )
        )
    return sorted(found, key=lambda group: -group.size)


def _scattered(rows: Rows, chosen: np.ndarray) -> bool:
    """Return whether most pairs of classes occur once."""
    _, times = np.unique(np.stack([rows.label[chosen], rows.predicted[chosen]]), axis=1, return_counts=True)
    return len(rows.classes) > 4 and float((times == 1).mean()) >= 0.5


def _binomial(count: np.ndarray, n: int, expected: np.ndarray) -> np.ndarray:
    """Compute P values of counts at least this large."""
    from scipy.stats import binom

    return np.asarray(binom.sf(count - 1, n, np.minimum(expected / n, 1.0)))
