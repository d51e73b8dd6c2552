"""Attractors, pairs and families are named where they exceed chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.verdicts.groups.made import guesses, rows_of

from whywrong.core.classes import ClassList
from whywrong.verdicts.groups import attractors, confused_pairs, family_groups
from whywrong.verdicts.groups.families import class_families


def with_errors(pairs: list[tuple[int, int]], n: int = 400, classes: int = 10):
    label, predicted = guesses(n, classes, accuracy=1)
    for true, other in pairs:
        predicted[((label == true) & (predicted == true)).nonzero()[0][0]] = other
    return rows_of(label, predicted, classes)


def test_a_class_that_draws_errors_of_many_classes_is_an_attractor():
    spread = [(true, (true + step) % 10) for true in range(10) for step in (1, 4)]
    rows = with_errors([(true, 6) for true in range(10) if true != 6] * 3 + spread)
    [group] = attractors(rows)
    assert group.size == 29
    assert group.name == "predicted as class 6"
    assert group.sentence.startswith(
        "29 of 47 errors, from 9 classes, are predicted as class 6; 5 are expected by chance"
    )
    assert group.suspected
    assert set(group.members) == {rows.item_ids[row] for row in rows.wrong if rows.predicted[row] == 6}


def test_copies_of_one_photograph_make_no_attractor():
    rows = with_errors([(true, 6) for true in range(10) if true != 6] * 3)
    rows = replace(
        rows, sources=tuple("one" if p == 6 else s for p, s in zip(rows.predicted, rows.sources, strict=True))
    )
    assert attractors(rows) == []


def test_a_pair_alone_is_no_attractor_but_a_confused_pair():
    spread = [(true, (true + step) % 10) for true in range(10) for step in (1, 4, 7)]
    rows = with_errors([(3, 5)] * 12 + [(5, 3)] * 8 + spread)
    assert attractors(rows) == []
    [group] = confused_pairs(rows)
    assert group.pair == (3, 5)
    assert group.size == 20
    assert group.statistics["both"] == pytest.approx(8 / 20)
    assert "12 are class 3 predicted as class 5, 8 the reverse" in group.sentence


@pytest.mark.parametrize("kind", [attractors, confused_pairs, family_groups])
def test_random_errors_are_rarely_grouped(kind):
    found = [kind(rows_of(*guesses(seed=seed))) for seed in range(40)]
    assert sum(bool(groups) for groups in found) <= 2


@pytest.mark.parametrize("kind", [attractors, confused_pairs, family_groups])
def test_no_errors_give_no_groups(kind):
    assert kind(rows_of(*guesses(accuracy=1))) == []


def test_a_balanced_class_is_no_attractor_only_because_it_is_frequent():
    random = np.random.default_rng(0)
    label = np.where(random.random(600) < 0.5, 0, random.integers(1, 10, 600))
    predicted = np.where(random.random(600) < 0.6, label, random.permutation(label))
    assert attractors(rows_of(label, predicted)) == []


def family_rows(inside: int):
    """Return 120 classes in families of 4 with one item each, and errors of which some stay in family 0 to 2."""
    label = np.repeat(np.arange(120), 2)
    predicted = label.copy()
    for k in range(inside):
        predicted[2 * k] = 4 * (k // 4) + (k + 1) % 4
    random = np.random.default_rng(0)
    for k in range(40, 70):
        predicted[2 * k] = random.integers(70, 120)
    return rows_of(label, predicted, 120)


def test_errors_that_stay_in_a_family_are_grouped_where_pairs_occur_once():
    [one, two, three] = family_groups(family_rows(12), np.arange(120) // 4)
    assert [group.size for group in (one, two, three)] == [4, 4, 4]
    assert set(one.members) == {"i0000", "i0002", "i0004", "i0006"}


def test_shuffled_families_give_none():
    families = np.random.default_rng(1).permutation(np.arange(120) // 4)
    assert family_groups(family_rows(12), families) == []


def test_families_follow_the_weights_of_the_last_layer():
    random = np.random.default_rng(0)
    weights = np.repeat(random.normal(size=(20, 16)), 6, 0) + 0.1 * random.normal(size=(120, 16))
    label = np.arange(120)
    rows = rows_of(label, np.roll(label, 1), 120, weights=weights.astype(np.float32))
    families = class_families(rows)
    assert all(len(set(part)) == 1 for part in families.reshape(20, 6))
    assert len(set(families)) == 20


def test_families_follow_the_last_word_of_names_without_weights():
    names = ("tiger shark", "tabby cat", "great white shark", "house", "siamese cat")
    rows = replace(rows_of(np.arange(5), np.roll(np.arange(5), 1), 5), classes=ClassList(names))
    families = class_families(rows)
    assert families[0] == families[2]
    assert families[1] == families[4]
    assert families[0] != families[1]
    assert families[3] == -1
