"""Files for --classes: every usual form is read in the order of the outputs, or refused with the line."""

from __future__ import annotations

import pytest

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.models.class_files import read_class_file

NAMES = ("zebra", "ant", "dog")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "zebra\nant\ndog\n"),
        ("labels.txt", "\ufeffzebra\r\nant\r\ndog"),
        ("labels.names", "0 zebra\n1 ant\n2 dog\n"),
        ("a.json", '["zebra", "ant", "dog"]'),
        ("a.json", '\ufeff{"0": "zebra", "2": "dog", "1": "ant"}'),
        ("a.json", '{"ant": 1, "dog": 2, "zebra": 0}'),
        ("a.json", '[{"index": 1, "name": "ant"}, {"index": 0, "name": "zebra"}, {"index": 2, "name": "dog"}]'),
        ("config.json", '{"model_type": "vit", "id2label": {"0": "zebra", "1": "ant", "2": "dog"}}'),
        ("a.csv", "index,name\n2,dog\n0,zebra\n1,ant\n"),
        ("a.csv", "\ufeffname;index\r\ndog;2\r\nzebra;0\r\nant;1\r\n"),
        ("a.tsv", "class_id\tclass_name\n0\tzebra\n1\tant\n2\tdog\n"),
        ("a.csv", "name\nzebra\nant\ndog\n"),
        ("a.csv", "zebra\nant\ndog\n"),
        ("a.csv", "0,zebra\n1,ant\n2,dog\n"),
    ],
)
def test_a_file_gives_the_names_in_the_order_of_the_outputs(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_class_file(tmp_path / name) == ClassList(NAMES)


def test_names_with_commas_and_wnids_survive_a_table(tmp_path):
    (tmp_path / "a.csv").write_text('index,wnid,name\n0,n00000001,"tabby, tabby cat"\n1,n00000002,fox\n')
    expected = ClassList(("tabby, tabby cat", "fox"), ("n00000001", "n00000002"))
    assert read_class_file(tmp_path / "a.csv") == expected


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.txt", b"zebra\n\ndog\n", "line 2"),
        ("a.txt", b"", "no class names"),
        ("a.txt", b"\xff\xfez\x00", "could not be read"),
        ("a.json", b"{", "could not be read"),
        ("a.json", b"3", "must hold"),
        ("a.json", b'{"cat": 0, "cat": 1}', '"cat" comes twice'),
        ("a.json", b'{"0": "cat", "2": "dog"}', "1 is missing"),
        ("a.csv", b"index,name\n0,cat\n0,dog\n", "entry 1"),
        ("a.csv", b"index,name\n0,cat\nx,dog\n", "row 2.*'x'"),
        ("a.csv", b"index,name\n0,cat\n1\n", "row 2: expected 2 fields"),
        ("a.csv", b"a,b,c\n1,2,3\n", 'no column "name"'),
    ],
)
def test_a_file_that_holds_no_list_is_refused_with_the_place(tmp_path, name, data, text):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=text):
        read_class_file(tmp_path / name)


def test_a_missing_file_names_what_may_be_given(tmp_path):
    with pytest.raises(InputError, match=r"no list of classes at .*\.txt, \.json or \.csv file, or sorted"):
        read_class_file(tmp_path / "none.txt")
