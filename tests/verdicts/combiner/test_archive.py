"""Files of arrays that may have been tampered with."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from whywrong.core.errors import DataError
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays

LIMIT = 2**20


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=pickled)
    return file.getvalue()


def put(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


HEADER = npy(np.frombuffer(b"{}", np.uint8))


def test_arrays_and_header_come_back_as_written(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["one", "zwölf"]), "c": np.zeros((0, 4), np.float16)}
    write_arrays(tmp_path / "a.npz", {"n": 1, "name": "zwölf"}, arrays)
    header, found = read_arrays(tmp_path / "a.npz", LIMIT)
    assert header == {"n": 1, "name": "zwölf"}
    assert list(found) == ["a", "b", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_pickled_objects_are_refused_without_being_read(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "went off",))  # type: ignore[return-value]

    path = put(tmp_path / "a.npz", {"header.npy": HEADER, "a.npy": npy(np.array([Bomb()], object), pickled=True)})
    with pytest.raises(DataError, match="objects"):
        read_arrays(path, LIMIT)
    assert not (tmp_path / "went off").exists()


def test_a_huge_array_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = put(tmp_path / "a.npz", {"header.npy": HEADER, "a.npy": npy(np.zeros(2 * LIMIT, np.uint8))})
    assert path.stat().st_size < LIMIT / 100
    with pytest.raises(DataError, match="bytes unpacked"):
        read_arrays(path, LIMIT)


def test_a_header_that_promises_more_than_the_member_holds_is_refused(tmp_path: Path) -> None:
    data = npy(np.zeros(10, np.float64)).replace(b"(10,)", b"(99,)")
    path = put(tmp_path / "a.npz", {"header.npy": HEADER, "a.npy": data})
    with pytest.raises(DataError, match="expected for shape"):
        read_arrays(path, LIMIT)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {}, {"a": np.random.default_rng(0).random(500)})
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(DataError):
        read_arrays(path, LIMIT)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {}, {"a": np.random.default_rng(0).random(500)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_arrays(path, LIMIT)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.npy": npy(np.zeros(3))}, "no header"),
        ({"header.npy": npy(np.zeros(3))}, "no header"),
        ({"header.npy": npy(np.frombuffer(b"[1]", np.uint8))}, "no JSON object"),
        ({"header.npy": npy(np.frombuffer(b"{", np.uint8))}, "no JSON"),
        ({"header.npy": HEADER, "run.py": b"print()"}, "no array"),
        ({"header.npy": HEADER, "a.npy": npy(np.zeros(2, "V8"))}, "numbers and text"),
        ({"header.npy": HEADER, **{f"a{i}.npy": npy(np.zeros(1)) for i in range(300)}}, "at most 200"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_arrays(put(tmp_path / "a.npz", members), LIMIT)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz"):
        read_arrays(tmp_path / "gone.npz", LIMIT)
