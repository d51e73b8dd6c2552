"""Objects cut off by the crop, small, or beside the evidence; dark, over-exposed and blurred images."""

from __future__ import annotations

import numpy as np
import pytest
from tests.verdicts.groups.made import guesses, pictures, rows_of

from whywrong.verdicts.groups.exposure import damaged_exposure
from whywrong.verdicts.groups.framing import cut_off, outside_object, tiny

LABEL, PREDICTED = guesses()
WRONG = (LABEL != PREDICTED).nonzero()[0]


def test_a_box_half_outside_the_crop_is_an_object_cut_off():
    box = np.tile(np.array([0.2, 0.2, 0.8, 0.8], np.float32), (400, 1))
    box[WRONG[0]] = [-0.5, 0.2, 0.5, 0.8]
    box[WRONG[1]] = np.nan
    box[WRONG[2]] = [0.9, 0.2, 1.9, 0.8]
    box[WRONG[3]] = [-0.2, 0.2, 0.8, 0.8]  # a fifth
    [group] = cut_off(rows_of(LABEL, PREDICTED, object_box=box))
    assert group.members == (f"i{WRONG[2]:04d}", f"i{WRONG[0]:04d}")
    assert group.cause == "occluded"


def test_evidence_beside_the_box_is_outside_the_object():
    maps = np.ones((400, 8, 8), np.float32)
    box = np.tile(np.array([0.25, 0.25, 0.75, 0.75], np.float32), (400, 1))
    maps[WRONG[0], 2:6, 2:6] = 0
    [group] = outside_object(rows_of(LABEL, PREDICTED, object_box=box, input_evidence=maps))
    assert group.members == (f"i{WRONG[0]:04d}",)
    assert outside_object(rows_of(LABEL, PREDICTED, object_box=box, input_evidence=np.ones_like(maps))) == []


def boxes(share: np.ndarray) -> np.ndarray:
    half = np.sqrt(share) / 2
    return np.stack([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], 1).astype(np.float32)


def test_small_objects_are_grouped_only_if_errors_have_more_of_them():
    share = np.random.default_rng(0).uniform(0.1, 0.9, 400)
    assert tiny(rows_of(LABEL, PREDICTED, object_box=boxes(share))) == []
    share[WRONG[:20]] = 0.01
    [group] = tiny(rows_of(LABEL, PREDICTED, object_box=boxes(share)))
    assert set(group.members[:20]) == {f"i{row:04d}" for row in WRONG[:20]}
    assert group.size <= 23


@pytest.mark.parametrize(("kind", "value"), [("dark", 5), ("overexposed", 254)])
def test_dark_and_overexposed_errors_are_found(kind, value):
    shown = pictures(400)
    shown[WRONG[:12]] = np.minimum(shown[WRONG[:12]] // 8, value) if kind == "dark" else 254
    [group] = damaged_exposure(rows_of(LABEL, PREDICTED, pictures=shown))
    assert group.kind == kind
    assert set(group.members) == {f"i{row:04d}" for row in WRONG[:12]}


def test_blurred_errors_are_found_by_their_sharpness():
    sharp = np.random.default_rng(0).normal(size=400).astype(np.float32)
    sharp[WRONG[:12]] -= 9
    [group] = damaged_exposure(rows_of(LABEL, PREDICTED, sharpness=sharp))
    assert group.kind == "blurred"
    assert set(group.members[:12]) == {f"i{row:04d}" for row in WRONG[:12]}
    assert group.size <= 15


def gain(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=400).astype(np.float32)


def test_errors_exposed_like_the_correct_images_are_rarely_grouped():
    found = [
        damaged_exposure(rows_of(LABEL, PREDICTED, pictures=pictures(400, 16, seed), sharpness=gain(seed)))
        for seed in range(20)
    ]
    assert sum(bool(groups) for groups in found) <= 1


@pytest.mark.parametrize("kind", [cut_off, outside_object, tiny, damaged_exposure])
def test_a_kind_whose_measurements_are_missing_is_left_out(kind):
    assert kind(rows_of(LABEL, PREDICTED)) == []
