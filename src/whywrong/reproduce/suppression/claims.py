"""Claims of promotion and suppression as tests on any model and data.

Source: Xu et al. 2019, arXiv 1904.02057, of which only the abstract could be read; bounds are ours,
docs/methods/suppression.md.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whywrong.core.statistics import Interval, exact_share, mean, mean_p, share_p
from whywrong.explain.class_maps import class_maps
from whywrong.explain.patch_groups.grad_cam import pooled
from whywrong.explain.suppression.interpretability import interpretability, of_other_images
from whywrong.explain.suppression.measures import TYPES, TypeShares
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
from whywrong.reproduce.suppression.measuring import Kind, SuppressionClaimConfig, measured

Context = ClaimContext[SuppressionClaimConfig]
NOTHING = Interval(float("nan"), float("nan"), float("nan"))
AREA = 0.3


@claim
def all_types_occur(context: Context) -> ClaimResult:
    """Test C1, that each of three types has a share of the cells of targeted changes."""
    return _types(context, "targeted")


@claim
def errors_show_all_types(context: Context) -> ClaimResult:
    """Test C9, that each of three types has a share of the cells of natural errors."""
    return _types(context, "errors")


def _types(context: Context, kind: Kind) -> ClaimResult:
    found = measured(context, kind)
    least = context.config.least
    name = "smallest mean share of a type of cells"
    if found is None:
        return _nothing(name)
    plain = found.shares.plain.cpu().numpy()
    means = [mean(plain[:, number], bounds=(0.0, 1.0)) for number in range(3)]
    parts = [Part(one, mean_p(plain[:, i], least, bounds=(0.0, 1.0)), least) for i, one in enumerate(means)]
    rarest = min(means, key=lambda one: one.value)
    listed = ", ".join(f"{100 * one.value:.3g} % {TYPES[i]}" for i, one in enumerate(means))
    control = found.control.plain.mean(0).tolist()
    beside = ", ".join(f"{100 * control[i]:.3g} % {TYPES[i]}" for i in range(3))
    return claim_result(
        rarest,
        effect_name=name,
        n=len(plain),
        verdict=both(*verdicts_of(parts)),
        sentence=f"cells of {len(plain):,} changes: {listed}; with random signs: {beside}.",
        numbers={**_numbers(found.shares, ""), **_numbers(found.control, "random_signs_")},
        samples={TYPES[number]: plain[:, number].tolist() for number in range(4)},
    )


@claim
def strong_cells_undo(context: Context) -> ClaimResult:
    """Test C2, that removing the strongest quarter of the cells undoes more changes than a random one."""
    name = "share undone by the strongest quarter of the cells, minus that of random ones"
    found = measured(context, "targeted")
    if found is None:
        return _nothing(name)
    still = found.curves.reads(found.pairs.b)[:, 0, :, 2]  # (N, order)
    top, bottom, norm, random = still.unbind(1)
    words = (
        f"without the strongest quarter of the cells {_percent(top)} of {len(top):,} changes still reach the target; "
        f"random {_percent(random)}, weakest {_percent(bottom)}, largest norm {_percent(norm)}"
    )
    return _gap(name, random - top, words, {"top": top, "bottom": bottom, "norm": norm, "random": random})


@claim
def strong_cells_suffice(context: Context) -> ClaimResult:
    """Test C3, that the strongest half of the cells alone keeps most changes."""
    name = "share of changes of which the strongest half of the cells is enough"
    found, bound = measured(context, "targeted"), context.config.enough
    if found is None:
        return _nothing(name)
    kept = found.curves.reads(found.pairs.b)[:, 1, :, 3]
    top, _, norm, random = kept.unbind(1)
    hits, n = int(top.sum()), len(top)
    share = exact_share(hits, n)
    return claim_result(
        share,
        effect_name=name,
        n=n,
        verdict=both(*verdicts_of([Part(share, share_p(hits, n, bound), bound)])),
        sentence=f"the strongest half of the cells is enough for {_percent(top)} of {n:,} changes; the half of largest"
        f" norm for {_percent(norm)}, random halves for {_percent(random)}.",
        numbers={"top": float(top.mean()), "norm": float(norm.mean()), "random": float(random.mean())},
    )


@claim
def change_lies_in_the_map(context: Context) -> ClaimResult:
    """Test C4, that the map of the target on the changed image holds more of the change than other images' maps."""
    name = "interpretability score at 30 % of the image, minus that with the maps of other images"
    found = measured(context, "targeted")
    if found is None or len(found.pairs) < 2:
        return _nothing(name)
    pairs = found.pairs
    with context.classifier:
        maps = class_maps(context.classifier, pairs.alt, pairs.b[:, None]).maps
    delta = pairs.alt - pairs.ref
    own = interpretability(delta, maps, (AREA,)).score[:, 0, 0]
    other = of_other_images(delta, maps, (AREA,), seed=context.config.seed)[:, 0, 0]
    words = f"the score is {float(own.nanmean()):.3g}, with the maps of other images {float(other.nanmean()):.3g}"
    return _gap(name, own - other, words, {"own": own, "others": other})


@claim
def effects_follow_maps(context: Context) -> ClaimResult:
    """Test C5, that each effect correlates more with the map of its own class than with that of the other."""
    name = "smaller gap between the rank correlations of an effect with its own map and the other one"
    found = measured(context, "targeted")
    if found is None:
        return _nothing(name)
    pairs, side = found.pairs, context.config.grid
    with context.classifier:
        lowered = class_maps(context.classifier, pairs.ref, pairs.a[:, None]).maps[:, 0]
        raised = class_maps(context.classifier, pairs.alt, pairs.b[:, None]).maps[:, 0]
    lowered, raised = (pooled(maps.double(), (side, side)).flatten(1) for maps in (lowered, raised))
    own = {"s": _rank(found.s, lowered), "g": _rank(found.g, raised)}
    cross = {"s": _rank(found.s, raised), "g": _rank(found.g, lowered)}
    gaps = {key: _known(own[key] - cross[key]) for key in own}
    means = {key: mean(gap, bounds=(-2.0, 2.0)) for key, gap in gaps.items()}
    parts = [Part(means[key], mean_p(gap, 0.0, bounds=(-2.0, 2.0))) for key, gap in gaps.items()]
    smaller = min(means.values(), key=lambda one: one.value)
    numbers = {
        f"{key}_{what}": float(v.nanmean()) for what, of in (("own", own), ("other", cross)) for key, v in of.items()
    }
    sentence = (
        f"suppression correlates {numbers['s_own']:.2g} with its own map and {numbers['s_other']:.2g} with the other; "
        f"promotion {numbers['g_own']:.2g} and {numbers['g_other']:.2g}."
    )
    return claim_result(
        smaller, effect_name=name, n=len(pairs), verdict=both(*verdicts_of(parts)), sentence=sentence, numbers=numbers
    )


def _gap(name: str, difference: Tensor, words: str, values: dict[str, Tensor]) -> ClaimResult:
    known = _known(difference)
    effect = mean(known, bounds=(-1.0, 1.0))
    verdict = both(*verdicts_of([Part(effect, mean_p(known, 0.0, bounds=(-1.0, 1.0)))]))
    return claim_result(
        effect,
        effect_name=name,
        n=len(known),
        verdict=verdict,
        sentence=f"{words} (difference {effect.value:.2g}, {bounds_in_words(effect.low, effect.high)}).",
        numbers={key: float(value.nanmean()) for key, value in values.items()},
        samples={"difference": known.tolist()},
    )


def _rank(one: Tensor, other: Tensor) -> Tensor:
    """Compute the rank correlation (N,) over cells; NaN if either is constant."""
    ranks = [values.argsort(dim=1, stable=True).argsort(dim=1).double() for values in (one, other.to(one))]
    centred = [rank - rank.mean(1, keepdim=True) for rank in ranks]
    found = (centred[0] * centred[1]).sum(1) / (centred[0].norm(dim=1) * centred[1].norm(dim=1))
    flat = [(values.amax(1) == values.amin(1)) for values in (one, other)]
    return found.masked_fill(flat[0] | flat[1], torch.nan)


def _known(values: Tensor) -> np.ndarray:
    return values[values.isfinite()].cpu().numpy()


def _numbers(shares: TypeShares, prefix: str) -> dict[str, float]:
    plain = dict(zip(TYPES, shares.plain.mean(0).tolist(), strict=True))
    weighted = dict(zip(TYPES[:3], shares.weighted.nanmean(0).tolist(), strict=True))
    found = {f"{prefix}{key}": value for key, value in plain.items()}
    return found | {f"{prefix}weighted_{key}": value for key, value in weighted.items()}


def _percent(values: Tensor) -> str:
    return f"{100 * float(values.mean()):.3g} %"


def _nothing(name: str) -> ClaimResult:
    return claim_result(
        NOTHING, effect_name=name, n=0, verdict="undecided", sentence="no changed images: nothing to measure."
    )
