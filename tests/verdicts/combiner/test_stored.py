"""Combiners on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.verdicts.synthetic import SIGNS, planted

from whywrong.core.errors import DataError
from whywrong.verdicts.combiner import stored
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.rows import rows_of
from whywrong.verdicts.combiner.stored import combiner_hash, load_combiner, save_combiner


@pytest.fixture
def path(combiner: Combiner, tmp_path: Path) -> Path:
    save_combiner(combiner, tmp_path / "combiner.npz")
    return tmp_path / "combiner.npz"


def changed(path: Path, header: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> Path:
    """Write the file again with changes, and with a checksum that fits them."""
    old_header, old_arrays = read_arrays(path, 2**28)
    new = {name: array for name, array in {**old_arrays, **(arrays or {})}.items() if array is not None}
    write_arrays(path, {**old_header, "sha256": stored._digest(new), **(header or {})}, new)
    return path


def test_a_stored_combiner_predicts_the_same_to_the_bit(combiner: Combiner, path: Path) -> None:
    evidence = rows_of(planted(80, 60, net="fresh"), SIGNS).evidence
    found = load_combiner(path)
    np.testing.assert_array_equal(found.predict(evidence).probability, combiner.predict(evidence).probability)
    assert found.predict(evidence).kind == combiner.predict(evidence).kind
    assert found.facts == combiner.facts
    assert combiner_hash(found) == combiner_hash(combiner)
    assert len(combiner_hash(found)) == 64


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"schema": 1}, "schema 2"),
        ({"what": "training table"}, "no combiner"),
        ({"classes": ["cat"]}, "are not those of this version"),
        ({"situations": []}, "are not those of this version"),
        ({"columns": {"names": ["a"]}}, "columns of the header"),
        ({"columns": None}, "columns of the header"),
        ({"reference_names": ["a"]}, "does not fit the names"),
        ({"sha256": "0"}, "checksum"),
    ],
)
def test_a_header_of_another_kind_is_refused(path: Path, header: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_combiner(changed(path, header=header))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"temperature": None}, "temperature are missing"),
        ({"extra": np.zeros(3)}, "extra are missing or unknown"),
        ({"temperature": np.zeros(30)}, "not positive"),
        ({"threshold": np.full(30, np.nan)}, "holds NaN"),
        ({"levels": np.zeros((30, 3))}, "levels has the shape"),
        ({"linear_coef": np.zeros((8, 3))}, "weights of shape"),
        ({"linear_coef": np.zeros(8)}, "2 expected"),
        ({"linear_mean": np.zeros(3)}, "do not fit together"),
        ({"forest_right": np.zeros(3, np.int64)}, "int32 expected"),
        ({"forest_right": np.zeros(3, np.int32)}, "differ in length"),
        ({"plants_z": np.zeros((3, 2), np.float16)}, "plants do not fit"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_combiner(changed(path, arrays=arrays))


def test_trees_that_run_in_circles_cannot_be_written_down(path: Path) -> None:
    _, arrays = read_arrays(path, 2**28)
    right = arrays["forest_right"].copy()
    right[np.flatnonzero(right > 0)[3]] = -2  # back to an earlier node
    with pytest.raises(DataError, match="leads outside"):
        load_combiner(changed(path, arrays={"forest_right": right}))


def test_a_truncated_combiner_is_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError):
        load_combiner(path)


def test_loading_and_predicting_need_no_scikit_learn(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from whywrong.verdicts.combiner.stored import load_combiner; "
        f"load_combiner(Path({str(path)!r})); import whywrong.verdicts.combiner.fit; "
        "assert 'sklearn' not in sys.modules; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
