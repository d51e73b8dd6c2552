"""Labels of the data against classes of the model: never guessed."""

from __future__ import annotations

import pickle

import pytest

from whywrong.core.classes import ClassList, match_labels
from whywrong.core.errors import InputError, UnmatchedLabelError

NAMES = ClassList(("tench", "crane", "crane", "tabby"), ("n01", "n02", "n03", "n04"))


def test_labels_are_read_as_index_wnid_or_name():
    assert match_labels(["0", "3"], NAMES) == {"0": 0, "3": 3}
    assert match_labels(["n03", "n01"], NAMES) == {"n03": 2, "n01": 0}
    assert match_labels(["tabby", "tench"], NAMES) == {"tabby": 3, "tench": 0}


def test_an_ambiguous_name_stops_and_asks_for_index_or_wnid():
    with pytest.raises(InputError, match=r"crane.*\[1, 2\].*index or wnid"):
        match_labels(["crane", "tench"], NAMES)


def test_only_labels_of_the_data_must_match():
    assert match_labels(["tabby"], NAMES) == {"tabby": 3}
    assert match_labels([], NAMES) == {}


def test_an_unknown_label_is_named_with_the_nearest_class():
    with pytest.raises(
        UnmatchedLabelError, match='"tabby_cat" is not among the model\'s 4 classes; nearest: "tabby"'
    ) as error:
        match_labels(["tabby_cat"], NAMES)
    assert error.value.label == "tabby_cat"
    assert pickle.loads(pickle.dumps(error.value)).label == "tabby_cat"


def test_mixed_ways_of_naming_are_refused():
    with pytest.raises(InputError, match="mix ways"):
        match_labels(["n01", "tabby"], NAMES)


def test_two_complete_ways_that_disagree_stop_until_the_owner_says_which():
    digits = ClassList(("1", "0"))
    with pytest.raises(InputError, match="--label-by"):
        match_labels(["0", "1"], digits)
    assert match_labels(["0", "1"], digits, label_by="name") == {"0": 1, "1": 0}
    assert match_labels(["0", "1"], digits, label_by="index") == {"0": 0, "1": 1}
    assert match_labels(["0", "1"], ClassList(("0", "1"))) == {"0": 0, "1": 1}  # both ways agree


@pytest.mark.parametrize("label", ["4", "-1", "1.0", " 1", "01", "", "nan"])
def test_an_index_outside_or_not_whole_is_refused(label):
    with pytest.raises(InputError):
        match_labels([label], ClassList(("a", "b", "c")))


@pytest.mark.parametrize("way", ["wnid", "colour", ""])
def test_a_way_that_does_not_exist_is_refused(way):
    with pytest.raises(InputError, match="matched by"):
        match_labels(["a"], ClassList(("a", "b")), label_by=way)


def test_records_beside_the_data_add_names_and_wnids():
    plain = ClassList(("0", "1", "2"))
    records = [{"index": 2, "name": "owl", "wnid": "n9"}, {"index": 0, "name": "cat", "wnid": "n7"}]
    assert match_labels(["owl", "cat"], plain, records=records) == {"owl": 2, "cat": 0}
    assert match_labels(["n9"], plain, records=records) == {"n9": 2}
    with pytest.raises(InputError, match="class 3"):
        match_labels(["owl"], plain, records=[{"index": 3, "name": "owl"}])


@pytest.mark.parametrize(
    "records",
    [
        [{"index": 0}],
        [{"name": "a"}],
        [{"index": "0", "name": "a"}],
        [{"index": True, "name": "a"}],
        [{"index": 0, "name": "a"}, {"index": 0, "name": "b"}],
        [{"index": 1, "name": "a"}, {"index": 2, "name": "b"}],
        ["a", {"index": 1, "name": "b"}],
        [3],
    ],
)
def test_broken_class_records_are_refused(records):
    with pytest.raises(InputError):
        ClassList.from_records(records)


def test_class_records_are_put_in_order():
    classes = ClassList.from_records([{"index": 1, "name": "b", "wnid": "n2"}, {"index": 0, "name": "a", "wnid": "n1"}])
    assert classes == ClassList(("a", "b"), ("n1", "n2"))
    assert ClassList.from_records(["a", "b"]) == ClassList(("a", "b"))
    with pytest.raises(InputError, match="wnids"):
        ClassList(("a", "b"), ("n1",))
