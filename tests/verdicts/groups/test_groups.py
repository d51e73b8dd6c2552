"""All groups of a run together, marks, and the choice of one group for each error."""

from __future__ import annotations

import numpy as np
import pytest
from tests.verdicts.groups.made import guesses, pictures, rows_of
from tests.verdicts.recurrence import made

from whywrong.verdicts.groups import Group, assign, free_groups, mark_groups
from whywrong.verdicts.groups.places import place_in_words
from whywrong.verdicts.recurrence import recurrence


def group(kind: str, members: str, cause: str = "") -> Group:
    return Group(
        name=kind, kind=kind, cause=cause, members=tuple(members), size=len(members), share=0.1, sentence="", action=""
    )


def test_each_error_gets_one_group_and_its_second_is_named():
    groups = [group("attractor", "abc"), group("mark", "ab"), group("pair", "bd", "confusion")]
    found = assign(groups)
    assert {item: (one.first, one.second) for item, one in found.items()} == {
        "a": (1, 0),
        "b": (1, 2),
        "c": (0, None),
        "d": (2, None),
    }


def test_probable_causes_decide_between_suspicions_but_not_against_facts():
    groups = [group("placeholder", "a", "label"), group("pair", "ab", "confusion"), group("cut_off", "ab", "occluded")]
    causes = {"a": {"confusion": 0.9}, "b": {"confusion": 0.6, "occluded": 0.3}}
    found = assign(groups, causes)
    assert (found["a"].first, found["a"].second) == (0, 1)
    assert (found["b"].first, found["b"].second) == (1, 2)


def test_random_predictions_give_few_groups():
    sizes = []
    for seed in range(10):
        label, predicted = guesses(seed=seed)
        rows = rows_of(label, np.random.default_rng(seed).permutation(predicted), pictures=pictures(400, 16, seed))
        sizes.append(sum(one.size for one in free_groups(rows)) / len(rows.wrong))
    assert np.mean(sizes) <= 0.02


def test_a_run_without_errors_has_no_groups():
    assert free_groups(rows_of(*guesses(accuracy=1))) == []


def marked(places: tuple[str, ...], seeds: tuple[int, ...]):
    x = made.pictures(90)
    predicted = np.arange(90) % 3
    for index, row in enumerate(range(0, 90, 3)):
        mark = made.pattern(7, seeds[index % len(seeds)])
        top = 3 if places[index % len(places)] == "upper" else 22
        x[row, :, top : top + 7, 22:29] = mark
    errors = made.measured(x, predicted)
    label = (predicted + 1) % 5
    return rows_of(label, predicted, 5, item_ids=errors.item_ids), errors


def test_one_mark_at_two_places_is_one_group():
    rows, errors = marked(("upper", "lower"), (1,))
    [found] = mark_groups(rows, errors, recurrence(errors))
    assert set(found.members) == {f"i{row}" for row in range(0, 90, 3)}
    assert found.kind == "mark"
    assert found.cause == "spurious"
    assert found.statistics["places"] == 2
    assert found.sentence.startswith("30 of 90 errors share a mark at the ")
    assert found.sentence.endswith(" and are predicted as class 0.")


def test_two_marks_at_one_place_are_two_groups():
    rows, errors = marked(("lower",), (1, 2))
    found = mark_groups(rows, errors, recurrence(errors))
    assert [one.size for one in found] == [15, 15]
    assert found[0].name == "mark at the lower right, predicted as class 0"


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0.7, 0.7, 1, 1), "lower right"),
        ((0, 0, 0.2, 0.2), "upper left"),
        ((0.4, 0.4, 0.6, 0.6), "centre"),
        ((0, 0.4, 0.2, 0.6), "left side"),
        ((0, 0.8, 1, 1), "lower edge"),
        ((0.4, 0, 0.6, 0.1), "upper edge"),
    ],
)
def test_places_have_names(box, words):
    assert place_in_words(box) == words
