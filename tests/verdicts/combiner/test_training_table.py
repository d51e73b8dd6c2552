"""Tables of errors with known causes, on disk."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from tests.verdicts.synthetic import SIGNS, measured

from whywrong.core.errors import DataError
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays
from whywrong.verdicts.combiner.training_table import StoredRecurrence, TrainingTable, load_table, save_table
from whywrong.verdicts.measured import Measured


def table(n: int = 12) -> TrainingTable:
    return TrainingTable(
        errors=measured(n, 0, name="error"),
        reference=measured(60, 1),
        recurrence=StoredRecurrence(count=np.arange(n), best=np.zeros(n), cluster=np.full(n, -1)),
        truth=("label", "ordinary", "spurious") * (n // 3),
        second=("", "", "corruption") * (n // 3),
        kind=("near", "natural", "mark") * (n // 3),
        role=("plant", "natural", "double") * (n // 3),
        hard=np.arange(n) % 2 == 0,
        half=np.arange(n) % 2,
        net="cnn",
        family="cnn",
        data="drawn pictures",
        licence="Apache-2.0",
        helper="vit",
    )


def test_a_stored_table_is_read_as_it_was(tmp_path: Path) -> None:
    made = table()
    save_table(made, tmp_path / "cnn.npz")
    found = load_table(tmp_path / "cnn.npz")
    for part in ("errors", "reference"):
        for field in fields(Measured):
            np.testing.assert_array_equal(
                getattr(getattr(found, part), field.name), getattr(getattr(made, part), field.name)
            )
    assert (found.truth, found.second, found.kind, found.role) == (made.truth, made.second, made.kind, made.role)
    assert (found.net, found.family, found.helper) == ("cnn", "cnn", "vit")
    np.testing.assert_array_equal(found.evidence(SIGNS).x, made.evidence(SIGNS).x)


def test_rows_of_a_table_keep_their_truth_and_the_whole_reference() -> None:
    found = table().at(np.array([2, 5]))
    assert found.truth == ("spurious", "spurious")
    assert found.recurrence.count.tolist() == [2, 5]
    assert found.errors.item_ids == ("error-2", "error-5")
    assert len(found.reference) == 60


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    save_table(table(), tmp_path / "a.npz")
    save_table(table(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truth": np.array(["label"] * 11)}, "truth has 11 rows, 12 expected"),
        ({"truth": np.array(["weather"] * 12)}, "unknown causes weather"),
        ({"errors_signs": np.zeros((12, 2), np.float32)}, "one column per name"),
        ({"reference_label": np.zeros(3, np.int64)}, "label has 3 rows"),
        ({"half": None}, "half is missing"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    tmp_path: Path, change: dict[str, np.ndarray | None], words: str
) -> None:
    path = tmp_path / "cnn.npz"
    save_table(table(), path)
    header, arrays = read_arrays(path, 2**24)
    kept = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    write_arrays(path, header, kept)
    with pytest.raises(DataError, match=words):
        load_table(path)


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cnn.npz"
    save_table(table(), path)
    header, arrays = read_arrays(path, 2**24)
    write_arrays(path, {**header, "schema": 99}, arrays)
    with pytest.raises(DataError, match="schema 1"):
        load_table(path)
