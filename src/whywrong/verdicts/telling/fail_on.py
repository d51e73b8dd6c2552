"""Rules such as ``spurious>5%`` that decide whether a check in continuous integration fails."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whywrong.core.errors import InputError
from whywrong.core.registry import nearest
from whywrong.core.statistics import Interval, wilson
from whywrong.verdicts.causes import CAUSES

Outcome = Literal["met", "not met", "undecided"]

UNDETERMINED = "undetermined"
NAMES = (*(cause.name for cause in CAUSES), UNDETERMINED)
TESTED = ("supported", "contradicted", "untested")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE = re.compile(r"\s*(\w+)\s*(?::\s*(\w+))?\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule on the share or the number of errors with a cause.

    Attributes:
        text: As given.
        cause: Name of the cause, or ``undetermined``.
        tested: Only errors whose test had this outcome; empty for all.
        sign: ``>``, ``>=``, ``<`` or ``<=``.
        bound: Share in [0, 1], or number of errors.
        percent: Whether the bound is a share of all errors.
    """

    text: str
    cause: str
    tested: str
    sign: str
    bound: float
    percent: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of a run.

    Attributes:
        rule: The rule.
        hits: Errors that it counts.
        errors: All errors.
        share: Their share with its 95 % interval.
        outcome: ``met``; ``not met``; or ``undecided`` if the interval holds the bound and only clear results count.
    """

    rule: Rule
    hits: int
    errors: int
    share: Interval
    outcome: Outcome

    def to_dict(self) -> dict[str, Any]:
        """Return the judgement as plain values."""
        share = {"value": self.share.value, "low": self.share.low, "high": self.share.high}
        return {
            "rule": self.rule.text,
            "outcome": self.outcome,
            "hits": self.hits,
            "errors": self.errors,
            "share": share,
        }

    @property
    def text(self) -> str:
        """The judgement in one sentence."""
        share = f"{100 * self.share.value:.1f} %, {100 * self.share.low:.1f} to {100 * self.share.high:.1f} %"
        return f"{self.rule.text}: {self.outcome} ({self.hits:,} of {self.errors:,} errors; {share})"


def parse_rule(text: str) -> Rule:
    """Parse ``cause[:tested] op number[%]``.

    Raises:
        InputError: It has another form, or names no cause or outcome.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise InputError(
            f'--fail-on takes CAUSE[:TESTED] then >, >=, < or <=, then a number or a percentage, as "spurious>5%" or '
            f'"label:supported>10"; got "{text}"'
        )
    cause, tested, sign, number, percent = found.groups(default="")
    if cause not in NAMES:
        raise InputError(f'--fail-on: no cause "{cause}"{nearest(cause, NAMES)}; the causes are {", ".join(NAMES)}')
    if tested and tested not in TESTED:
        raise InputError(f'--fail-on: a test is {", ".join(TESTED)}, got "{tested}"{nearest(tested, TESTED)}')
    bound = float(number) / (100 if percent else 1)
    if percent and bound > 1:
        raise InputError(f'--fail-on: a share is at most 100 %, got "{text}"')
    return Rule(text.strip(), cause, tested, sign, bound, bool(percent))


def judge(rule: Rule, rows: Sequence[Mapping[str, Any]], *, strict: bool = False) -> Judgement:
    """Judge a rule on the rows of the view ``verdicts``.

    Args:
        rule: The rule.
        rows: One mapping for each error, with ``cause`` and ``tested``.
        strict: Whether a result whose 95 % interval holds the bound is undecided.
    """
    hits = sum(row["cause"] == rule.cause and rule.tested in ("", row["tested"]) for row in rows)
    share = wilson(hits, len(rows)) if rows else Interval(0.0, 0.0, 0.0)
    compare = _OPERATORS[rule.sign]
    bound = rule.bound if rule.percent else rule.bound / max(len(rows), 1)
    met = compare(share.value if rule.percent else hits, rule.bound)
    undecided = strict and bool(rows) and compare(share.low, bound) != compare(share.high, bound)
    return Judgement(rule, hits, len(rows), share, "undecided" if undecided else "met" if met else "not met")
