"""Placeholders, copies, suspect labels and close calls."""

from __future__ import annotations

import numpy as np
import pytest
from tests.verdicts.groups.made import guesses, pictures, rows_of

from whywrong.verdicts.groups.duplicates import duplicates
from whywrong.verdicts.groups.labels import close_calls, label_suspects
from whywrong.verdicts.groups.placeholders import colours, placeholders


def features(label: np.ndarray, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (3 * np.eye(16)[label] + random.normal(size=(len(label), 16))).astype(np.float32)


def with_placeholders(same_label: bool = False):
    label, predicted = guesses()
    shown, found = pictures(400), features(predicted)
    chosen = (label != predicted).nonzero()[0][:3]
    card = np.full((3, 24, 24), 230, np.uint8)
    card[:, 10:14, 4:20] = 90
    shown[chosen] = card
    found[chosen] = 3
    if same_label:
        label[chosen] = label[chosen[0]]
        predicted[chosen] = (label[chosen[0]] + 1) % 10
    return rows_of(label, predicted, pictures=shown, features=found), chosen


def test_a_card_under_several_labels_is_a_placeholder():
    rows, chosen = with_placeholders()
    [group] = placeholders(rows)
    assert set(group.members) == {rows.item_ids[row] for row in chosen}
    assert group.kind == "placeholder"
    assert group.sentence.startswith("3 of ")
    assert group.cohesion == pytest.approx(1)


def test_a_card_under_one_label_is_none():
    assert placeholders(with_placeholders(same_label=True)[0]) == []


def test_blank_errors_are_found_without_features():
    label, predicted = guesses()
    shown = pictures(400)
    blank = (label != predicted).nonzero()[0][0]
    shown[blank] = 17
    [group] = placeholders(rows_of(label, predicted, pictures=shown))
    assert group.members == (f"i{blank:04d}",)


def test_ordinary_errors_are_no_placeholders():
    label, predicted = guesses()
    assert placeholders(rows_of(label, predicted, pictures=pictures(400), features=features(predicted))) == []


def test_colours_are_counted_at_sixteen_levels():
    shown = np.zeros((2, 3, 16, 16), np.uint8)
    shown[1, 0, 0, :3] = [15, 16, 255]
    assert colours(shown).tolist() == [1, 3]


def test_copies_with_another_label_and_copies_of_each_other_are_told_apart():
    label, predicted = np.zeros(30, int), np.ones(30, int)
    label[10:] = predicted[10:] = 2
    sources = [f"s{row}" for row in range(30)]
    sources[3] = sources[20]  # a correct image with label 2
    sources[5] = sources[6]
    conflict, copies = duplicates(rows_of(label, predicted, sources=tuple(sources)))
    assert conflict.members == ("i0003",)
    assert conflict.cause == "label"
    assert "class 0 and class 2" in conflict.sentence
    assert copies.members == ("i0005", "i0006")
    assert not copies.suspected


def test_a_compressed_copy_is_found_by_its_picture():
    label, predicted = guesses(100)
    shown = pictures(100)
    wrong = (label != predicted).nonzero()[0]
    other = next(row for row in range(100) if label[row] != label[wrong[0]])
    noise = np.random.default_rng(1).integers(-4, 5, shown[0].shape)
    shown[other] = np.clip(shown[wrong[0]].astype(int) + noise, 0, 255)
    [group] = [one for one in duplicates(rows_of(label, predicted, pictures=shown)) if one.cause == "label"]
    assert rows_of(label, predicted).item_ids[wrong[0]] in group.members


def test_different_and_flat_pictures_are_no_copies():
    label, predicted = guesses(100)
    assert duplicates(rows_of(label, predicted, pictures=pictures(100))) == []
    assert duplicates(rows_of(label, predicted, pictures=np.full((100, 3, 24, 24), 90, np.uint8))) == []


def confident(label: np.ndarray, predicted: np.ndarray, flipped: np.ndarray, seed: int = 0):
    """Return rows of a good model: sure of what is right and of flipped labels, unsure of its errors."""
    random = np.random.default_rng(seed)
    sure = (label == predicted) | flipped
    confidence = np.where(sure, random.uniform(0.9, 1, len(label)), random.uniform(0.4, 0.7, len(label)))
    true = np.where(label == predicted, confidence, np.where(flipped, 0.001, 0.25))
    near = np.where(sure, predicted, label)
    return rows_of(label, predicted, features=features(near), confidence=confidence, true_confidence=true)


def test_flipped_labels_are_suspect_and_ordinary_errors_are_not():
    label, predicted = guesses(600, accuracy=0.9)
    flipped = (label != predicted) & (np.arange(600) % 2 == 0)
    [group] = label_suspects(confident(label, predicted, flipped))
    truth = {f"i{row:04d}" for row in flipped.nonzero()[0]}
    assert set(group.members) <= truth
    assert len(group.members) >= 0.3 * len(truth)  # half of them are less sure than the median correct image


def test_a_model_no_better_than_chance_gives_no_suspect_labels_and_no_close_calls():
    random = np.random.default_rng(0)
    label, predicted = random.integers(0, 10, (2, 400))
    rows = confident(label, predicted, np.ones(400, bool))
    assert label_suspects(rows) == []
    assert close_calls(rows) == []


def test_errors_with_the_label_close_behind_are_close_calls_the_closest_first():
    label, predicted = guesses(100)
    wrong = (label != predicted).nonzero()[0]
    true = np.full(100, 0.3)
    true[wrong[4]], true[wrong[7]] = 0.66, 0.69
    [group] = close_calls(rows_of(label, predicted, true_confidence=true))
    assert group.members == (f"i{wrong[7]:04d}", f"i{wrong[4]:04d}")
