"""Comparing the profiles of groups: with the correct images, and of each error with its own source.

The number of observations is the number of images: pairs and contexts of one image say nothing more about a group.
Every statistic of a group is a function of means over its images, so images are resampled whole (bootstrap), swapped
with their sources (paired sign-flip test) or dealt anew to the two groups (permutation test); p-values are adjusted by
Holm over the orders, and over the three bands of orders.
Source: Ren et al. 2021 (paired differences), Yao et al. 2023 (bands of low and high orders); the tests are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, extreme_share, holm
from whywrong.explain.interactions.bands import BANDS, band_of
from whywrong.explain.interactions.features import Features
from whywrong.explain.interactions.measured import MeasuredGroups
from whywrong.explain.interactions.profile import NOISE_MARK
from whywrong.explain.interactions.resampling import Means, dealt, means_of, resamples, swapped


def _j(means: Means) -> np.ndarray:
    level = means["A"].mean(-2, keepdims=True)
    return np.divide(means["A"], level, out=np.full_like(means["A"], np.nan), where=level > 0)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


STATISTICS: dict[str, Callable[[Means], np.ndarray]] = {
    "A": lambda means: means["A"],
    "J": _j,
    "M": lambda means: means["M"],
    "U": lambda means: means["U"],
    "strength": lambda means: np.sqrt(np.maximum(means["U"], 0)),
    "pos_share": lambda means: _share(means["pos"], means["pos"] + means["neg"]),
    "A_scaled": lambda means: _share(means["A"], means["gap"]),
}
MEANING = {
    "A": "mean size of an interaction",
    "J": "A through its mean over the orders: the form of the profile, without its level",
    "M": "signed mean of the interactions",
    "U": "mean square of the interactions, without sampling noise",
    "strength": "root of U",
    "pos_share": "positive part of A, as a share of A",
    "A_scaled": "A through the mean size of v(N) - v(0)",
}


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference between two groups.

    Attributes:
        value, low, high: With its 95 % interval, bootstrap over images.
        p: Two-sided, sign-flip where paired, else permutation of the images.
        p_holm: Adjusted over the orders, or over the three bands.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A group against another: group minus other.

    Attributes:
        group: Name.
        against: ``correct``, or ``source`` for the images that the group was made from.
        paired: Whether each image is compared with its own source.
        n, n_against: Images.
        orders: Statistic of :data:`STATISTICS`, then value function, then one :class:`Effect` an order.
        bands: The same for the mean over the orders with ratios to 0.2 (``low``), between, and from 0.8 (``high``).
    """

    group: str
    against: str
    paired: bool
    n: int
    n_against: int
    orders: dict[str, dict[str, tuple[Effect, ...]]]
    bands: dict[str, dict[str, dict[str, Effect]]]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The profile of a group.

    Attributes:
        n: Images.
        orders: Statistic, then value function, then one interval an order.
        bands: The same for the bands of orders.
        noise: Value function to the share of the group's mean square that is sampling noise, by order.
        noisy: Value function to whether that is over 30 %, by order: not to be shown unmarked.
        full, empty: Value function to v(N) and v(0), means over images.
    """

    n: int
    orders: dict[str, dict[str, tuple[Interval, ...]]]
    bands: dict[str, dict[str, dict[str, Interval]]]
    noise: dict[str, tuple[float, ...]]
    noisy: dict[str, tuple[bool, ...]]
    full: dict[str, Interval]
    empty: dict[str, Interval]


def curves_of(
    measured: MeasuredGroups, group: str, *, source: bool = False, draws: int = 2000, seed: int = 0
) -> Curves:
    """Profile of a group, or of the images it was made from, with intervals from the bootstrap over images.

    Args:
        measured: All groups.
        group: Name of one.
        source: Its sources instead of its images.
        draws: Resamples, at least 1000.
        seed: One seed, one interval.

    Raises:
        InputError: No such group, no sources, fewer than two images or draws than 1000.
    """
    features = _features(measured, group, source=source)
    _check(draws, len(features))
    weights = resamples(len(features), draws, seed)
    centre, resampled = means_of(features, np.full((1, len(features)), 1 / len(features))), means_of(features, weights)
    orders: dict[str, dict[str, tuple[Interval, ...]]] = {}
    bands: dict[str, dict[str, dict[str, Interval]]] = {}
    for name, statistic in STATISTICS.items():
        value, low, high = _bounds(statistic(centre)[0], statistic(resampled))
        orders[name] = {
            of: tuple(Interval(float(value[r, v]), float(low[r, v]), float(high[r, v])) for r in range(len(value)))
            for v, of in enumerate(measured.names)
        }
        value, low, high = _bounds(_banded(statistic(centre), measured)[0], _banded(statistic(resampled), measured))
        bands[name] = {
            of: {b: Interval(float(value[i, v]), float(low[i, v]), float(high[i, v])) for i, b in enumerate(BANDS)}
            for v, of in enumerate(measured.names)
        }
    noise = np.clip(1 - _share(centre["U"][0], centre["raw"][0]), 0, 1)
    noise = np.where(centre["raw"][0] > 0, noise, 0.0)  # (R, V)
    ends = [
        {
            of: Interval(*(float(x[v]) for x in _bounds(values.mean(0), weights @ values)))
            for v, of in enumerate(measured.names)
        }
        for values in (features.full, features.empty)
    ]
    return Curves(
        n=len(features),
        orders=orders,
        bands=bands,
        noise={of: tuple(noise[:, v].tolist()) for v, of in enumerate(measured.names)},
        noisy={of: tuple((noise[:, v] > NOISE_MARK).tolist()) for v, of in enumerate(measured.names)},
        full=ends[0],
        empty=ends[1],
    )


def compare(
    measured: MeasuredGroups,
    group: str,
    against: str = "correct",
    *,
    draws: int = 2000,
    flips: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Difference of a group to another, or of each of its images to its own source.

    Args:
        measured: All groups.
        group: Name of one.
        against: Name of another, compared as independent images; or ``source``, compared pair by pair.
        draws: Bootstrap resamples, at least 1000.
        flips: Random sets of signs, or permutations, of the test; all sets of signs where there are no more.
        seed: One seed, one answer.

    Raises:
        InputError: No such group, no sources, fewer than two images, or fewer draws.
    """
    own = _features(measured, group)
    paired = against == "source"
    other = _features(measured, group if paired else against, source=paired)
    _check(draws, min(len(own), len(other)))
    if paired:
        weights = resamples(len(own), draws, seed)
        resampled = means_of(own, weights), means_of(other, weights)
        null, exact = swapped(own, other, flips, seed)
    else:
        resampled = (
            means_of(own, resamples(len(own), draws, seed)),
            means_of(other, resamples(len(other), draws, seed + 1)),
        )
        null, exact = dealt(own, other, flips, seed), False
    centre = tuple(means_of(part, np.full((1, len(part)), 1 / len(part))) for part in (own, other))
    orders: dict[str, dict[str, tuple[Effect, ...]]] = {}
    bands: dict[str, dict[str, dict[str, Effect]]] = {}
    for name, statistic in STATISTICS.items():
        value, draw, chance = (statistic(a) - statistic(b) for a, b in (centre, resampled, null))
        per_order = _effects(value[0], draw, chance, exact=exact)
        in_bands = _effects(*(_banded(part, measured) for part in (value, draw, chance)), exact=exact)
        orders[name] = {of: tuple(row[v] for row in per_order) for v, of in enumerate(measured.names)}
        bands[name] = {
            of: {band: in_bands[i][v] for i, band in enumerate(BANDS)} for v, of in enumerate(measured.names)
        }
    return Comparison(group, against, paired, len(own), len(other), orders, bands)


def group_draws(
    measured: MeasuredGroups, group: str, statistic: str, *, source: bool = False, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of a group, (R, V), and of its resamples, (draws, R, V): for statements about several orders.

    Raises:
        InputError: As :func:`curves_of`, or no such statistic.
    """
    if statistic not in STATISTICS:
        raise InputError(f"statistics are {', '.join(STATISTICS)}; got {statistic!r}")
    features = _features(measured, group, source=source)
    _check(draws, len(features))
    once = np.full((1, len(features)), 1 / len(features))
    parts = (means_of(features, weights) for weights in (once, resamples(len(features), draws, seed)))
    centre, resampled = (STATISTICS[statistic](means) for means in parts)
    return centre[0], resampled


def sampling_noise(features: Features) -> dict[str, np.ndarray]:
    """Sampling noise as a share of the variance between images, by order and value: mean over images of the squared
    standard error of an image's value, through the variance of these values; (R, V) for ``A``, ``M`` and ``U``."""
    found: dict[str, np.ndarray] = {}
    for name in ("A", "M", "U"):
        noise = np.square(getattr(features, f"{name}_se")).mean(0)
        spread = getattr(features, name).var(0, ddof=1)
        found[name] = np.where(noise == 0, 0.0, _share(noise, spread))
    return found


def _features(measured: MeasuredGroups, group: str, *, source: bool = False) -> Features:
    if group not in measured.groups:
        raise InputError(f"there is no group {group}; there are: {', '.join(measured.groups)}")
    found = measured.groups[group].source if source else measured.groups[group].own
    if found is None:
        raise InputError(f"images of group {group} have no sources: nothing was done to them")
    return found


def _check(draws: int, images: int) -> None:
    if images < 2:
        raise InputError("an interval of a group needs at least 2 images")
    if draws < 1000:
        raise InputError(f"draws must be at least 1000 for a 95 % interval, got {draws}")


def _banded(values: np.ndarray, measured: MeasuredGroups) -> np.ndarray:
    """(..., 3, V): mean over the orders of each band, of (..., R, V); NaN for a band without orders."""
    bands = band_of(measured.orders, measured.players).astype(np.float64)
    count = bands.sum(1, keepdims=True)
    weights = np.divide(bands, count, out=np.full_like(bands, np.nan), where=count > 0)
    return np.einsum("br,...rv->...bv", weights, values)


def _bounds(value: np.ndarray, resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return value, low, high


def _effects(value: np.ndarray, draws: np.ndarray, null: np.ndarray, *, exact: bool) -> list[list[Effect]]:
    """Effects [r][v] of differences (R, V), resampled (D, R, V) and under the null (D', R, V)."""
    value = value.reshape(value.shape[-2:])
    _, low, high = _bounds(value, draws)
    p = extreme_share(null, value, exact=exact)
    adjusted = holm(p)
    numbers = np.stack([value, low, high, p, adjusted], -1)
    return [[Effect(*map(float, cell)) for cell in row] for row in numbers]
