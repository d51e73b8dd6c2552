"""Claims of patches and affine transforms as tests on any models and data.

Sources: Gu, Tresp and Qin 2022, arXiv 2111.10659, for patches; Gu 2023, arXiv 2301.01343, for the affine order.
Directions come from the abstracts, bounds are ours, docs/guides/reproduce.md.
"""

from __future__ import annotations

import numpy as np

from whywrong.core.statistics import Interval, mean, mean_p
from whywrong.reproduce.patches.measuring import PatchClaimConfig, RowAnswers, answers
from whywrong.reproduce.protocol import (
    ClaimContext,
    ClaimResult,
    Part,
    both,
    bounds_in_words,
    claim,
    claim_result,
    verdicts_of,
)

Context = ClaimContext[PatchClaimConfig]
ENDS = (-1.0, 1.0)


@claim
def natural_patches(context: Context) -> ClaimResult:
    """Test P1, that a corrupted patch fools the second model less than the first."""
    return _between(context, "patch_natural", first_more=True)


@claim
def adversarial_patches(context: Context) -> ClaimResult:
    """Test P2, that an adversarial patch fools the second model more."""
    return _between(context, "patch_adversarial", first_more=False)


@claim
def affine_order(context: Context) -> ClaimResult:
    """Test A1, that affine transforms fool the second model more."""
    return _between(context, "affine_random", first_more=False)


@claim
def attention_is_drawn(context: Context) -> ClaimResult:
    """Test P3, that attention on the patch rises under attack alone."""
    right = answers(context, "clean", 0).right("clean")
    changes = {}
    for name in ("patch_adversarial", "patch_natural"):
        part = answers(context, name, 0).parts[name]
        rise = (part.mass - part.clean_mass).double().mean(1)[right]
        changes[name] = rise[rise.isfinite()].numpy()
    drawn, natural = (_mean(changes[name]) for name in ("patch_adversarial", "patch_natural"))
    parts = [
        Part(drawn, _p(changes["patch_adversarial"])),
        Part(natural, _p(changes["patch_natural"]), above=False),
    ]
    return claim_result(
        drawn,
        effect_name="rise of the share of attention on an adversarial patch",
        n=len(changes["patch_adversarial"]),
        verdict=both(*verdicts_of(parts)),
        sentence=f"attention on the patch changes by {drawn.value:+.3g} under attack "
        f"({bounds_in_words(drawn.low, drawn.high)}) and by {natural.value:+.3g} under corruption "
        f"({bounds_in_words(natural.low, natural.high)}).",
        numbers={"natural_rise": natural.value, "natural_low": natural.low, "natural_high": natural.high},
    )


@claim
def smoothing_helps(context: Context) -> ClaimResult:
    """Test P4, that smoothed attention lowers the fooling rate at a small loss.

    Each rate counts the images that its own model classifies correctly; the difference is over those of both.
    """
    heat = f"t{context.config.temperature:g}"
    plain, attack = (answers(context, name, 0) for name in ("clean", "patch_adversarial"))
    smooth = answers(context, "patch_temperature", 0)
    before, after = plain.right("clean"), smooth.right(f"clean_{heat}")
    shared = before & after
    gain = (attack.fooled("patch_adversarial") - smooth.fooled(f"patch_adversarial_{heat}"))[shared].numpy()
    loss = (after.double() - before.double()).numpy()
    effect, change = _mean(gain), _mean(loss)
    p = mean_p(loss, -context.config.loss, bounds=ENDS) if len(loss) else float("nan")
    verdict = both(*verdicts_of([Part(effect, _p(gain)), Part(change, p, -context.config.loss)]))
    return claim_result(
        effect,
        effect_name="fall of the fooling rate of adversarial patches with smoothed attention",
        n=len(gain),
        verdict=verdict,
        sentence=f"at temperature {context.config.temperature:g} adversarial patches fool "
        f"{100 * effect.value:.3g} points less ({bounds_in_words(effect.low, effect.high)}); "
        f"accuracy changes by {100 * change.value:+.3g} points.",
        numbers={"accuracy_change": change.value, "accuracy_low": change.low, "accuracy_high": change.high},
    )


def _between(context: Context, row: str, *, first_more: bool) -> ClaimResult:
    """Compare the rates of two models over the images that both classify correctly."""
    found: list[RowAnswers] = [answers(context, row, own) for own in (0, 1)]
    rights = [answers(context, "clean", own).right("clean") for own in (0, 1)]
    both_right = rights[0] & rights[1]
    rates = [one.fooled(row)[both_right].numpy() for one in found]
    values = rates[0] - rates[1] if first_more else rates[1] - rates[0]
    effect = _mean(values)
    more, less = ("first", "second") if first_more else ("second", "first")
    shares = [float(rate.mean()) if len(rate) else float("nan") for rate in rates]
    return claim_result(
        effect,
        effect_name=f"fooling rate of the {more} model minus that of the {less}",
        n=len(values),
        verdict=verdicts_of([Part(effect, _p(values))])[0],
        sentence=f"{100 * shares[0]:.3g} % of the trials fool the first model and {100 * shares[1]:.3g} % the second, "
        f"over {len(values):,} images that both classify correctly ({bounds_in_words(effect.low, effect.high)}).",
        numbers={"first": shares[0], "second": shares[1]},
        samples={"first": rates[0].tolist(), "second": rates[1].tolist()},
    )


def _mean(values: np.ndarray) -> Interval:
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    return mean(values, bounds=ENDS) if len(values) else nothing


def _p(values: np.ndarray) -> float:
    return mean_p(values, 0.0, bounds=ENDS) if len(values) else float("nan")
