"""Claims C1, C2, C3, C5 and C6, about the differences of profiles between groups of images.

Source: Sumiyasu et al. 2022, arXiv 2210.03349 (C1 to C3, C5; only the abstract could be read, so bands, attack and
tests are ours); Deng et al. 2022 (C6).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from whywrong.core.statistics import Interval, Resampled
from whywrong.reproduce.interactions.claim_groups import measured_groups
from whywrong.reproduce.interactions.compare_groups import Comparison, Effect, compare, curves_of, group_draws
from whywrong.reproduce.interactions.config import InteractionsClaimConfig
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups
from whywrong.reproduce.interactions.order_bands import BANDS, within
from whywrong.reproduce.interactions.vectors import shape_vectors, vectors_differ
from whywrong.reproduce.interactions.wording import (
    CLASS_WORDS,
    common,
    decide_effect,
    drawing_of,
    moved,
    of_class,
    percent,
    percent_of,
    signed,
    spread,
)
from whywrong.reproduce.protocol import (
    ClaimContext,
    ClaimResult,
    Part,
    Verdict,
    both,
    bounds_in_words,
    claim,
    claim_result,
    verdicts_of,
)

ERRORS = ("clean_mis", "adv_mis", "corrupt_mis")


@claim
def attacks_raise_high_orders(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C1, that attacks strengthen interactions of high orders.

    Attacked images that are misclassified are compared with their sources.
    """
    measured = measured_groups(context, ("correct", "adv_mis"))
    return _one_band(measured, context.config, "adv_mis", "high", above=True)


@claim
def corruption_lowers_low_orders(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C2, that corruptions weaken interactions of low orders.

    Corrupted images that are misclassified are compared with their sources.
    """
    needed = ("correct", "corrupt_mis")
    measured = measured_groups(context, needed, useful=("control",))
    return _one_band(measured, context.config, "corrupt_mis", "low", above=False)


@claim
def kinds_of_error_differ(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C3, that the profile differs between kinds of misclassification."""
    measured = measured_groups(context, ("correct", *ERRORS))
    return _vectors(measured, context.config, ERRORS, "J", "the form J of the profile")


@claim
def signs_differ(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C5, that the profile of signs differs between the groups."""
    measured = measured_groups(context, ("correct", *ERRORS))
    return _vectors(measured, context.config, ("correct", *ERRORS), "pos_share", "the share of positive interaction")


@claim
def both_ends_are_high(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C6, that J is highest at the lowest and the highest orders.

    It is compared with r in 0.3..0.7, in correctly classified images.
    """
    measured = measured_groups(context, ("correct",))
    orders, players = measured.orders, measured.players
    ends = (within(orders, players, 0, 0.1), within(orders, players, 0.9, 1))
    middle = within(orders, players, 0.3, 0.7)
    form = group_draws(measured, "correct", "J", draws=context.config.draws, seed=context.config.seed)  # (R, V)

    def rise_at(end: np.ndarray, v: int) -> Resampled:
        return form.map(lambda J: (J[:, end, v].mean(1) - J[:, middle, v].mean(1))[:, None])

    numbers: dict[str, Any] = {}
    verdicts: dict[str, Verdict] = {}
    rises: dict[tuple[str, str], Interval] = {}
    for v, word in enumerate(CLASS_WORDS[:2]):
        parts: list[Part] = []
        for name, end in zip(("low", "high"), ends, strict=True):
            rise = rise_at(end, v)
            [rises[word, name]] = rise.intervals()
            parts.append(Part(rises[word, name], float(rise.p()[0])))
            numbers |= spread(f"rise_at_{name}_orders_{word}", rises[word, name])
        verdicts[word] = both(*verdicts_of(parts))
        numbers[f"verdict_{word}"] = verdicts[word]
    smaller = min(("low", "high"), key=lambda name: rises["true", name].value)
    effect = rises["true", smaller]
    sentence = (
        f"in {len(measured.groups['correct'].group)} correctly classified images, J of {of_class(measured, 0)} is "
        f"{signed(rises['true', 'low'])} at orders r <= 0.1 and {signed(rises['true', 'high'])} at r >= 0.9, each "
        f"against r in 0.3..0.7; for the runner-up, {signed(rises['predicted', 'low'])} and "
        f"{signed(rises['predicted', 'high'])}."
    )
    return claim_result(
        effect=effect,
        effect_name=f"J at orders r {'<= 0.1' if smaller == 'low' else '>= 0.9'} minus J at r in 0.3..0.7, "
        f"{measured.names[0]}",
        n=len(measured.groups["correct"].group),
        verdict=verdicts["true"],
        sentence=sentence,
        numbers={**numbers, **common(measured)},
        drawing=drawing_of(measured, context.config, ("correct",), "J", None),
    )


def _one_band(
    measured: MeasuredGroups, config: InteractionsClaimConfig, group: str, band: Literal["low", "high"], *, above: bool
) -> ClaimResult:
    """Test a claim about one band of orders in one group.

    The group is paired with its sources, and both classes are tested.
    """
    paired = compare(measured, group, "source", draws=config.draws, seed=config.seed)
    unpaired = compare(measured, group, "correct", draws=config.draws, seed=config.seed)
    sources = curves_of(measured, group, source=True, draws=config.draws, seed=config.seed)
    numbers: dict[str, Any] = {}
    verdicts: dict[str, Verdict] = {}
    for word, name in zip(CLASS_WORDS, measured.names, strict=True):
        effect = paired.bands["A"][name][band]
        level = sources.bands["A"][name][band].value
        verdicts[word] = decide_effect(effect, above=above)
        numbers |= spread(f"A_{word}", effect)
        numbers |= {f"A_{word}_p_holm": effect.p_holm, f"A_{word}_percent": percent_of(effect.value, level)}
        for statistic in ("J", "strength", "A_scaled"):
            numbers |= spread(f"{statistic}_{word}", paired.bands[statistic][name][band])
        numbers |= spread(f"A_{word}_against_correct", unpaired.bands["A"][name][band])
        numbers[f"verdict_{word}"] = verdicts[word]
    numbers |= common(measured, group)
    control, aside = _control(measured, config, band) if group == "corrupt_mis" else (None, "")
    if control is not None:
        for word, name in zip(CLASS_WORDS, measured.names, strict=True):
            numbers |= spread(f"A_{word}_control", control.bands["A"][name][band])
    first, second = (paired.bands["A"][name][band] for name in measured.names[:2])
    verdict = both(verdicts["true"], verdicts["predicted"])
    where = "high orders (r >= 0.8)" if band == "high" else "low orders (r <= 0.2)"
    split = "" if verdicts["true"] == verdicts["predicted"] else " The answer depends on the class."
    debiased = [decide_effect(paired.bands["strength"][name][band], above=above) for name in measured.names[:2]]
    if debiased != [verdicts["true"], verdicts["predicted"]]:
        split += (
            f" By the strength without sampling noise it is: {debiased[0]} for the true class, {debiased[1]} for the "
            "predicted one."
        )
    sentence = (
        f"in {paired.n} images of {group}, each against its own source, the mean size A of interactions at {where} "
        f"{moved(first, numbers['A_true_percent'])} in {of_class(measured, 0)} and "
        f"{moved(second, numbers['A_predicted_percent'])} in {of_class(measured, 1)}.{split}{aside}"
    )
    return claim_result(
        effect=first,
        effect_name=f"change of A at {where}, {measured.names[0]}, paired with the source",
        n=paired.n,
        verdict=verdict,
        sentence=sentence,
        numbers=numbers,
        drawing=drawing_of(measured, config, (group,), "A", paired, control=control, band=band),
    )


def _control(measured: MeasuredGroups, config: InteractionsClaimConfig, band: str) -> tuple[Comparison | None, str]:
    """Measure the effect of the same corruptions on images that stay correct.

    The effect is the difference from their sources; a sentence describes it.
    """
    if "control" not in measured.groups or len(measured.groups["control"].group) < 2:
        return None, ""
    paired = compare(measured, "control", "source", draws=config.draws, seed=config.seed)
    sources = curves_of(measured, "control", source=True, draws=config.draws, seed=config.seed)
    first, second = (
        moved(paired.bands["A"][name][band], percent_of(paired.bands["A"][name][band].value, level))
        for name in measured.names[:2]
        for level in [sources.bands["A"][name][band].value]
    )
    return paired, (
        f" In {paired.n} images that stay right under the same corruptions it {first.rstrip(',')}, and, for the "
        f"runner-up, {second.rstrip(',')}: what is alike in both comes with the corruption, not with the error."
    )


def _vectors(
    measured: MeasuredGroups, config: InteractionsClaimConfig, groups: tuple[str, ...], statistic: str, words: str
) -> ClaimResult:
    """Test a claim that a statistic differs between groups.

    The statistic is a vector over the orders.
    """
    numbers: dict[str, Any] = {}
    outcomes: dict[str, Effect] = {}
    for v, word in enumerate(CLASS_WORDS[:2]):
        for name in dict.fromkeys((statistic, "A" if statistic == "J" else statistic)):
            vectors = [shape_vectors(measured.groups[group].own, name, v) for group in groups]
            found = vectors_differ(vectors, draws=config.draws, seed=config.seed)
            numbers |= spread(f"{name}_explained_{word}", found) | {f"{name}_p_{word}": found.p}
            if name == statistic:
                outcomes[word] = found
    profiles = {group: curves_of(measured, group, draws=config.draws, seed=config.seed) for group in groups}
    for group, profile in profiles.items():
        for v, word in enumerate(CLASS_WORDS[:2]):
            for band in BANDS:
                numbers[f"{statistic}_{group}_{band}_{word}"] = profile.bands[statistic][measured.names[v]][band].value
    decided = verdicts_of([Part(outcome, outcome.p) for outcome in outcomes.values()])
    verdicts: dict[str, Verdict] = dict(zip(outcomes, decided, strict=True))
    numbers |= {f"verdict_{word}": verdict for word, verdict in verdicts.items()} | common(measured)
    true, predicted = outcomes["true"], outcomes["predicted"]
    total = sum(len(measured.groups[group].group) for group in groups)
    sentence = (
        f"{words}, over the orders, differs between {', '.join(groups)} ({total} images): which group an image is from "
        f"explains {percent(true.value)} of its variance in {of_class(measured, 0)} "
        f"({bounds_in_words(100 * true.low, 100 * true.high, '{:.3g} %')}, permutation p {true.p:.2g}) "
        f"and {percent(predicted.value)} in {of_class(measured, 1)} (p {predicted.p:.2g})."
    )
    if both(*verdicts.values()) != "holds":
        sentence = sentence.replace("differs between", "was not shown to differ between", 1)
    return claim_result(
        effect=true,
        effect_name=f"share of the variance of {statistic}, over orders, that the group explains, {measured.names[0]}",
        n=total,
        verdict=both(*verdicts.values()),
        sentence=sentence,
        numbers=numbers,
        drawing=drawing_of(measured, config, groups, statistic, None),
    )
