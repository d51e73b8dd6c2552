"""Measurements made of random numbers, with known signs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from whywrong.core.access import Access
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.training_table import StoredRecurrence, TrainingTable
from whywrong.verdicts.measured import Measured


@dataclass(frozen=True)
class FakeSign:
    name: str
    group: str
    stage: str
    kind: str
    access: Access = Access.SCORES


SIGNS = (
    FakeSign("margin", "scores", "scores", "logit"),
    FakeSign("noise_level", "pixels_global", "pixels", "quantity", Access.LABELS),
    FakeSign("fine_chroma", "pixels_global", "pixels", "quantity", Access.LABELS),
    FakeSign("step", "pixels_local", "pixels", "quantity", Access.LABELS),
    FakeSign("survival_tiny_mean", "survival", "survival", "logit"),
    FakeSign("survival_label", "survival", "survival", "share", Access.LABELS),
    FakeSign("gradient_share", "gradient", "gradient", "quantity", Access.GRADIENTS),
    FakeSign("window_best", "window", "windows", "logit"),
    FakeSign("zoom_label", "crops", "crops", "share", Access.LABELS),
)
STAGES = ("pixels", "scores", "survival", "gradient", "crops", "windows")


def measured(
    n: int, seed: int = 0, *, classes: int = 6, dimension: int = 12, helpers: int = 1, name: str = "item"
) -> Measured:
    """Measurements of ``n`` images, each of a source of its own; the prediction has the largest logit."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(n, classes)).astype(np.float32)
    order = np.argsort(-logits, axis=1)
    signs = draw.normal(size=(n, len(SIGNS))).astype(np.float32)
    for column, sign in enumerate(SIGNS):
        if sign.kind == "share":
            signs[:, column] = draw.integers(0, 9, n) / 8
    return Measured(
        item_ids=tuple(f"{name}-{i}" for i in range(n)),
        sources=tuple(f"{name}-{i}" for i in range(n)),
        label=order[:, 1].astype(np.int64),
        predicted=order[:, 0].astype(np.int64),
        logits=logits,
        features=draw.normal(size=(n, dimension)).astype(np.float32),
        sign_names=tuple(sign.name for sign in SIGNS),
        signs=signs,
        test_names=("denoise",),
        restored=draw.integers(0, 4, (n, 1)).astype(np.float32) / 3,
        detail=np.zeros((n, 3, 4, 4), np.float16),
        helper_logits=draw.normal(size=(helpers, n, classes)).astype(np.float32),
        forwards=np.full(n, 87),
        backwards=np.ones(n, np.int64),
    )


# Columns whose values tell each cause from the others, in standard deviations.
_SIGNAL = {
    "label": {"survival_label": -0.4, "survival_tiny_mean": -2.0},
    "corruption": {"noise_level": 3.0},
    "adversarial": {"survival_tiny_mean": 3.0},
    "spurious": {"window_best": 2.5},
    "occluded": {"step": 3.0},
    "confusion": {"margin": -2.0},
    "shift": {"fine_chroma": 3.0},
    "ordinary": {},
}


def planted(n: int, seed: int, *, net: str = "cnn", family: str = "", helper: str = "vit") -> TrainingTable:
    """Errors of all causes in turn, whose signs tell the causes apart."""
    errors, reference = measured(n, seed, name=f"{net}-error"), measured(90, seed + 1000, name=f"{net}-right")
    truth = tuple(CLASSES[i % len(CLASSES)] for i in range(n))
    signs = errors.signs.copy()
    for row, cause in enumerate(truth):
        for name, shift in _SIGNAL[cause].items():
            signs[row, errors.sign_names.index(name)] += shift
    is_cue = np.array([cause == "spurious" for cause in truth])
    return TrainingTable(
        errors=replace(errors, signs=signs),
        reference=reference,
        recurrence=StoredRecurrence(
            count=np.where(is_cue, 5, 0), best=np.where(is_cue, 0.9, 0.2), cluster=np.where(is_cue, 0, -1)
        ),
        truth=truth,
        second=("",) * n,
        kind=tuple("natural" if cause == "ordinary" else f"some {cause}" for cause in truth),
        role=tuple("natural" if cause == "ordinary" else "plant" for cause in truth),
        hard=np.zeros(n, bool),
        half=np.arange(n) // len(CLASSES) % 2,
        net=net,
        family=family or net,
        data=f"images of {net}",
        licence="Apache-2.0",
        helper=helper,
    )
