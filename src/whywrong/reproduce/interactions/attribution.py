"""Claim C7, about the orders at which an attack lowers the value of the true class.

By efficiency, v(N) - v(0) is the sum of the contributions of single players and of all interactions, those of order s
with weight c_s = n - 1 - s on the second difference of the mean curve F. Summed over a band of orders it telescopes to
F at the ends of the band, so that bands are attributed exactly, from few sizes.

Source: Ren et al. 2021 (order attribution of an attack); the summation by parts is ours.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.statistics import Interval, resampled_mean
from whywrong.explain.interactions.coalitions import permutations
from whywrong.explain.interactions.random_streams import PERMUTATIONS
from whywrong.explain.masking.games import Game
from whywrong.reproduce.interactions.claim_groups import measured_groups
from whywrong.reproduce.interactions.config import InteractionsClaimConfig
from whywrong.reproduce.interactions.order_bands import band_of
from whywrong.reproduce.interactions.several_targets import SeveralTargets
from whywrong.reproduce.interactions.wording import CLASS_WORDS
from whywrong.reproduce.protocol import ClaimContext, ClaimResult, Part, both, bounds_in_words, claim, verdicts_of

PARTS = ("alone", "low", "mid", "high")
_CHUNK = 16


@claim
def attacks_act_on_high_orders(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C7, that attacks lower the value at high orders.

    The value is that of the true class. The second half of the claim, that fewer low-order interactions cancel in
    adversarially trained models, needs a comparison of models: the disentanglement at low orders is among the numbers.
    """
    classifier, config = context.classifier, context.config
    measured = measured_groups(context, ("correct", "adv_mis"))
    attacked = measured.groups["adv_mis"]
    group, source = attacked.group, attacked.source_x
    assert source is not None, "attacked images have sources"
    players = config.of_measure(classifier, source).players
    parts: list[Tensor] = []
    with classifier:
        for x in (source, group.x):
            for chunk in torch.arange(len(group)).split(_CHUNK):
                game = SeveralTargets(
                    classifier,
                    x[chunk.to(x.device)],
                    group.y[chunk],
                    targets=group.target[chunk, None],
                    value=config.value,
                    config=players,
                )
                parts.append(band_parts(game, group.keys[chunk], config.permutations))
                context.report_progress("attribute", sum(map(len, parts)), 2 * len(group))
    before, after = torch.cat(parts).numpy().reshape(2, len(group), len(PARTS), -1)
    fall = before - after  # (G, parts, V)
    mean_fall = resampled_mean(fall, config.draws, config.seed)
    numbers: dict[str, Any] = {}
    effects: dict[str, Interval] = {}
    for v, word in enumerate(CLASS_WORDS[:2]):
        numbers[f"change_{word}"] = -float(mean_fall.value[:, v].sum())
        shares = mean_fall.map(partial(_shares, v=v))  # (parts,)
        for name, share in zip(PARTS, shares.intervals(), strict=True):
            numbers |= {
                f"share_{name}_{word}": share.value,
                f"share_{name}_{word}_from": share.low,
                f"share_{name}_{word}_to": share.high,
            }
        # The highest fifth of orders against the lowest fifth, and against a fifth between.
        lead = shares.map(lambda part: np.stack([part[:, 3] - part[:, 1], part[:, 3] - part[:, 2] / 3], 1))
        rivals = lead.intervals()
        effects[word] = min(rivals, key=lambda interval: interval.value)
        numbers[f"verdict_{word}"] = both(*verdicts_of([Part(*pair) for pair in zip(rivals, lead.p(), strict=True)]))
        low = band_of(measured.orders, measured.players)[0]
        for name in ("correct", "adv_mis"):
            rows = measured.groups[name].own.disentanglement[:, low, v]
            numbers[f"disentanglement_low_{name}_{word}"] = float(np.nanmean(rows))
    numbers |= {"groups": measured.settings, "players": measured.players, "permutations": config.permutations}
    true, predicted = effects["true"], effects["predicted"]
    shares = ", ".join(f"{name} {100 * numbers[f'share_{name}_true']:.0f} %" for name in PARTS)
    kind = config.value.replace("_", "-")
    sentence = (
        f"the attack changes the {kind} of the true class by {numbers['change_true']:+.3g} in {len(group)} images; "
        f"by order: {shares} (players alone, r <= 0.2, between, r >= 0.8). The share of the highest fifth of orders "
        f"exceeds the largest other, of the lowest fifth or of a fifth between, by {100 * true.value:.0f} points "
        f"({bounds_in_words(100 * true.low, 100 * true.high, '{:.0f}')}); in the {kind} of the predicted class by "
        f"{100 * predicted.value:.0f} points ({bounds_in_words(100 * predicted.low, 100 * predicted.high, '{:.0f}')})."
    )
    return ClaimResult(
        name="",
        title="",
        effect=true.value,
        effect_name=f"share of the change of {measured.names[0]} in the highest fifth of the orders minus any other",
        interval=(true.low, true.high),
        n=len(group),
        verdict=both(numbers["verdict_true"], numbers["verdict_predicted"]),
        sentence=sentence,
        numbers=numbers,
        drawing={
            "parts": list(PARTS),
            "names": list(measured.names[:2]),
            "settings": measured.settings,
            "shares": {
                name: [[numbers[f"share_{part}_{word}{end}"] for end in ("", "_from", "_to")] for part in PARTS]
                for name, word in zip(measured.names, CLASS_WORDS[:2], strict=False)
            },
            "n": len(group),
        },
    )


def _shares(fall: np.ndarray, v: int) -> np.ndarray:
    """Divide the parts (D, parts, V) of a drop by the whole, as (D, parts)."""
    return fall[:, :, v] / fall[:, :, v].sum(1, keepdims=True)


def band_parts(game: Game, keys: Tensor, draws: int) -> Tensor:
    """Split v(N) - v(0) into single players and three bands of orders.

    Returns (B, 4, V) float64: single players, then interactions of low, middle and high orders. Their sum is exact for
    any draws: the mean curve is estimated, but its telescoping sum is not.

    Args:
        game: The values.
        keys: (B,) int64, seed of each image's permutations.
        draws: Permutations, whose nested sets give F at the sizes needed.
    """
    n = game.players
    # orders a..b-1 of the bands r <= 0.2, between, r >= 0.8
    ends = (0, math.floor(0.2 * (n - 2) + 1e-9) + 1, math.floor(0.8 * (n - 2) + 1e-9), n - 1)
    sizes = sorted({size + more for size in ends for more in (0, 1)} | {0, 1})
    inner = [size for size in sizes if 0 < size < n]
    place = permutations(keys, n, draws, PERMUTATIONS)  # (B, draws, n)
    sets = place[:, :, None] < torch.tensor(inner)[:, None]  # (B, draws, sizes, n)
    found = game(sets.flatten(1, 2)).unflatten(1, sets.shape[1:3]).mean(1)  # (B, sizes, V)
    whole = game(torch.stack([torch.zeros(n), torch.ones(n)]).bool().expand(game.images, 2, -1))
    F = {size: found[:, place] for place, size in enumerate(inner)} | {0: whole[:, 0], n: whole[:, 1]}

    def slope(size: int) -> Tensor:
        return F[size + 1] - F[size]

    bands = [
        (n - b) * slope(b) - (n - 1 - a) * slope(a) + F[b] - F[a + 1] if b > a else torch.zeros_like(F[0])
        for a, b in pairwise(ends)
    ]
    return torch.stack([n * slope(0), *bands], 1)
