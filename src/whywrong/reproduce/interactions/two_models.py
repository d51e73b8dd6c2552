"""Claim C4, about the profiles of two models on the same images and cells.

Source: Sumiyasu et al. 2022, arXiv 2210.03349, abstract (vision transformers differ from convolutional networks; the
direction could not be read).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys
from whywrong.core.statistics import Interval, Resampled, extreme_share, holm, resampled_mean, signs_of
from whywrong.reproduce.interactions.claim_groups import first_images, told
from whywrong.reproduce.interactions.config import InteractionsClaimConfig, common_grid
from whywrong.reproduce.interactions.make_groups import make_groups
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups, measure_groups
from whywrong.reproduce.interactions.wording import CLASS_WORDS
from whywrong.reproduce.protocol import (
    ClaimContext,
    ClaimResult,
    Part,
    Verdict,
    both,
    bounds_in_words,
    claim,
    verdicts_of,
)


@claim
def transformer_differs(context: ClaimContext[InteractionsClaimConfig]) -> ClaimResult:
    """Test claim C4, that the form J differs between transformers and conv nets.

    Both classify the same images correctly, with the same cells of pixels hidden; each image is compared with itself.
    The distance is reported, so that a second call with two models of one kind can be compared.
    """
    config = context.config
    x, y, keys = _both_right(context)
    grid = config.grid or common_grid([(images.shape[2], images.shape[3]) for images in x])
    profiles: list[MeasuredGroups] = []
    for model, images in zip(context.models, x, strict=True):
        groups = make_groups(model, images, y, keys=keys, config=config.of_groups(("correct",)))
        stage = f"model {len(profiles) + 1}"
        profiles.append(
            measure_groups(model, groups, config=config.on_pixels(grid), progress=told(context.progress, stage))
        )
    measured = profiles[0]
    features = [profile.groups["correct"].own for profile in profiles]
    numbers: dict[str, Any] = {
        "players": f"{grid * grid} cells of pixels",
        "passes_an_image": measured.forwards / len(y),
    }
    distance: dict[str, tuple[float, float, float, float]] = {}
    drawing: dict[str, Any] = {"ratios": list(measured.ratios), "names": list(measured.names[:2]), "lines": {}}
    for v, word in enumerate(CLASS_WORDS[:2]):
        first, second = (part.A[:, :, v] for part in features)
        distance[word], per_order, lines = _distance(first, second, config)
        numbers |= {f"distance_{word}{end}": distance[word][i] for i, end in enumerate(("", "_from", "_to", "_p"))}
        drawing["lines"][measured.names[v]] = lines
        drawing.setdefault("difference", {})[measured.names[v]] = per_order
    decided = verdicts_of([Part(Interval(value, low, high), p) for value, low, high, p in distance.values()])
    verdicts: dict[str, Verdict] = dict(zip(distance, decided, strict=True))
    numbers |= {f"verdict_{word}": verdict for word, verdict in verdicts.items()}
    kind = config.value.replace("_", "-")
    value, low, high, p = distance["true"]
    sentence = (
        f"on {len(y)} images that both classify correctly, J of the {kind} of the true class is {value:.2g} apart "
        f"between the two models (root mean square over orders; {bounds_in_words(low, high)}, sign-flip p {p:.2g}), "
        f"and {distance['predicted'][0]:.2g} for the runner-up (p {distance['predicted'][3]:.2g}). Whether their kind "
        "is the reason takes the distance of two models of one kind beside it."
    )
    return ClaimResult(
        name="",
        title="",
        effect=value,
        effect_name=f"distance of J between the models, {measured.names[0]}",
        interval=(low, high),
        n=len(y),
        verdict=both(*verdicts.values()),
        sentence=sentence,
        numbers=numbers,
        drawing={**drawing, "n": len(y)},
    )


def _both_right(context: ClaimContext[InteractionsClaimConfig]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Read the images that both models classify correctly.

    Returns them at the input size of each model, with labels and keys.
    """
    read = [
        first_images(model, context.data, wrong=0, right=context.config.pool, progress=context.progress)
        for model in context.models
    ]
    shared = [name for name in read[0][2] if name in set(read[1][2])][: context.config.limit]
    if len(shared) < 2:
        raise InputError(f"both models classify only {len(shared)} of the images correctly; give more images")
    places = [{name: row for row, name in enumerate(names)} for _, _, names in read]
    rows = [torch.tensor([place[name] for name in shared]) for place in places]
    x = [images[row.to(images.device)] for (images, _, _), row in zip(read, rows, strict=True)]
    return x, read[0][1][rows[0]], item_keys(context.config.seed, shared, "interactions")


def _distance(
    first: np.ndarray, second: np.ndarray, config: InteractionsClaimConfig
) -> tuple[tuple[float, float, float, float], list[list[float]], dict[str, list[list[float]]]]:
    """Measure how much J differs between two models.

    It is computed from A (N, R) of the same images.

    Returns:
        Root mean square over orders of the mean difference of J, its interval and p; the difference by order with
        interval and p after Holm; the mean J of both models.
    """
    forms = np.stack([_form(first), _form(second)])  # (2, N, R)
    forms = forms[:, np.isfinite(forms).all((0, 2))]
    n = forms.shape[1]
    if n < 2:
        raise InputError("fewer than two images have a profile in both models: nothing interacts")
    gap = (forms[0] - forms[1]).mean(0)
    means = [resampled_mean(form, config.draws, config.seed) for form in forms]
    difference = resampled_mean(forms[0] - forms[1], config.draws, config.seed)  # of the same images
    signs, exact = signs_of(n, 9999, config.seed)
    chance = signs @ (forms[0] - forms[1]) / n
    p = float(extreme_share(_rms(chance)[:, None], _rms(gap)[None], exact=exact)[0])
    # Chance alone puts the profiles apart: what it adds to the mean square, once here and twice in a resample, is
    # taken off.
    by_chance = difference.draws.var(0).mean()
    square = difference.map(lambda gaps: np.square(gaps).mean(1, keepdims=True) - by_chance)
    square = Resampled(square.value, square.draws - by_chance, square.left_out)
    value, low, high = (float(np.sqrt(np.maximum(part, 0.0))[0]) for part in (square.value, *square.interval()))
    per_order = np.stack([gap, *difference.interval(), holm(extreme_share(chance, gap, exact=exact))], 1).tolist()
    lines = {
        name: np.stack([mean.value, *mean.interval()], 1).tolist()
        for name, mean in zip(("model", "model2"), means, strict=True)
    }
    return (value, low, high, p), per_order, lines


def _form(A: np.ndarray) -> np.ndarray:
    """Compute J of each image.

    NaN if nothing interacts.
    """
    level = A.mean(-1, keepdims=True)
    return np.divide(A, level, out=np.full_like(A, np.nan), where=level > 0)


def _rms(gap: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(gap).mean(-1))
