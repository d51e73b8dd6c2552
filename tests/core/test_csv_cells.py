"""What a spreadsheet would run as a formula leaves the house as text, and comes back as it was."""

from __future__ import annotations

import csv
import io

import pytest

from whywrong.core.csv_cells import guard_cell, plain_cell
from whywrong.data.sources.rows import Table

HOSTILE = ["=1+1", '=cmd|" /C calc"!A0', "+49", "-3 cats", "@SUM(A1)", "\tx", "\rx", "\nx", '=HYPERLINK("http://h")']
PLAIN = ["cat", "'quoted'", "a=b", "1", "", "'", "''=", " =x"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_formula_gets_an_apostrophe(text):
    assert guard_cell(text) == "'" + text
    assert plain_cell(guard_cell(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text):
    assert guard_cell(text) == text
    assert plain_cell(text) == text


@pytest.mark.parametrize("text", HOSTILE + PLAIN[:3])
def test_a_table_reads_back_what_was_guarded(tmp_path, text):
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("path", "label"), ("a.png", guard_cell(text))])
    (tmp_path / "t.csv").write_bytes(file.getvalue().encode())
    (row,) = Table.open(str(tmp_path / "t.csv"), ("path",)).rows()
    assert row.cells == {"path": "a.png", "label": text}


@pytest.mark.parametrize("name", HOSTILE[:5])
def test_tables_of_planted_mistakes_hold_no_formula(tmp_path, name):
    from whywrong.planting.folder import _table

    _table(tmp_path / "planted.csv", ("label", "strength"), [{"label": name, "strength": -0.5}])
    ((_, _), (label, strength)) = csv.reader((tmp_path / "planted.csv").open(encoding="utf-8", newline=""))
    assert (label, strength) == ("'" + name, "-0.5")  # numbers stay numbers


@pytest.mark.parametrize("name", HOSTILE[:5])
def test_labels_of_spurious_features_hold_no_formula_and_are_read_back(tmp_path, name):
    from whywrong.api.spurious import read_labels
    from whywrong.core.classes import ClassList
    from whywrong.explain.spurious.labels import WORDS, _quoted

    line = f"{_quoted(name)},1,{next(iter(WORDS))},"
    assert next(csv.reader([line]))[0] == "'" + name
    (tmp_path / "labels.csv").write_text(f"class,component,label,basis\n{line}\n")
    labels = read_labels(tmp_path / "labels.csv", ClassList((name, "other")), {0: 3}, None)
    assert list(labels.words) == [(0, 0)]
