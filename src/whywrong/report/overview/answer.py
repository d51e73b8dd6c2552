"""The first screen of the report, with the main results, the groups, and the next step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whywrong.core.statistics import wilson
from whywrong.report.analyses.verdict.stored import UNDETERMINED, Group, Verdicts
from whywrong.report.doubts import Doubt
from whywrong.report.error_view import ErrorView
from whywrong.report.numbers import count, interval, listed, percent, shown, sig
from whywrong.report.primitives.run_summary import RunSummary

PICTURES, NAMED = 4, 4
COMMAND = "whywrong verdict RUN"
SHORT = {
    "label": "wrong or ambiguous label",
    "corruption": "damaged image",
    "adversarial": "adversarial change",
    "spurious": "misleading cue",
    "occluded": "hidden or cut-off object",
    "confusion": "similar classes",
    "shift": "unfamiliar image",
}


@dataclass(slots=True)
class Card:
    """A group as a card, with some of its errors.

    Attributes:
        group: The group.
        share: Share of the group in all errors.
        gain: Measured gain of its action in words; empty if it was not measured.
        command: Command that applies the action; empty if there is none.
        tiles: Up to four errors, each with anchor, picture, name, and whether its pixels are shown as squares.
        inside: Number of its errors in the gallery.
        second: Other causes that its errors may have, in words.
        all: Anchor and name of all its errors in the gallery.
        predicted: Class that at least 90 % of these errors are predicted as; None if there is none.
    """

    group: Group
    share: str
    gain: str
    command: str
    tiles: list[tuple[str, str, str, bool]] = field(default_factory=list)
    inside: int = 0
    second: str = ""
    all: list[tuple[str, str]] = field(default_factory=list)
    predicted: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The next step for the user, with a filter of the gallery or a command."""

    text: str
    filter: str = ""
    link: str = ""
    command: str = ""


def cards(verdicts: Verdicts | None, cases: Sequence[ErrorView]) -> list[Card]:
    """Make a card for each group."""
    if verdicts is None:
        return []
    by_item = {item: case for case in cases for item in case.items}
    made = []
    for group in verdicts.groups:
        members = list({id(by_item[item]): by_item[item] for item in group.members if item in by_item}.values())
        gain, command = _gain(group)
        tiles = [(case.anchor, case.picture, case.keys[0], case.small) for case in members[:PICTURES]]
        links = [(case.anchor, case.keys[0]) for case in members]
        share = percent(group.share)
        made.append(
            Card(group, share, gain, command, tiles, len(members), _second(group, members), links, _shared(members))
        )
    return made


def _shared(members: Sequence[ErrorView]) -> int | None:
    """Return the prediction that nearly all of these errors share."""
    ranked = Counter(case.predicted for case in members).most_common(1)
    return ranked[0][0] if ranked and ranked[0][1] >= 0.9 * len(members) else None


def _second(group: Group, members: Sequence[ErrorView]) -> str:
    """Count the causes of the members that are not that of the group."""
    others: dict[str, int] = {}
    for case in members:
        if case.why is not None and case.why.mark.cause not in (group.cause, UNDETERMINED):
            others[case.why.mark.cause] = others.get(case.why.mark.cause, 0) + 1
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{cause} ({number:,})" for cause, number in ranked[:2]])


def _gain(group: Group) -> tuple[str, str]:
    """Say what the best action of a group was measured to gain."""
    arms: Mapping[str, Mapping] = {
        row["arm"]: row for row in group.advice if not row["advised"] or row["arm"] == "action"
    }
    action, sham = arms.get("action"), arms.get("sham")
    if action is None or not action["n_held"]:
        return "", ""
    found = wilson(int(action["mended"]), int(action["n_held"]))
    text = (
        f"{action['mended']:,} of {count(action['n_held'], 'held-out error')} avoided (95 % interval {interval(found)})"
    )
    if sham is not None and sham["n_held"]:
        text += f"; a control of equal strength avoids {sham['mended']:,} of {sham['n_held']:,}"
    broken = action["negative_flips"]
    if broken is not None:
        text += f"; {count(broken, 'correct prediction')} lost"
    command = action["command"] or ""
    if not action["advised"]:  # it is not what the card says to do, so it is named
        words = action["action"] if command.startswith("whywrong ") else command or action["action"]
        return f"Also tried: {shown(words)}. {text}. The gain is too small to advise it.", ""
    text = f"Measured: {text}"
    return f"{text}.", command if command.startswith("whywrong ") else ""  # a step in words is the action itself


def cause_sentences(verdicts: Verdicts) -> list[str]:
    """Write one paragraph that counts errors with a tested, a suspected and no cause."""
    tested: Counter[str] = Counter()
    looks: Counter[str] = Counter()
    for (cause, outcome), n in verdicts.causes.items():
        if outcome == "supported":
            tested[cause] += n
        elif cause != UNDETERMINED:
            looks[cause] += n
    sentences = []
    if tested:
        sentences.append(f"A test supports the cause of {count(tested.total(), 'error')}: {_counted(tested)}.")
    else:
        sentences.append("No test supports a cause.")
    if looks:
        sentences.append(f"{looks.total():,} more have a suspected cause that is not confirmed: {_counted(looks)}.")
    if verdicts.numbers.undetermined:
        sentences.append(f"{verdicts.numbers.undetermined:,} are undetermined.")
    return [" ".join(sentences)]


def _counted(causes: Counter[str]) -> str:
    ranked = sorted(causes.items(), key=_most)
    parts = [f"{SHORT.get(cause, cause)} ({n:,})" for cause, n in ranked[:NAMED]]
    rest = sum(n for _, n in ranked[NAMED:])
    return listed([*parts, f"others ({rest:,})"] if rest else parts)


def groups_reading(made: Sequence[Card]) -> str:
    """State the number of groups, and how many of them are confirmed by a test."""
    tested = sum(not card.group.suspected for card in made)
    text = f"{count(len(made), 'group')}, {tested:,} of them confirmed by a test"
    return (
        f"{text}. The others are called suspected. An error can be in several groups."
        if tested < len(made)
        else f"{text}."
    )


def causes_shown(cases: Sequence[ErrorView]) -> list[tuple[str, int]]:
    """Count the errors of the gallery by cause, most frequent first."""
    numbers: dict[str, int] = {}
    for case in cases:
        if case.why is not None:
            numbers[case.why.mark.cause] = numbers.get(case.why.mark.cause, 0) + 1
    return sorted(numbers.items(), key=_most)


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def next_step(summary: RunSummary, verdicts: Verdicts | None, made: Sequence[Card], doubts: Sequence[Doubt]) -> Step:
    """Choose the next step for the user."""
    if doubts and doubts[0].serious:
        return Step(f"{doubts[0].title}. {doubts[0].action}")
    if summary.read == 0:
        return Step("Start or resume the run, then write the report again.")
    if not summary.labelled:
        return Step("Add labels to the data and diagnose it again into a new folder.")
    if not summary.errors:
        return Step(
            "No error was found. Test on more or harder images: with this many images the true error rate may still be"
            " {percent(1 - summary.accuracy.low)}."
        )
    if verdicts is None:
        return Step("The causes of the errors were not tested yet. Run:", command=COMMAND)
    for card in made:
        if card.command:
            return Step(
                card.group.action, filter=f"group={card.group.number}", link="Show the errors", command=card.command
            )
    for card in made:
        if card.group.action and card.inside:
            link = f"Show the {sig(card.inside)}" if card.inside > 1 else "Show it"
            return Step(card.group.action, filter=f"group={card.group.number}", link=link)
    if verdicts.numbers.labels:
        return Step("Check the labels that look wrong.", filter="cause=label", link="Show them")
    return Step(
        "No group stands out. Start with the errors that the model is most confident about.",
        filter="order=sure",
        link="Show them",
    )
