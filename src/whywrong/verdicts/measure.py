"""Measurement of a batch of images for a verdict; results of several stages can be joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import ModelError
from whywrong.explain.interventions import INTERVENTIONS, InterventionsConfig, interventions, restored_matrix
from whywrong.explain.signs import SIGNS, SignsConfig, sign_matrix, signs
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import LastLayer, find_last_layer, read_features
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import fine_content

SIGN_NAMES: tuple[str, ...] = tuple(sign.name for sign in SIGNS if sign.stage)
TEST_NAMES: tuple[str, ...] = tuple(test.name for test in INTERVENTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Selection of measurements.

    Attributes:
        basics: Whether to compute logits, features and fine content.
        signs: Stages of signs, see :class:`whywrong.explain.signs.SignsConfig`.
        tests: Causes whose interventions are applied.
        pictures: Whether to keep thumbnails.
        harmful: Small edits to leave out, because they change the content, such as ``flip`` for digits.
    """

    basics: bool = False
    signs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    pictures: bool = False
    harmful: tuple[str, ...] = ()


def measure(
    classifier: Classifier,
    x: Tensor,
    label: Tensor,
    predicted: Tensor,
    *,
    item_ids: Sequence[str],
    sources: Sequence[str],
    keys: Tensor,
    measures: Measures,
    logits: Tensor | None = None,
) -> Measured:
    """Measure a batch of images.

    Args:
        classifier: The model.
        x: (B, C, H, W) float32 in [0, 1], on the device of the model.
        label: (B,) int64, class to restore, on the same device.
        predicted: (B,) int64, predicted class.
        item_ids: Item ids.
        sources: Name of the photograph of each image.
        keys: (B,) int64, keys of the random noise.
        measures: Selected measurements; all others are NaN or have no columns.
        logits: (B, K) logits of the images, if known, which saves a pass.

    Raises:
        ModelRaisedError: The model raised an exception on one of the images.
            NonFiniteError: The scores of one of the images are not finite.
    """
    found = _nothing(len(x), item_ids, sources, label, predicted)
    if measures.basics:
        known, features, passes = _basics(classifier, x)
        logits = torch.from_numpy(known).to(x.device) if known.shape[1] else None
        found = replace(
            found,
            logits=known,
            features=features,
            detail=fine_content(x).cpu().numpy(),
            forwards=np.full(len(x), passes, np.int64),
        )
    if measures.signs:
        config = SignsConfig(stages=measures.signs, left_out=measures.harmful)
        result = signs(classifier, x, label, keys=keys, logits=logits, config=config)
        found = _with_cost(replace(found, signs=_array(sign_matrix(result))), result)
    if measures.tests:
        of_causes = InterventionsConfig(causes=measures.tests, flip="flip" not in measures.harmful)
        tested = interventions(classifier, x, label, keys=keys, config=of_causes)
        found = _with_cost(replace(found, restored=_array(restored_matrix(tested))), tested)
    return found


def add(measured: Measured, rows: np.ndarray, more: Measured) -> Measured:
    """Merge further measurements of some images.

    Args:
        measured: Measurements of N images.
        rows: (M,) int64, images that were measured again.
        more: Measurements of these images; finite values replace the former ones.
    """
    found: dict[str, Any] = {}
    for name in ("signs", "restored"):
        values = getattr(measured, name).copy()
        new = getattr(more, name)
        values[rows] = np.where(np.isnan(new), values[rows], new)
        found[name] = values
    for name in ("forwards", "backwards"):
        found[name] = getattr(measured, name).copy()
        found[name][rows] += getattr(more, name)
    return replace(measured, **found)


def last_layer_of(classifier: Classifier, size: tuple[int, int, int]) -> LastLayer | None:
    """Find the last layer; None without access to it or if the model has none."""
    if classifier.access < Access.INTERNALS:
        return None
    try:
        return find_last_layer(classifier, size)
    except ModelError:
        return None


def _basics(classifier: Classifier, x: Tensor) -> tuple[np.ndarray, np.ndarray, int]:
    """Return logits, features and the number of passes."""
    nothing = np.zeros((len(x), 0), np.float32)
    if classifier.access < Access.SCORES:
        return nothing, nothing, 0
    last = last_layer_of(classifier, (x.shape[1], x.shape[2], x.shape[3]))
    if last is None:
        return _array(classifier.logits(x)), nothing, 1
    logits, phi = read_features(classifier, x, last)
    return _array(logits), _array(phi), 1


def _nothing(count: int, item_ids: Sequence[str], sources: Sequence[str], label: Tensor, predicted: Tensor) -> Measured:
    return Measured(
        item_ids=tuple(item_ids),
        sources=tuple(sources),
        label=label.cpu().numpy(),
        predicted=predicted.cpu().numpy(),
        logits=np.zeros((count, 0), np.float32),
        features=np.zeros((count, 0), np.float32),
        sign_names=SIGN_NAMES,
        signs=np.full((count, len(SIGN_NAMES)), np.nan, np.float32),
        test_names=TEST_NAMES,
        restored=np.full((count, len(TEST_NAMES)), np.nan, np.float32),
        detail=np.zeros((count, 3, 0, 0), np.float16),
        helper_logits=np.zeros((0, count, 0), np.float32),
        forwards=np.zeros(count, np.int64),
        backwards=np.zeros(count, np.int64),
    )


def _with_cost(measured: Measured, result: Any) -> Measured:
    return replace(
        measured,
        forwards=measured.forwards + result.forwards.cpu().numpy(),
        backwards=measured.backwards + result.backwards.cpu().numpy(),
    )


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to(torch.float32).cpu().numpy()
