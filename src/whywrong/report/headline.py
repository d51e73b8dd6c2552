"""What the numbers of a run say first: the headline, what to look at, and the strip of four."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.core.statistics import wilson
from whywrong.report.numbers import count, duration, grey_levels, interval, percent, sig
from whywrong.report.summary import CONFIDENT, Facts, Places
from whywrong.report.tables import Names


def headline(facts: Facts, names: Names) -> tuple[str, list[str]]:
    """The first sentence, and the sentences under it: true, with numbers, and only what was measured."""
    if facts.read == 0:
        return "Nothing has been read yet.", [f"{count(facts.items, 'image')} are listed."]
    if facts.labelled == 0:
        return (
            f"{count(facts.read, 'image')} were read; none has a label.",
            ["Wrong means unlike the label, so nothing can be called wrong here. Give labels to find the errors."],
        )
    more: list[str] = []
    if facts.left_out:
        more.append(f"{count(facts.read, 'image')} of {facts.items:,} were drawn at random and classified.")
    if facts.waiting:
        more.append(f"The run is not finished: {facts.waiting:,} of {count(facts.items, 'image')} are still to do.")
    elif not facts.complete:
        more.append("The run is not finished: every image is read, but evidence is missing for some errors.")
    if facts.errors == 0:
        first = f"The model misclassifies none of {count(facts.labelled, 'image')}."
        more.append(
            f"With no error in {facts.labelled:,}, the true error rate is probably under"
            f" {percent(1 - facts.accuracy.low)} (95 % interval)."
        )
        return first, more + _unlabelled(facts)
    first = (
        f"The model misclassifies {facts.errors:,} of {count(facts.labelled, 'image')}"
        f" ({percent(facts.errors / facts.labelled)})."
    )
    more += _distance_sentences(facts) + _pair_sentences(facts, names)
    more += _place_sentences(facts) + _patch_sentences(facts)
    return first, more + _unlabelled(facts)


def _distance_sentences(facts: Facts) -> list[str]:
    if facts.distances is None:
        return ["How far each error is from right was not measured: the inverted attack did not run."]
    if not facts.attacked:
        return ["How far each error is from right is not known yet: no fix has been looked for so far."]
    if len(facts.distances) == 0:
        return [f"No fix is known yet for any of the {facts.attacked:,} errors that were tried."]
    median = float(np.median(facts.distances))
    whom = "this error" if facts.fixed == 1 else f"half of the {count(facts.fixed, 'error')} with a known fix"
    sentence = (
        f"{whom[0].upper()}{whom[1:]} would be predicted correctly after a change of at most {grey_levels(median)}"
    )
    sentence += " in any colour value (of 0 to 255)."
    left = facts.attacked - facts.fixed
    if left:
        sentence += f" No fix was found within the budget for {left:,}."
    untried = facts.errors - facts.attacked
    if untried > 0:
        sentence += f" {untried:,} have not been tried."
    return [sentence]


def _pair_sentences(facts: Facts, names: Names) -> list[str]:
    top = facts.pairs[0]
    if top.number == 1:
        if facts.errors == 1:
            return []
        return [f"No confusion occurs twice: the {facts.errors:,} errors are {len(facts.pairs):,} different pairs."]
    return [
        f"Most often, {names[top.label]} is predicted as {names[top.predicted]}: {top.number:,} times"
        f" in {count(top.of, 'image')} of {names[top.label]}."
    ]


def _place_sentences(facts: Facts) -> list[str]:
    places = facts.places
    if places is None or not places.confirmed:
        return []
    which = "1 error is" if places.confirmed == 1 else f"{places.confirmed:,} errors are"
    return [
        f"{which} accounted for by one small place of the image, of {places.asked:,} that were asked; of the places"
        " confirmed about one in ten may be chance."
    ]


def held_out_rate(places: Places) -> str:
    """How often the test of a single place calls images that the model reads right, in one sentence."""
    if not places.held_out or not places.controls:
        return "The test of places could not be tried on images read right: there are too few of them."
    rate = wilson(places.called, places.held_out)
    return (
        f"Of {count(places.held_out, 'image')} read right that were held out and asked for their runner-up,"
        f" {percent(rate.value)} (95 % interval {interval(rate)}) have P at or below 0.1; 10 % are expected."
        f" Errors were compared with {count(places.controls, 'image')} read right."
    )


def advice(facts: Facts) -> str | None:
    """What to look at first; None where nothing stands out."""
    if not facts.suspects:
        return None
    which = "this 1 error" if facts.suspects == 1 else f"these {facts.suspects:,} errors"
    return (
        f"Look at {which} first: at least {percent(CONFIDENT)} confidence, and the label is not among the five best"
        " classes. Perhaps the label is wrong, or the image shows something else as well; that was not tested."
    )


def _patch_sentences(facts: Facts) -> list[str]:
    if facts.enough is None or len(facts.enough) < 5:
        return []
    # Errors without a known group need more patches than any that was found, so the median counts them as well.
    sizes = np.concatenate([facts.enough, np.full(facts.grouped - len(facts.enough), np.inf)])
    median = float(np.median(sizes))
    if not np.isfinite(median):
        return []
    return [
        f"In half of the {facts.grouped:,} errors searched for patch groups, at most {int(median):,} of"
        f" {facts.patches:,} patches shown alone give the same prediction."
    ]


def _unlabelled(facts: Facts) -> list[str]:
    missing = facts.read - facts.labelled
    if not missing:
        return []
    verb, pronoun = ("has", "it is") if missing == 1 else ("have", "they are")
    return [f"{count(missing, 'image')} {verb} no label, so nobody can say whether {pronoun} wrong."]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the strip: what, how much, how sure, and out of what."""

    title: str
    value: str
    certainty: str
    note: str = ""


def strip(facts: Facts) -> list[Figure]:
    """The four numbers under the headline, each with its interval or with what it counts."""
    accuracy = facts.accuracy
    right = facts.labelled - facts.errors
    first = Figure(
        "accuracy",
        percent(accuracy.value),
        f"95 % interval {interval(accuracy)}" if facts.labelled else "no labelled image",
        f"{right:,} of {facts.labelled:,} labelled images",
    )
    extra = [text for n, text in ((facts.failed, "could not be read"), (facts.waiting, "still to do")) if n]
    numbers = [n for n in (facts.failed, facts.waiting) if n]
    second = Figure(
        "errors",
        f"{facts.errors:,}",
        (f"{facts.confident:,}" if facts.confident else "none") + f" with at least {percent(CONFIDENT)} confidence"
        if facts.errors
        else "",
        "; ".join(f"{n:,} {text}" for n, text in zip(numbers, extra, strict=True)),
    )
    if facts.attacked:
        third = Figure(
            "errors with a known fix",
            percent(facts.fixed / facts.attacked),
            f"95 % interval {interval(wilson(facts.fixed, facts.attacked))}",
            f"{facts.fixed:,} of {facts.attacked:,} tried",
        )
    else:
        third = Figure("errors with a known fix", "n/a", "no error to fix" if not facts.errors else "not measured")
    forwards = sum(f for f, _ in facts.passes.values())
    backwards = sum(b for _, b in facts.passes.values())
    explaining = sum(f + b for view, (f, b) in facts.passes.items() if view != "predictions")
    fourth = Figure(
        "passes",
        f"{forwards + backwards:,}",
        f"{forwards:,} forward, {backwards:,} backward"
        + (f"; {sig(explaining / facts.errors)} passes per error" if facts.errors and explaining else ""),
        f"{duration(facts.seconds)} of computing" if facts.seconds is not None else "time was not recorded",
    )
    return [first, second, third, fourth]
