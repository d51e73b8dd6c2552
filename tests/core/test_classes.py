"""The list of classes: records in any order, one wnid and one tuple of aliases a class."""

from __future__ import annotations

import pytest

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError


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
    with pytest.raises(InputError, match="aliases"):
        ClassList(("a", "b"), aliases=((),))


def test_counted_classes_have_no_names_of_their_own():
    assert not ClassList(("0", "1")).named
    assert ClassList(("0", "1"), ("n1", "n2")).named
    assert ClassList(("1", "0")).named
