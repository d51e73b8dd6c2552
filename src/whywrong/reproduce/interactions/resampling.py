"""Means over images from which a group's statistics are computed, original, resampled, swapped or permuted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from whywrong.core.statistics import signs_of
from whywrong.reproduce.interactions.features import Features

_MEANS = ("A", "M", "pos", "neg", "positive", "U", "raw")

Means = Mapping[str, np.ndarray]  # each (..., R, V), a mean over images


def columns(features: Features) -> dict[str, np.ndarray]:
    """Return the columns that are averaged, (G, R, V) or (G, 1, V) each."""
    gap = np.abs(features.full - features.empty)[:, None]
    return {**{name: getattr(features, name) for name in _MEANS}, "gap": gap}


def means_of(features: Features, weights: np.ndarray) -> Means:
    """Average over images with weights (D, G) that sum to 1, (D, R, V) each."""
    return {
        name: (weights @ values.reshape(len(values), -1)).reshape(len(weights), *values.shape[1:])
        for name, values in columns(features).items()
    }


def resamples(images: int, draws: int, seed: int) -> np.ndarray:
    """Draw bootstrap weights of the images, as shares (draws, images)."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), draws) / images


def swapped(own: Features, other: Features, flips: int, seed: int) -> tuple[tuple[Means, Means], bool]:
    """Compute the means of both sides after pairs were randomly swapped."""
    signs, exact = signs_of(len(own), flips, seed)
    sides = columns(own), columns(other)
    first: dict[str, np.ndarray] = {}
    second: dict[str, np.ndarray] = {}
    for name, a in sides[0].items():
        b = sides[1][name]
        middle, half = ((a + b) / 2).mean(0), ((a - b) / 2).reshape(len(a), -1)
        shift = (signs @ half / len(a)).reshape(len(signs), *a.shape[1:])
        first[name], second[name] = middle + shift, middle - shift
    return (first, second), exact


def dealt(own: Features, other: Features, draws: int, seed: int) -> tuple[Means, Means]:
    """Compute the means of both groups after their images were permuted."""
    a, b = len(own), len(other)
    rank = np.random.default_rng(seed).random((draws, a + b)).argsort(1).argsort(1)
    mine = (rank < a).astype(np.float64)
    first: dict[str, np.ndarray] = {}
    second: dict[str, np.ndarray] = {}
    sides = columns(own), columns(other)
    for name in sides[0]:
        pooled = np.concatenate([sides[0][name], sides[1][name]])
        flat, shape = pooled.reshape(a + b, -1), (draws, *pooled.shape[1:])
        first[name], second[name] = (mine @ flat / a).reshape(shape), ((1 - mine) @ flat / b).reshape(shape)
    return first, second
