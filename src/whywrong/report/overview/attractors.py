"""Predicted classes that attract errors, as a bar chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whywrong.report.numbers import count, percent
from whywrong.report.primitives.run_summary import Pair, RunSummary
from whywrong.report.tables import Names

LEAST = 2  # errors of a class that attracts them
LARGE = 0.2  # share of these errors from which a group is named with them


@dataclass(slots=True)
class Attractor:
    """A class, with the errors that are predicted as it.

    Attributes:
        predicted: Index of the class; ``name`` is its name.
        number: Number of errors predicted as the class, from ``classes`` labelled classes.
        width: Length of its bar, as a share of the longest.
        note: Share of all errors, and the label that most of them have.
        tiles: Anchor, picture and name of some of its errors.
        links: Text and address of further results about the class.
    """

    predicted: int
    name: str
    number: int
    classes: int
    width: float
    note: str
    tiles: list[tuple[str, str, str]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Attractors:
    """The attractors, largest first, with a sentence and the common scale of all bars."""

    reading: str
    shown: list[Attractor]
    rest: list[Attractor]
    most: int


def attractors(summary: RunSummary, names: Names, shown: int = 6) -> Attractors:
    """Rank the classes by the number of errors predicted as them.

    Classes with a single error are not listed.
    """
    into: dict[int, list[Pair]] = defaultdict(list)
    for pair in summary.pairs:
        into[pair.predicted].append(pair)
    totals = {predicted: sum(pair.number for pair in pairs) for predicted, pairs in into.items()}
    ranked = sorted(into, key=lambda predicted: (-totals[predicted], predicted))
    most = totals[ranked[0]] if ranked else 1
    found = [
        Attractor(
            predicted,
            names[predicted],
            totals[predicted],
            len(into[predicted]),
            totals[predicted] / most,
            _note(into[predicted], totals[predicted], summary.errors, names),
        )
        for predicted in ranked
        if totals[predicted] >= LEAST
    ]
    return Attractors(_reading(found, summary), found[:shown], found[shown:], most)


def add_links(
    found: Attractors, harmful: Mapping[int, int], page: str, groups: Sequence[tuple[int, int, str, str]]
) -> None:
    """Add links to further results about the classes that attract errors.

    Args:
        found: The attractors; their ``links`` are extended in place.
        harmful: Number of harmful components by class.
        page: Address of the page on spurious features; empty if there is none.
        groups: Predicted class, size, name and anchor of each group whose errors share the prediction.
    """
    for attractor in [*found.shown, *found.rest]:
        large = [one for one in groups if one[0] == attractor.predicted and one[1] >= LARGE * attractor.number]
        attractor.links += [(f"group: {name}", f"#{anchor}") for _, _, name, anchor in large[:2]]
        number = harmful.get(attractor.predicted, 0)
        if number and page:
            attractor.links.append((count(number, "harmful spurious feature"), page))


def _note(pairs: list[Pair], total: int, errors: int, names: Names) -> str:
    first = max(pairs, key=lambda pair: pair.number)
    text = f"{percent(total / errors)} of all errors"
    if len(pairs) == 1:
        return f"{text}, all from {names[first.label]}"
    return f"{text}, from {count(len(pairs), 'class', 'classes')}, most often {names[first.label]} ({first.number:,})"


def _reading(found: list[Attractor], summary: RunSummary) -> str:
    if not found:
        return f"The {count(summary.errors, 'error')} are predicted as different classes, each class once."
    first, *others = found
    whence = f", from {count(first.classes, 'class', 'classes')}" if first.classes > 1 else ""
    second = f"; {others[0].number:,} are predicted as {others[0].name}" if others else ""
    are = "is" if first.number == 1 else "are"
    return f"{first.number:,} of {count(summary.errors, 'error')} {are} predicted as {first.name}{whence}{second}."
