"""Choice of one group for each error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whywrong.verdicts.groups.group import Group

# Facts of the data first, then what is most specific; kinds not named here come last.
_ORDER = (
    "placeholder",
    "duplicates",
    "mark",
    "cluster",
    "label_suspect",
    "cut_off",
    "tiny",
    "dark",
    "overexposed",
    "blurred",
    "outside_object",
    "pair",
    "ambiguous",
    "family",
    "attractor",
)
_FACTS = ("placeholder", "duplicates", "mark")


@dataclass(frozen=True, slots=True)
class Assigned:
    """Groups of one error.

    Attributes:
        first: Index of the group in which the error is counted.
        second: Index of a second group of the error, or None.
    """

    first: int
    second: int | None


def assign(groups: Sequence[Group], causes: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Assigned]:
    """Assign each error to the most probable one of its groups.

    Placeholders, duplicates and marks come first, because they are facts. Other groups are ordered by the probability
    of their cause for the error, if known, and then by how specific their kind is.

    Args:
        groups: Groups of a run.
        causes: Probabilities of the causes of each item; optional.

    Returns:
        First and second group of each item that is in a group, by item.
    """
    places: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        for item in group.members:
            places.setdefault(item, []).append(index)
    found = {}
    for item, indices in places.items():
        probability = (causes or {}).get(item, {})
        ranked = sorted(indices, key=lambda index: _rank(groups[index], probability, index))
        found[item] = Assigned(ranked[0], ranked[1] if len(ranked) > 1 else None)
    return found


def _rank(group: Group, probability: Mapping[str, float], index: int) -> tuple[int, float, int, int]:
    kind = _ORDER.index(group.kind) if group.kind in _ORDER else len(_ORDER)
    if group.kind in _FACTS:
        return 0, 0.0, kind, index
    return 1, -probability.get(group.cause, 0.0), kind, index
