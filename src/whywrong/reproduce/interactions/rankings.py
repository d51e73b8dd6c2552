"""Claim C8, that patches chosen together (MoXI) make and break a decision better than patches ranked one by one.

Source: Sumiyasu et al. 2024, arXiv 2401.03785, section 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from whywrong.core.errors import InputError, ModelError
from whywrong.core.randomness import item_keys
from whywrong.core.statistics import Interval, mean, sign_flip
from whywrong.explain.masking.coarse import coarse_players
from whywrong.explain.masking.values import ValueFunction
from whywrong.explain.patch_groups.game import PatchGame
from whywrong.explain.patch_groups.rankings import DIRECTIONAL, curves, order_of
from whywrong.reproduce.interactions.claim_groups import first_images
from whywrong.reproduce.interactions.config import PatchClaimConfig
from whywrong.reproduce.protocol import ClaimContext, ClaimResult, Part, both, bounds_in_words, claim, verdicts_of

RIVALS = ("shapley", "grad_cam", "rollout")


@claim
def groups_beat_rankings(context: ClaimContext[PatchClaimConfig]) -> ClaimResult:
    """Test claim C8, that patch groups beat rankings of patches.

    With few patches shown or hidden, its insertion curve lies above those of Shapley values, Grad-CAM and rollout, and
    its deletion curve below.
    """
    classifier, config = context.classifier, context.config
    x, y, ids = first_images(classifier, context.data, wrong=0, right=config.limit, progress=context.progress)
    if len(y) < 2:
        raise InputError(f"{len(y)} images are correctly classified: the curves need at least 2")
    keys = item_keys(config.seed, ids, "patch_groups")
    with classifier:
        hits, left_out, players = _curves(context, x, y, keys)
    numbers: dict[str, Any] = {"players": players, "steps": hits["moxi"].shape[2] - 1}
    margins: list[tuple[str, str, Interval]] = []
    parts: list[Part] = []
    for side, word in enumerate(("insertion", "deletion")):
        for name, hit in hits.items():
            numbers[f"{word}_{name}"] = float(hit[side, :, 1:].mean())
            numbers[f"{word}_{name}_last"] = float(hit[side, :, -1].mean())
        for name in [name for name in RIVALS if name in hits]:
            gain = (hits["moxi"] - hits[name])[side, :, 1:].mean(1) * (1 if word == "insertion" else -1)
            margin = mean(gain, bounds=(-1.0, 1.0), draws=config.draws, seed=config.seed)
            margins.append((word, name, margin))
            parts.append(Part(margin, float(sign_flip(gain[:, None], seed=config.seed)[0])))
    for word, name, margin in margins:
        numbers |= {f"{word}_gain_on_{name}": margin.value, f"{word}_gain_on_{name}_from": margin.low}
        numbers[f"{word}_gain_on_{name}_to"] = margin.high
    for name, reason in left_out.items():
        numbers[f"left_out_{name}"] = reason
    word, rival, least = min(margins, key=lambda entry: entry[2].value)
    missing = f" Left out: {', '.join(left_out)}." if left_out else ""
    sentence = (
        f"with up to {100 * config.share:g} % of {players} patches, {len(y)} images: MoXI keeps "
        f"{100 * numbers['insertion_moxi']:.0f} % correctly classified when shown, against "
        f"{_list(numbers, 'insertion', hits)}, and {100 * numbers['deletion_moxi']:.0f} % when hidden, against "
        f"{_list(numbers, 'deletion', hits)}. Smallest advantage: {100 * least.value:+.0f} points over {rival} in "
        f"{word} ({bounds_in_words(100 * least.low, 100 * least.high, '{:.0f}')}).{missing}"
    )
    return ClaimResult(
        name="",
        title="",
        effect=least.value,
        effect_name=f"smallest advantage of MoXI in accuracy, over {rival} in {word}",
        interval=(least.low, least.high),
        n=len(y),
        verdict=both(*verdicts_of(parts)),
        sentence=sentence,
        numbers=numbers,
        drawing={
            "players": players,
            "n": len(y),
            "share": config.share,
            "curves": {
                word: {name: hit[side].mean(0).tolist() for name, hit in hits.items()}
                for side, word in enumerate(("insertion", "deletion"))
            },
        },
    )


def _curves(
    context: ClaimContext[PatchClaimConfig], x: torch.Tensor, y: torch.Tensor, keys: torch.Tensor
) -> tuple[dict[str, np.ndarray], dict[str, str], int]:
    """Compute by ranking whether each image is predicted correctly.

    Returns (2, N, K + 1) for insertion and deletion; the rankings that the model does not allow, with the reason; and
    the number of patches.
    """
    classifier, config = context.classifier, context.config
    players = coarse_players(classifier, x, kind=config.players, grid=config.grid, baseline=config.baseline)
    game = PatchGame(classifier, x, y, functions=(ValueFunction(kind=config.value),), config=players)
    steps = max(1, int(config.share * game.players + 1e-9))
    hits: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    names = ("moxi", *RIVALS)
    for done, name in enumerate(names, start=1):
        given = (name, classifier, x, y.to(x.device), game, keys)
        more: dict[str, Any] = {
            "value": f"{config.value}_true",
            "steps": steps,
            "permutations": config.permutations,
        }
        try:
            order = order_of(*given, **more)
            removal = order_of(*given, **more, deletion=True) if name in DIRECTIONAL else order
        except ModelError as error:
            left_out[name] = str(error)
        else:
            found = curves(game, order, value=f"{config.value}_true", deletion_order=removal, steps=steps)
            won = torch.stack([found.insertion_winner, found.deletion_winner])
            hits[name] = (won == y[None, :, None]).double().numpy()
        context.report_progress("rank", done, len(names))
    if len(hits) < 2:
        raise InputError(f"no ranking besides MoXI can be had from this model: {'; '.join(left_out.values())}")
    return hits, left_out, game.players


def _list(numbers: dict[str, Any], word: str, hits: dict[str, np.ndarray]) -> str:
    words = {"shapley": "Shapley values", "grad_cam": "Grad-CAM", "rollout": "attention rollout"}
    return ", ".join(f"{100 * numbers[f'{word}_{name}']:.0f} % by {words[name]}" for name in RIVALS if name in hits)
