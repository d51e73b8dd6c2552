"""What the gallery can be narrowed by beside class pair: trust in the change, and patches that are enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whywrong.report.methods.counterfactuals.section import TRUSTED, largest, trusted
from whywrong.report.numbers import count, known, shown
from whywrong.report.tables import Row

if TYPE_CHECKING:
    from whywrong.report.error_view import Case

BY_NOISE, NOT_REACHED, NONE_FOUND, NOT_ASKED = "led by noise", "not reached", "none found", "not looked for"
TRUST = ("semantic", "undecided", "adversarial", "unchecked", BY_NOISE, NOT_REACHED, NOT_ASKED)


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a menu: what tiles carry, what people read, and how many errors it shows."""

    key: str
    label: str
    number: int


@dataclass(frozen=True, slots=True)
class Filters:
    """The menus; one without anything to choose from is empty and is not drawn."""

    trust: list[Choice]
    patches: list[Choice]


def trust_of(row: Row) -> str:
    """What became of the counterfactual into the true class, at the largest radius: a word of :data:`TRUST`."""
    changed = largest(row["counterfactuals"] or [], "true")
    if changed is None or changed["status"] != "ok":
        return NOT_ASKED
    if not changed["valid"]:
        return NOT_REACHED
    word = changed["trust"] or "unchecked"
    return BY_NOISE if word == TRUSTED and not trusted(changed) else shown(word)


def enough_of(row: Row) -> tuple[str, int]:
    """The bin of the smallest group of patches that is enough, its least size in digits or a word, and the size.

    Bins double: 0, 1, 2 to 3, 4 to 7. The size is -1 where none is known.
    """
    groups = row["patch_groups"]
    if groups is None or groups["status"] != "ok" or groups["sufficient_found"] is None:
        return NOT_ASKED, -1
    if not groups["sufficient_found"] or not known(groups["sufficient_size"]):
        return NONE_FOUND, -1
    size = int(groups["sufficient_size"])
    return str(1 << (size.bit_length() - 1) if size else 0), size


def filters(cases: Iterable[Case]) -> Filters:
    """The menus for these errors: only what occurs, in order; nothing where no error has any of it."""
    cases = list(cases)
    trust, patches = Counter(case.trust for case in cases), Counter(case.enough for case in cases)
    most = max((case.patches for case in cases), default=-1)
    words = [word for word in (*TRUST[:-1], *sorted(set(trust) - set(TRUST)), NOT_ASKED) if trust[word]]
    bins = sorted((key for key in patches if key.isdecimal()), key=int)
    return Filters(
        trust=[Choice(word, word, trust[word]) for word in words] if set(trust) - {NOT_ASKED} else [],
        patches=[
            *(Choice(key, _sizes(int(key), most), patches[key]) for key in bins),
            *(Choice(key, key, patches[key]) for key in (NONE_FOUND, NOT_ASKED) if patches[key]),
        ]
        if set(patches) - {NOT_ASKED}
        else [],
    )


def _sizes(low: int, most: int) -> str:
    if low == 0:
        return "none needed"
    high = min(2 * low - 1, most)
    return count(low, "patch", "patches") if high <= low else f"{low:,} to {high:,} patches"
