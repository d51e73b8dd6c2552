"""A group of errors with a common property, described in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from whywrong.verdicts.groups.rows import Rows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Group:
    """A group of errors with a common property.

    Attributes:
        name: Short name, such as "mark at the lower right, predicted as fish".
        kind: Kind of the group, such as ``mark``, ``placeholder`` or ``attractor``.
        cause: Suspected cause, or empty.
        members: Item ids, the most typical first.
        size: Number of errors.
        share: Their share of all errors.
        sentence: What the errors share.
        action: What to do.
        suspected: Whether no test supports the cause yet.
        pair: Label and prediction, if the errors share them.
        place: Left, top, right, bottom as shares of the image, if they share a place.
        statistics: Measured numbers that the sentence is based on.
        cohesion: Mean similarity of the members, if measured.
        held_out_p: P value on the held-out half of the photographs, if tested.
    """

    name: str
    kind: str
    cause: str
    members: tuple[str, ...]
    size: int
    share: float
    sentence: str
    action: str
    suspected: bool = True
    pair: tuple[int, int] | None = None
    place: tuple[float, float, float, float] | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    cohesion: float | None = None
    held_out_p: float | None = None

    @property
    def medoids(self) -> tuple[str, ...]:
        """The four most typical items."""
        return self.members[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Fixed texts of a kind of group.

    Attributes:
        kind: Name of the kind.
        cause: Suspected cause, or empty.
        action: What to do.
    """

    kind: str
    cause: str
    action: str

    def group(
        self,
        rows: Rows,
        members: np.ndarray | Sequence[int],
        name: str,
        sentence: str,
        **more: object,
    ) -> Group:
        """Make a group of this kind.

        Args:
            rows: All items.
            members: Rows of the errors, the most typical first.
            name: Short name.
            sentence: What the errors share; ``{count}`` becomes "3 of 120 errors".
            more: Further attributes of :class:`Group`.
        """
        chosen = [int(row) for row in members]
        total = len(rows.wrong)
        return Group(
            name=name,
            kind=self.kind,
            cause=self.cause,
            members=tuple(rows.item_ids[row] for row in chosen),
            size=len(chosen),
            share=len(chosen) / total,
            sentence=sentence.replace("{count}", f"{len(chosen)} of {total} errors"),
            action=self.action,
            **more,  # type: ignore[arg-type]
        )


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join names as "a, b and c", or "a, b, c and 4 more"."""
    shown, more = list(names[:most]), len(names) - most
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def p_words(p: float) -> str:
    """Format a P value, such as "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
