"""Predicted classes that attract errors, counted by hand."""

from whywrong.report.overview.attractors import add_links, attractors
from whywrong.report.primitives.run_summary import Pair, RunSummary
from whywrong.report.tables import Names

NAMES = Names(["cat", "dog", "fish", "car"])


def summary(*pairs: tuple[int, int, int]) -> RunSummary:
    errors = sum(number for _, _, number in pairs)
    found = RunSummary(items=50, read=50, labelled=50, errors=errors)
    found.pairs = [Pair(label, predicted, number, 10) for label, predicted, number in pairs]
    return found


def test_errors_are_added_up_by_the_class_that_they_go_to():
    found = attractors(summary((0, 2, 5), (1, 2, 3), (3, 1, 2), (0, 1, 1), (2, 3, 1)), NAMES)
    assert [(row.name, row.number, row.classes, row.width) for row in found.shown] == [
        ("fish", 8, 2, 1.0),
        ("dog", 3, 2, 3 / 8),
    ]
    assert found.most == 8
    assert (
        found.reading.replace("\u00a0", " ")
        == "8 of 12 errors are predicted as fish, from 2 classes; 3 are predicted as dog."
    )
    note = found.shown[0].note.replace("\u00a0", " ")
    assert note == "66.7 % of all errors, from 2 classes, most often cat (5)"


def test_a_class_with_one_error_attracts_none():
    found = attractors(summary((0, 2, 1), (1, 3, 1)), NAMES)
    assert found.shown == []
    assert "are predicted as different classes, each class once" in found.reading


def test_a_single_origin_is_named():
    found = attractors(summary((0, 2, 4)), NAMES)
    assert found.shown[0].note.endswith("all from cat")
    assert found.reading.replace("\u00a0", " ") == "4 of 4 errors are predicted as fish."


def test_more_than_the_shown_ones_are_kept_apart():
    found = attractors(summary(*[(0, label, 3) for label in (1, 2, 3)]), NAMES, shown=2)
    assert (len(found.shown), len(found.rest)) == (2, 1)


def test_a_class_is_linked_to_its_large_groups_and_its_harmful_features():
    found = attractors(summary((0, 2, 8), (1, 2, 2), (3, 1, 2)), NAMES)
    groups = [(2, 6, "a mark", "group-1"), (2, 1, "a small group", "group-2"), (1, 2, "dogs", "group-3")]
    add_links(found, {2: 1}, "spurious.html", groups)
    fish, dog = found.shown
    assert fish.links == [("group: a mark", "#group-1"), ("1\u00a0harmful spurious feature", "spurious.html")]
    assert dog.links == [("group: dogs", "#group-3")]


def test_without_its_page_a_harmful_feature_is_not_linked():
    found = attractors(summary((0, 2, 8)), NAMES)
    add_links(found, {2: 1}, "", [])
    assert found.shown[0].links == []
