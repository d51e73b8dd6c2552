"""The profile of images: strength and sign of their interactions over the order.

Source: Deng et al. 2022, section 3 (A, J); the debiased square U and the noise share are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, Resampled, resampled_means
from whywrong.explain.interactions.curves import SignedMeans
from whywrong.explain.interactions.strengths import Strengths, noise_share

NOISE_MARK = 0.3
WITH_ERRORS = ("A", "M", "pos", "neg", "U")
_SHARES = ("positive", "noise_share", "disentanglement")
OF_GROUPS = ("A", "J", "M", "pos", "neg", "positive", "U", "noise_share", "disentanglement")


@dataclass(frozen=True, eq=False)
class Profile:
    """Multi-order interactions of B images, R orders, P pairs, V value functions; float64, in units of the values.

    Attributes:
        method: Estimator.
        players: n.
        names: Of the V values; every statement about a profile names one.
        orders: s, R of them; ``ratios`` gives s / (n - 2).
        units: Independent draws behind each order's errors; the most that an image has.
        exact: Whether an order was enumerated: its errors are 0.
        pairs: (B, P, 2) int64.
        forwards: (B,) int64, passes.
        overall: Signed mean over all pairs of players, not only those asked for; None where left out.
        units_used: (B, R) int64, independent draws of each image.
        passes: (B, R) int64, passes behind the draws; those of pilot and ``overall`` are in ``forwards`` alone.
        reached: (B, R) bool, whether the noise share asked for was reached, for all values; None if none was.
        mean: (B, R, P, V), I of each pair; NaN where it was never drawn.
        mean_se: (B, R, P, V), its standard error.
        draws: (B, R, P) int64, contexts really used.
        A, M, pos, neg, positive, U, noise_share, disentanglement: (B, R, V), as in
            :class:`whywrong.explain.interactions.strengths.Strengths`.
        A_se, M_se, pos_se, neg_se, U_se: (B, R, V), standard errors over draws, for the pairs asked for.
    """

    method: str
    players: int
    names: tuple[str, ...]
    orders: tuple[int, ...]
    units: tuple[int, ...]
    exact: tuple[bool, ...]
    pairs: Tensor
    forwards: Tensor
    overall: SignedMeans | None
    units_used: Tensor
    passes: Tensor
    reached: Tensor | None
    mean: Tensor
    mean_se: Tensor
    draws: Tensor
    A: Tensor
    M: Tensor
    pos: Tensor
    neg: Tensor
    positive: Tensor
    U: Tensor
    A_se: Tensor
    M_se: Tensor
    pos_se: Tensor
    neg_se: Tensor
    U_se: Tensor
    noise_share: Tensor
    disentanglement: Tensor

    @staticmethod
    def of(
        per_order: Sequence[Strengths],
        *,
        method: str,
        players: int,
        names: tuple[str, ...],
        orders: tuple[int, ...],
        units: tuple[int, ...],
        exact: tuple[bool, ...],
        pairs: Tensor,
        overall: SignedMeans | None,
        forwards: Tensor,
        units_used: Tensor,
        passes: Tensor,
        precision: float | None = None,
    ) -> Profile:
        """Put the orders side by side."""
        stacked = {f.name: torch.stack([getattr(part, f.name) for part in per_order], 1) for f in fields(Strengths)}
        reached = None if precision is None else (stacked["noise_share"] <= precision).all(2)
        return Profile(
            method,
            players,
            names,
            orders,
            units,
            exact,
            pairs,
            forwards,
            overall,
            units_used,
            passes,
            reached,
            **stacked,
        )

    @property
    def ratios(self) -> tuple[float, ...]:
        """s / (n - 2) of each order, in [0, 1]."""
        return tuple(order / (self.players - 2) for order in self.orders)

    @cached_property
    def J(self) -> Tensor:
        """(B, R, V): A through its mean over the orders at hand, so that its own mean is 1; NaN, undefined, where all
        of A is 0. It hides the level: read it beside A."""
        return relative(self.A)

    @property
    def strength(self) -> Tensor:
        """(B, R, V): root of the debiased mean square, sqrt(max(U, 0)); A without its upward bias, in effect."""
        return self.U.clamp_min(0).sqrt()

    @property
    def noisy(self) -> Tensor:
        """(B, R, V) bool: more than 30 % of the mean square is sampling noise; not to be shown unmarked."""
        return self.noise_share > NOISE_MARK

    def interval(self, statistic: str, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return bounds (B, R, V) each, by Student's t over the independent draws.

        The interval of ``A`` is that of the estimate with its upward noise; ``U`` and ``M`` have no bias.

        Args:
            statistic: ``A``, ``M``, ``pos``, ``neg``, ``U``, or ``overall`` for the mean over all pairs.
            level: Nominal coverage, in (0, 1).

        Raises:
            InputError: Another statistic or level, or ``overall`` where it was left out.
        """
        if statistic == "overall" and self.overall is not None:
            freedom = np.full(self.overall.mean.shape[:2], self.overall.permutations - 1.0)
            return _bounds(self.overall.mean, self.overall.se, freedom, level)
        if statistic not in WITH_ERRORS:
            raise InputError(f"no interval for {statistic!r}; there are {', '.join(WITH_ERRORS)}, overall")
        return _bounds(getattr(self, statistic), getattr(self, f"{statistic}_se"), self._freedom, level)

    def pair_interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return bounds (B, R, P, V) each of the interactions of single pairs.

        As :meth:`interval`.

        Raises:
            InputError: A level outside (0, 1).
        """
        return _bounds(self.mean, self.mean_se, self._freedom, level)

    @property
    def _freedom(self) -> np.ndarray:
        """(B, R) degrees of freedom."""
        return (self.units_used.numpy() - 1.0).clip(1)


def _bounds(value: Tensor, se: Tensor, freedom: np.ndarray, level: float) -> tuple[Tensor, Tensor]:
    """By Student's t, with (B, R) degrees of freedom."""
    if not 0 < level < 1:
        raise InputError(f"level must be in (0, 1), got {level}")
    times = torch.from_numpy(stdtrit(freedom, 0.5 + level / 2))
    half = se * times.view(*times.shape, *[1] * (value.ndim - 2))
    return value - half, value + half


@dataclass(frozen=True, slots=True, eq=False)
class GroupProfile:
    """Profile of a group of images, with 95 % intervals over images, NaN below 20 of them.

    Attributes:
        images: Number of images, the n of every statement.
        curves: Statistic to :class:`Interval` of each order (R) and value (V), as a nested tuple ``[r][v]``. ``J`` is
            the group's A through its mean over the orders, not the mean of the images' J.
    """

    images: int
    curves: dict[str, tuple[tuple[Interval, ...], ...]]


def group_profile(profile: Profile, rows: Tensor | Sequence[int], *, draws: int = 2000, seed: int = 0) -> GroupProfile:
    """Average profiles over a group of images.

    Pairs and contexts of an image are no independent samples of the group: images are resampled, whole.

    Args:
        profile: Of all images.
        rows: Images of the group, at least 2, none twice.
        draws: Bootstrap resamples, at least 1000.
        seed: One seed, one interval.

    Raises:
        InputError: An empty group or one image, which has no interval; fewer draws.
    """
    chosen = torch.as_tensor(rows, dtype=torch.int64).flatten()
    batch = len(profile.forwards)
    if len(chosen) < 2 or len(chosen.unique()) != len(chosen):
        raise InputError(f"a group needs at least 2 images, each once, got {chosen.tolist()}")
    if int(chosen.min()) < 0 or int(chosen.max()) >= batch:
        raise InputError(f"images of a group are rows 0..{batch - 1}, got {chosen.tolist()}")
    if draws < 1000:
        raise InputError(f"draws must be at least 1000 for a 95 % interval, got {draws}")
    curves: dict[str, tuple[tuple[Interval, ...], ...]] = {}
    for name in OF_GROUPS:
        centre = _of_means(profile, name, lambda values: values[chosen].mean(0, keepdim=True))[0]  # (R, V)
        drawn = _of_means(profile, name, lambda values: _resampled(values[chosen], draws, seed))  # (draws, R, V)
        left_out = _of_means(profile, name, lambda values: _without_one(values[chosen]))  # (N, R, V)
        found = Resampled(centre.numpy(), drawn.numpy(), left_out.numpy())
        least, most = (-np.inf if name in ("M", "U") else 0.0), (1.0 if name in _SHARES else np.inf)
        numbers = np.stack([found.value, *np.clip(found.interval(), least, most)], -1)
        curves[name] = tuple(tuple(Interval(*map(float, cell)) for cell in row) for row in numbers)
    return GroupProfile(len(chosen), curves)


def _of_means(profile: Profile, name: str, average: Callable[[Tensor], Tensor]) -> Tensor:
    """A statistic of a group, (..., R, V), from the means over images that it is made of."""
    if name == "J":
        return relative(average(profile.A))
    if name == "noise_share":
        return noise_share(average(profile.U), average(profile.mean.square().nanmean(2)))
    return average(getattr(profile, name))


def _resampled(values: Tensor, draws: int, seed: int) -> Tensor:
    """(draws, R, V) of (N, R, V); one seed resamples the same images for every statistic."""
    return torch.from_numpy(resampled_means(values.flatten(1).numpy(), draws, seed)).view(draws, *values.shape[1:])


def _without_one(values: Tensor) -> Tensor:
    """(N, R, V), mean of the others."""
    return (values.sum(0) - values) / (len(values) - 1)


def relative(A: Tensor) -> Tensor:
    """Compute J, which is A (B, R, V) divided by its mean over the orders.

    NaN if that mean is 0.
    """
    level = A.mean(1, keepdim=True)
    return torch.where(level > 0, A / level, torch.nan)
