"""The verdict on one error, with what speaks for it, against it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whywrong.report.analyses.verdict.stored import UNDETERMINED, Group
from whywrong.report.numbers import known, percent, shown, sig
from whywrong.report.primitives.sections import Block
from whywrong.report.tables import Row

OUTCOMES = {
    "supported": "supported by its test",
    "contradicted": "contradicted by its test",
    "untested": "not tested",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A cause on a tile: a word, and a shape that says whether a test supports it."""

    cause: str
    tested: str

    @property
    def text(self) -> str:
        """The mark in words, for people who do not see its shape."""
        return self.cause if self.cause == UNDETERMINED else f"{self.cause}, {OUTCOMES.get(self.tested, self.tested)}"


@dataclass(frozen=True, slots=True)
class Why:
    """The verdict on an error as texts.

    Attributes:
        mark: Its mark.
        sentence: The verdict in one sentence.
        because, against: What speaks for and against it.
        do: What to do.
        second: The second most probable cause, in a sentence; empty if there is none.
        lacks: What was not available.
        groups: Anchor and name of the groups it is in.
        blocks: All causes and tests in numbers.
    """

    mark: Mark
    sentence: str
    because: list[str]
    against: list[str]
    do: str
    second: str
    lacks: list[str]
    groups: list[tuple[str, str]]
    blocks: list[Block]


def why(row: Row, tests: Sequence[Row], groups: Sequence[Group]) -> Why:
    """Put the verdict on one error in words.

    Args:
        row: Its row of the view ``verdicts``.
        tests: Its tested causes.
        groups: Groups that it is in.
    """
    mark = Mark(shown(row["cause"] or UNDETERMINED), row["tested"] or "untested")
    blocks = [_causes(row)] if row["causes"] else []
    if tests:
        blocks.append(_tests(tests))
    return Why(
        mark=mark,
        sentence=shown(row["why_text"] or ""),
        because=[shown(text) for text in row["for_text"] or ()],
        against=[shown(text) for text in row["against_text"] or ()],
        do=shown(row["do_text"] or ""),
        second=_second(row),
        lacks=[shown(text) for text in row["lacks"] or ()],
        groups=[(group.anchor, group.name) for group in groups],
        blocks=blocks,
    )


def _second(row: Row) -> str:
    """Name the most probable other cause, if it is worth a look."""
    others = [one for one in row["causes"] or () if one["cause"] != row["cause"] and known(one["probability"])]
    others = sorted(others, key=lambda one: -one["probability"])
    if row["cause"] == UNDETERMINED or not others or others[0]["probability"] < 0.1:
        return ""
    return f"{shown(others[0]['cause'])} ({percent(others[0]['probability'])})"


def _causes(row: Row) -> Block:
    ranked = [(shown(one["cause"]), one["probability"]) for one in row["causes"]]
    if known(row["ordinary"]):
        ranked.append(("none of these", row["ordinary"]))
    within = set(row["set90"] or ())
    rows = [
        (
            cause,
            percent(value),
            "in the set that contains the true cause for 90 % of planted errors" if cause in within else "",
        )
        for cause, value in sorted(ranked, key=lambda one: -(one[1] or 0.0))
    ]
    first = next(iter(rows), ("", "", ""))
    return Block("Probability of each cause", f"{first[0]} {first[1]}", rows)


def _tests(tests: Sequence[Row]) -> Block:
    rows = []
    for test in sorted(tests, key=lambda one: (one["outcome"] != "supported", -(one["effect"] or -1.0))):
        value = f"{percent(test['restored'])} restored; in comparable images {percent(test['control_reference'])}"
        note = f"effect {sig(test['effect'], 2)}, p {sig(test['p_holm'], 2)} after Holm; {test['outcome']}"
        rows.append((f"{shown(test['intervention'])} ({shown(test['cause'])})", value, note))
    supported = sum(test["outcome"] == "supported" for test in tests)
    return Block("Tests of causes", f"{supported} of {len(rows)} supported", rows)
