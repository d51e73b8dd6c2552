"""Test whether a recurring change works on images it was not made for.

The counterfactual route shows the crops in which many changes into one class are strongest. Among many crops some are
similar by chance. Therefore the change inside such a crop is applied, at the same position, to images that took no
part, and the rise of the class is compared with that under the same change with its pixels shuffled within the crop
(ours, docs/methods/spurious.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.checks import check_images
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import Interval, resampled_mean
from whywrong.explain.counterfactuals.objectives import log_probability
from whywrong.explain.spurious.change_mass import ClassChange
from whywrong.models.classifier import Classifier

DRAWS = 4000  # resamples; enough for intervals corrected for a few dozen crops


@dataclass(frozen=True, slots=True, kw_only=True)
class Transplant:
    """Effect of the change inside one crop on images that it was not made for.

    Attributes:
        images: Number of images it was applied to.
        rise: Mean increase of the log-probability of the class, nats, minus the increase with the shuffled change. Its
            95 % interval over images is NaN for fewer than 20 images.
        adjusted_low: Lower end of the interval of ``rise``, at the level corrected for the number of crops tested.
        reads: Number of images predicted as the class with the change but not without it.
        shuffled: As ``reads``, with the shuffled change.
        confirmed: Whether ``adjusted_low`` exceeds 0.
    """

    images: int
    rise: Interval
    adjusted_low: float
    reads: int
    shuffled: int
    confirmed: bool


def transplant(
    classifier: Classifier,
    x: Tensor,
    change: ClassChange,
    *,
    tested: int,
    level: float = 0.05,
    seed: int = 0,
) -> list[Transplant]:
    """Apply the change inside each medoid's crop to other images.

    Args:
        classifier: The explained one; it must grant scores.
        x: (M, C, H, W), floating point, in [0, 1]: images that took no part in ``change``, none of them predicted as
            its class.
        change: Summary of the counterfactuals into the class.
        tested: Number of crops tested over all classes.
        level: Probability of a false confirmation over all of them.
        seed: Seed of shuffling and resampling.

    Returns:
        One entry per medoid, for M (1 + 2 * medoids) forward passes.

    Raises:
        InputError: There is no image, image sizes differ, or ``tested`` is less than the number of crops here.
    """
    check_images(x)
    medoids, side = len(change.deltas), change.deltas.shape[-1]
    if not len(x):
        raise InputError("no image is left to put the change on")
    if tested < medoids:
        raise InputError(f"{tested} crops tested in all, this class alone has {medoids}")
    if x.shape[1] != change.deltas.shape[1] or x.shape[2:] != change.mean.shape:
        raise InputError(f"the change was made on images of {tuple(change.mean.shape)}, got {tuple(x.shape)}")
    order = keyed_uniform(row_keys(seed, medoids), (side * side,)).argsort(1)  # (M, s * s)
    flat = change.deltas.flatten(2)
    mixed = flat.gather(2, order[:, None].expand_as(flat)).view_as(change.deltas)
    moved = [
        _put(x, delta, place)
        for deltas in (change.deltas, mixed)
        for delta, place in zip(deltas, change.places.tolist(), strict=True)
    ]
    with classifier:
        logits = classifier.logits(torch.cat([x, *moved]))
    target = torch.full((len(logits),), change.target, dtype=torch.int64, device=logits.device)
    log_p = log_probability(logits, target).view(1 + 2 * medoids, len(x)).double().cpu()
    reads = (logits.argmax(1) == target).view(1 + 2 * medoids, len(x)).cpu()
    gain = (log_p[1 : 1 + medoids] - log_p[1 + medoids :]).T.numpy()  # (N, M)
    rise = resampled_mean(gain, DRAWS, seed)
    low, high = rise.interval()
    # Each crop is tested one-sided at level / tested.
    adjusted = rise.interval(1 - 2 * level / tested)[0]
    found = []
    for number in range(medoids):
        found.append(
            Transplant(
                images=len(x),
                rise=Interval(float(rise.value[number]), float(low[number]), float(high[number])),
                adjusted_low=float(adjusted[number]),
                reads=int((reads[1 + number] & ~reads[0]).sum()),
                shuffled=int((reads[1 + medoids + number] & ~reads[0]).sum()),
                confirmed=bool(adjusted[number] > 0),
            )
        )
    return found


def _put(x: Tensor, delta: Tensor, place: list[int]) -> Tensor:
    """Add ``delta`` (C, s, s) to the images at a position.

    The result is clipped to the range of pixels.
    """
    top, left = place
    side = delta.shape[-1]
    moved = x.float().clone()
    moved[:, :, top : top + side, left : left + side] += delta.to(moved.device)
    return moved.clamp_(0, 1)
