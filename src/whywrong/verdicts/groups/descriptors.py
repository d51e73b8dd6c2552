"""Descriptors of errors for clustering."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.measured import Measured
from whywrong.verdicts.normalise import normalised

PIXEL_SIGNS = ("noise_level", "sharpness", "luma", "contrast", "colourfulness", "flat_share")
_CAUSE_WEIGHT = 3.0
_FEATURES = 16  # principal axes of the features
_PAIR = 4  # principal axes of the pairs of classes
_CONTENT = 4  # principal axes of the place of fine content
_CELLS = 8


def descriptors(errors: Measured, reference: Measured, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute descriptors of errors for clustering.

    They consist of probabilities of causes (counted three times), features, pair of classes, place of fine content, and
    pixel signs. Features are projected onto the 16 principal axes of the reference and whitened. Columns of the other
    parts are scaled to variance 1, so that the weight of a part is its number of columns.

    Args:
        errors: N errors.
        reference: Correct images in role play.
        probability: (N, C) probabilities of the causes.
        weights: (K, D) weights of the last layer, or (0, 0).

    Returns:
        (N, F) float64, finite; parts that were not measured have no columns.
    """
    parts = [
        _CAUSE_WEIGHT * probability,
        _whitened(errors.features, reference.features),
        _pairs(errors, weights),
        _content(errors.detail),
        _pixel_signs(errors, reference),
    ]
    return np.nan_to_num(np.concatenate([np.asarray(part, np.float64) for part in parts], axis=1))


def pixel_scores(errors: Measured, reference: Measured) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names and normal scores (N, S) of up to six measured pixel signs."""
    names = tuple(name for name in PIXEL_SIGNS if name in errors.sign_names and name in reference.sign_names)
    ours, theirs = (
        np.stack([part.sign(name) for name in names], 1) if names else np.zeros((len(part), 0))
        for part in (errors, reference)
    )
    return names, normalised(ours, theirs, ["quantity"] * len(names))


def _whitened(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if not features.shape[1] or len(reference) <= _FEATURES:
        return np.zeros((len(features), 0))
    centre = reference.mean(0, dtype=np.float64)
    _, spread, axes = np.linalg.svd(reference - centre, full_matrices=False)
    kept = min(_FEATURES, int((spread > 1e-6 * spread[0]).sum()))
    return (features - centre) @ axes[:kept].T / (spread[:kept] / np.sqrt(len(reference)))


def _pairs(errors: Measured, weights: np.ndarray) -> np.ndarray:
    """Embed label and prediction by the principal axes of their weight vectors."""
    if not weights.size:
        return np.zeros((len(errors), 0))
    return np.concatenate([_principal(weights[errors.label], _PAIR), _principal(weights[errors.predicted], _PAIR)], 1)


def _content(detail: np.ndarray) -> np.ndarray:
    """Describe where fine content lies, on a grid of 8 x 8."""
    if detail.ndim != 4 or min(detail.shape[2:]) < _CELLS:
        return np.zeros((len(detail), 0))
    bounds = np.linspace(0, detail.shape[-1], _CELLS + 1).astype(int)[:-1]
    energy = np.square(detail.astype(np.float32)).sum(1)
    cells = np.add.reduceat(np.add.reduceat(energy, bounds, axis=1), bounds, axis=2)
    return _principal(np.log(cells + 1e-3).reshape(len(detail), -1), _CONTENT)


def _pixel_signs(errors: Measured, reference: Measured) -> np.ndarray:
    return _scaled(np.nan_to_num(pixel_scores(errors, reference)[1]))


def _principal(values: np.ndarray, most: int) -> np.ndarray:
    """Project onto the first principal axes, each scaled to a variance of 1; the signs of the axes are fixed."""
    centred = values - values.mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:most]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return _scaled(centred @ axes.T)


def _scaled(values: np.ndarray) -> np.ndarray:
    spread = values.std(0) if len(values) else np.ones(values.shape[1])
    return (values - values.mean(0)) / np.where(spread > 1e-9, spread, 1) if len(values) else values
