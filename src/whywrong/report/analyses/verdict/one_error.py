"""The verdict on one error, with evidence for and against it, and the action to take."""

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
    """Label on a tile, with the cause as a word and the result of its test as a shape."""

    cause: str
    tested: str

    @property
    def text(self) -> str:
        """The label in words, for readers who cannot see the shape."""
        return self.cause if self.cause == UNDETERMINED else f"{self.cause}, {OUTCOMES.get(self.tested, self.tested)}"


@dataclass(frozen=True, slots=True)
class Why:
    """The verdict on an error as texts.

    Attributes:
        mark: Label of its tile.
        sentence: The verdict in one sentence.
        because, against: Evidence for and against the verdict.
        do: Recommended action.
        second: The second most probable cause, in a sentence; empty if there is none.
        lacks: Evidence that was not available.
        groups: Anchor and name of each group that contains the error.
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
    """Describe the verdict on one error in words.

    Args:
        row: Row of the error in the view ``verdicts``.
        tests: Rows of its tested causes.
        groups: Groups that contain the error.
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
