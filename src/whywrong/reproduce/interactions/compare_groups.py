"""Comparison of the profiles of groups, with the correct images, and of each error with its source.

The number of observations is the number of images: pairs and contexts of one image add nothing about a group. Every
statistic of a group is a function of means over its images, so images are resampled as units (bootstrap), swapped with
their sources (paired sign-flip test) or assigned to the two groups at random (permutation test); p-values are adjusted
by Holm over the orders, and over the three bands of orders.

Source: Ren et al. 2021 (paired differences), Yao et al. 2023 (bands of low and high orders); the tests are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, Resampled, extreme_share, holm, resampled_mean, without_one
from whywrong.explain.interactions.profile import NOISE_MARK
from whywrong.reproduce.interactions.features import Features
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups
from whywrong.reproduce.interactions.order_bands import BANDS, band_of
from whywrong.reproduce.interactions.resampling import Means, dealt, means_of, resamples, swapped


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
RANGES = {"M": (-np.inf, np.inf), "U": (-np.inf, np.inf), "pos_share": (0.0, 1.0)}  # the others: 0 and above


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference between two groups.

    Attributes:
        value, low, high: Difference with its 95 % interval over images; NaN below 20 of them.
        p: Two-sided p-value, of the sign-flip test if paired, otherwise of the permutation test.
        p_holm: p-value adjusted over the orders, or over the three bands.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Comparison of a group with another, as group minus other.

    Attributes:
        group: Name of the group.
        against: ``correct``, or ``source`` for the images that the group was made from.
        paired: Whether each image is compared with its own source.
        n, n_against: Numbers of images.
        orders: Statistic of :data:`STATISTICS`, then value function, then one :class:`Effect` per order.
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
        n: Number of images.
        orders: Statistic, then value function, then one interval per order.
        bands: The same for the bands of orders.
        noise: Share of the group's mean square that is sampling noise, by value function and order.
        noisy: Whether that exceeds 30 %, by value function and order; mark such points if shown.
        full, empty: v(N) and v(0), means over images, by value function.
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
    """Compute the profile of a group, or of its sources, with intervals over images.

    Intervals are NaN below 20 images.

    Args:
        measured: All groups.
        group: Name of one.
        source: Use its sources instead of its images.
        draws: Resamples, at least 1000.
        seed: Seed of the resamples.

    Raises:
        InputError: The group is unknown or has no sources, or there are fewer than two images or 1000 draws.
    """
    features = _features(measured, group, source=source)
    _check(draws, len(features))
    means = _three(features, draws, seed)
    centre = means[0]
    banded = partial(_banded, measured=measured)
    orders: dict[str, dict[str, tuple[Interval, ...]]] = {}
    bands: dict[str, dict[str, dict[str, Interval]]] = {}
    for name, statistic in STATISTICS.items():
        value, drawn, left_out = map(statistic, means)
        found = Resampled(value[0], drawn, left_out)
        per_order, in_bands = _intervals(found, name), _intervals(found.map(banded), name)
        orders[name] = {of: tuple(row[v] for row in per_order) for v, of in enumerate(measured.names)}
        bands[name] = {
            of: {band: in_bands[i][v] for i, band in enumerate(BANDS)} for v, of in enumerate(measured.names)
        }
    noise = np.clip(1 - _share(centre["U"][0], centre["raw"][0]), 0, 1)
    noise = np.where(centre["raw"][0] > 0, noise, 0.0)  # (R, V)
    ends = [
        dict(zip(measured.names, _intervals(resampled_mean(values, draws, seed).map(_row))[0], strict=True))
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
    """Compare a group with another, or each of its images with its own source.

    Args:
        measured: All groups.
        group: Name of one.
        against: Name of another, compared as independent images; or ``source``, compared pair by pair.
        draws: Bootstrap resamples, at least 1000.
        flips: Random sets of signs, or permutations, of the test; all sets of signs if there are no more.
        seed: Seed of all draws.

    Raises:
        InputError: A group is unknown or has no sources, or there are too few images or draws.
    """
    own = _features(measured, group)
    paired = against == "source"
    other = _features(measured, group if paired else against, source=paired)
    _check(draws, min(len(own), len(other)))
    a, b = len(own), len(other)
    once = np.full((1, a), 1 / a), np.full((1, b), 1 / b)
    first = resamples(a, draws, seed)
    if paired:
        drawn, left_out = (first, first), (without_one(a), without_one(b))
        null, exact = swapped(own, other, flips, seed)
    else:
        drawn = first, resamples(b, draws, seed + 1)
        # First each image of the one group is left out, then each of the other.
        left_out = (
            np.concatenate([without_one(a), once[0].repeat(b, 0)]),
            np.concatenate([once[1].repeat(a, 0), without_one(b)]),
        )
        null, exact = dealt(own, other, flips, seed), False
    means = [(means_of(own, mine), means_of(other, theirs)) for mine, theirs in (once, drawn, left_out)]
    banded = partial(_banded, measured=measured)
    orders: dict[str, dict[str, tuple[Effect, ...]]] = {}
    bands: dict[str, dict[str, dict[str, Effect]]] = {}
    for name, statistic in STATISTICS.items():
        value, draws_of, left, chance = (statistic(one) - statistic(two) for one, two in (*means, null))
        found = Resampled(value[0], draws_of, left, min(a, b))
        per_order = _effects(found, chance, exact=exact)
        in_bands = _effects(found.map(banded), banded(chance), exact=exact)
        orders[name] = {of: tuple(row[v] for row in per_order) for v, of in enumerate(measured.names)}
        bands[name] = {
            of: {band: in_bands[i][v] for i, band in enumerate(BANDS)} for v, of in enumerate(measured.names)
        }
    return Comparison(group, against, paired, len(own), len(other), orders, bands)


def group_draws(
    measured: MeasuredGroups, group: str, statistic: str, *, source: bool = False, draws: int = 2000, seed: int = 0
) -> Resampled:
    """Resample a statistic (R, V) of a group, for statements about several orders.

    Raises:
        InputError: As for :func:`curves_of`, or the statistic is unknown.
    """
    if statistic not in STATISTICS:
        raise InputError(f"statistics are {', '.join(STATISTICS)}; got {statistic!r}")
    features = _features(measured, group, source=source)
    _check(draws, len(features))
    centre, drawn, left_out = map(STATISTICS[statistic], _three(features, draws, seed))
    return Resampled(centre[0], drawn, left_out)


def _three(features: Features, draws: int, seed: int) -> tuple[Means, Means, Means]:
    """Compute means of a group, of its resamples, and of its jackknife replicates."""
    n = len(features)
    once, drawn, left_out = np.full((1, n), 1 / n), resamples(n, draws, seed), without_one(n)
    return means_of(features, once), means_of(features, drawn), means_of(features, left_out)


def _row(values: np.ndarray) -> np.ndarray:
    """Reshape (..., V) to (..., 1, V)."""
    return values[..., None, :]


def sampling_noise(features: Features) -> dict[str, np.ndarray]:
    """Compute sampling noise as a share of the variance between images.

    This is the mean over images of the squared standard error, divided by the variance of the values, (R, V) for ``A``,
    ``M`` and ``U``.
    """
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
    """Average (..., R, V) over the orders of each band.

    Returns (..., 3, V); NaN for a band without orders.
    """
    bands = band_of(measured.orders, measured.players).astype(np.float64)
    count = bands.sum(1, keepdims=True)
    weights = np.divide(bands, count, out=np.full_like(bands, np.nan), where=count > 0)
    return np.einsum("br,...rv->...bv", weights, values)


def _intervals(found: Resampled, name: str = "M") -> list[list[Interval]]:
    """Compute intervals [r][v] of a statistic (R, V), clipped to its range of values."""
    ends = np.clip(found.interval(), *RANGES.get(name, (0.0, np.inf)))
    numbers = np.stack([found.value, *ends], -1)
    return [[Interval(*map(float, cell)) for cell in row] for row in numbers]


def _effects(found: Resampled, null: np.ndarray, *, exact: bool) -> list[list[Effect]]:
    """Compute effects [r][v] from differences (R, V) and null draws (D, R, V)."""
    p = extreme_share(null, found.value, exact=exact)
    numbers = np.stack([found.value, *found.interval(), p, holm(p)], -1)
    return [[Effect(*map(float, cell)) for cell in row] for row in numbers]
