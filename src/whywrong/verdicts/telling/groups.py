"""Groups with their tests and advice, and the group of each error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whywrong.verdicts.advice import Advice
from whywrong.verdicts.cascade import State
from whywrong.verdicts.decide import Verdict, with_group
from whywrong.verdicts.groups import Group, assign
from whywrong.verdicts.stages.grouping import order_groups
from whywrong.verdicts.telling.group_rows import advice_rows, advised_arm, advised_text, group_row, group_sentence
from whywrong.verdicts.telling.rows import OfGroup
from whywrong.verdicts.tests_of_causes import CauseTest, CauseTests
from whywrong.verdicts.tests_of_groups import pool_tests


@dataclass(frozen=True, slots=True, eq=False)
class TestedGroups:
    """Groups in the order in which they are shown.

    Attributes:
        groups: The groups.
        tests: Test of each; None without one.
        advice: Arms of each; empty without an action that could be fitted.
        first: Place of the group that each item is counted in.
    """

    groups: tuple[Group, ...]
    tests: tuple[CauseTest | None, ...]
    advice: tuple[tuple[Advice, ...], ...]
    first: Mapping[str, int]

    @classmethod
    def of(
        cls, groups: Sequence[Group], tests: Sequence[CauseTest | None], advice: Mapping[int, Sequence[Advice]]
    ) -> TestedGroups:
        """Order the groups, the most useful first, and assign the errors to them."""
        best = {at: arm for at, arms in advice.items() if (arm := advised_arm(arms)) is not None}
        mended = {at: arm.mended / max(arm.n_held, 1) for at, arm in best.items()}
        order = order_groups(groups, mended)
        chosen = tuple(groups[at] for at in order)
        return cls(
            chosen,
            tuple(tests[at] for at in order),
            tuple(tuple(advice.get(at, ())) for at in order),
            {item: one.first for item, one in assign(chosen).items()},
        )

    def joined(self, groups: Sequence[Group], advice: Mapping[int, Sequence[Advice]]) -> TestedGroups:
        """Add groups that have no test.

        Args:
            groups: Further groups.
            advice: Arms of each, by its place among them.
        """
        known = dict(enumerate(self.advice))
        more = {len(self.groups) + at: arms for at, arms in advice.items()}
        return TestedGroups.of([*self.groups, *groups], [*self.tests, *[None] * len(groups)], known | more)

    def of_item(self, item: str) -> OfGroup | None:
        """Return the number and the advised action of the group of an error."""
        if item not in self.first:
            return None
        at = self.first[item]
        arm = advised_arm(self.advice[at])
        return OfGroup(group_id=at + 1, advised="" if arm is None else advised_text(arm))

    def sentence_of(self, item: str) -> str:
        """Return what the errors of an error's group share; empty if it is in none."""
        at = self.first.get(item)
        return "" if at is None else group_sentence(self.groups[at], self.tests[at])

    def tables(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of the tables of groups and of advice."""
        groups = [
            group_row(at + 1, group, self.tests[at], advised_arm(self.advice[at]))
            for at, group in enumerate(self.groups)
        ]
        return {
            "groups": groups,
            "advice": [row for at, arms in enumerate(self.advice) for row in advice_rows(at + 1, arms, names)],
        }

    def support(self, verdicts: Sequence[Verdict], state: State, tests: CauseTests, seed: int) -> list[Verdict]:
        """Let the test of a group support the cause of each of its errors, without the error's own contribution.

        Args:
            verdicts: Verdicts on the errors alone.
            state: What was measured.
            tests: Tests of the errors.
            seed: Seed of the resamples.
        """
        found = list(verdicts)
        if not state.prediction:
            return found
        p = state.probabilities()
        place = {item: row for row, item in enumerate(state.measured.item_ids)}
        for group, test in zip(self.groups, self.tests, strict=True):
            if test is None or test.outcome != "supported":
                continue
            members = [place[item] for item in group.members if item in place]
            for row in members:
                if not found[row].stated:
                    others = pool_tests(
                        tests, [one for one in members if one != row], group.cause, draws=499, seed=seed
                    )
                    found[row] = with_group(found[row], p[row], group.cause, others)
        return found
