"""A ``run.json`` is not believed: what is not as a run writes it is refused by name, and never leads outside."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runs import kit
from tests.runs.damage import content

from whywrong import api
from whywrong.core.errors import RunFolderError
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.files import BLANK, MARK, commit
from whywrong.runs.store.run_file import write_run_file

PATHS = (
    "/abs", "../../../x", "..", ".", "", "a/b", "parts\\x", "0123456789ab/..", "../0123456789ab", "0123456789AB",
    "0123456789ab\n", "0123456789ab ", "0123456789a", "0123456789abc", "~", "C:\\x", "\\\\host\\x", "%2e%2e", "\x00",
    "０123456789ab",
)  # fmt: skip


_made: list[Path] = []


@pytest.fixture
def run(tmp_path, tmp_path_factory) -> RunFolder:
    """A finished run in ``tmp_path``, beside its data, to be spoilt."""
    if not _made:
        _made.append(tmp_path_factory.mktemp("made"))
        kit.diagnosed(_made[0] / "run", kit.array_source(_made[0], 20))
    shutil.copytree(_made[0], tmp_path, dirs_exist_ok=True)
    return RunFolder(tmp_path / "run")


def _use(folder: Path) -> None:
    """Everything that reads."""
    run = RunFolder(folder)
    run.query("select * from errors")
    kit.tables(run)
    api.headline(run)
    api.write_report(run, folder.parent / "report.html", limit=1)


@pytest.mark.parametrize("value", PATHS, ids=range(len(PATHS)))
@pytest.mark.parametrize("where", ["predictions", "stub"])
def test_a_stored_hash_that_is_no_hash_is_refused_and_nothing_is_written_anywhere(tmp_path, run, where, value):
    meta = copy.deepcopy(run.meta)
    (meta["predictions"] if where == "predictions" else meta["methods"]["stub"])["hash"] = value
    write_run_file(run.path, meta)
    before = content(tmp_path)
    for use in (lambda: _use(run.path), lambda: kit.diagnosed(run.path, api.open_data(tmp_path / "data.npz"))):
        with pytest.raises(RunFolderError, match=r'"(predictions|methods\.stub)\.hash"'):
            use()
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["../x", "/abs", "a/b", "", "a b", "..", 'x" from errors; --', "x.y"])
def test_a_stored_method_that_is_no_name_is_refused(run, name):
    meta = copy.deepcopy(run.meta)
    meta["methods"][name] = meta["methods"]["stub"]
    write_run_file(run.path, meta)
    with pytest.raises(RunFolderError, match=r"methods\."):
        _use(run.path)


def test_another_hash_of_the_predictions_is_not_adopted(tmp_path, run):
    meta = copy.deepcopy(run.meta)
    meta["predictions"]["hash"] = "0" * 12
    write_run_file(run.path, meta)
    with pytest.raises(RunFolderError, match=r"another run: .*predictions\.hash was"):
        kit.diagnosed(run.path, api.open_data(tmp_path / "data.npz"))


REQUIRED = ("schema", "model", "data", "decoding", "seed", "depth", "limit", "shard_size", "predictions", "methods",
            "refused", "health", "notes", "complete", "versions", "machine")  # fmt: skip


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(run, key):
    meta = copy.deepcopy(run.meta)
    del meta[key]
    write_run_file(run.path, meta)
    with pytest.raises(RunFolderError, match=f'"{key}": Field required'):
        _use(run.path)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from _places(part, (*path, key))


VALUES = (None, [], {}, 3, -1, 2**70, 1.5, "text", [1, 2], ["\udc80"], True, {"a": {"b": [None]}}, "DROP")


@pytest.mark.parametrize("share", [48, pytest.param(1, marks=pytest.mark.slow)])
def test_any_value_of_another_kind_is_refused_by_name_or_harmless(run, share):
    original = copy.deepcopy(run.meta)
    changes = [(path, value) for path in _places(original) if path and path[0] != "seal" for value in VALUES]
    assert len(changes) > 500
    refused = 0
    for path, value in changes[::share]:
        meta = copy.deepcopy(original)
        here = meta
        for key in path[:-1]:
            here = here[key]
        if value == "DROP":
            del here[path[-1]]
        else:
            here[path[-1]] = value
        write_run_file(run.path, meta)
        try:
            reader = RunFolder(run.path)
            reader.query("select * from errors")
        except RunFolderError:  # anything else ends the test
            refused += 1
        else:
            api.headline(reader)
    assert refused > len(changes[::share]) / 4


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), None), (("model",), None), (("predictions",), []), (("methods",), None), (("health",), [1]),
        (("model", "classes"), [1, 2]), (("predictions", "hash"), 3), (("data", "items"), "many"), (("complete",), 1),
        (("notes",), [None]), (("refused",), {"stub": 3}), (("limit",), 2**70), (("model", "wnids"), ["n1"]),
        (("data", "ignored"), {"x": -1}), (("shard_size",), 0), (("depth",), "bottomless"),
    ],
)  # fmt: skip
def test_a_changed_value_is_refused_by_its_key(run, path, value):
    meta: Any = copy.deepcopy(run.meta)
    here = meta
    for key in path[:-1]:
        here = here[key]
    if value is None:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    write_run_file(run.path, meta)
    with pytest.raises(RunFolderError, match="|".join((path[-1], path[0]))):
        _use(run.path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "{" + '"schema":1,' * 3,
        "9" * 100_000,
        '{"schema": 1e999}',
        "null",
        "[]",
        "3",
        '"text"',
        "\ufeff{}",
        "",
        "\x00" * 50,
        '{"schema": 1, "machine": ' + '{"a":' * 500 + "1" + "}" * 500 + "}",
    ],
    ids=range(13),
)
def test_json_that_is_no_run_is_refused(tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(text)
    with pytest.raises(RunFolderError):
        RunFolder(tmp_path / "run")


def test_values_nested_too_deep_are_refused_though_the_seal_is_right(run):
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    text = json.dumps({**run.meta, "machine": {"a": deep}, "seal": (MARK + BLANK).decode()})
    commit(run.path / "run.json", text.encode())
    with pytest.raises(RunFolderError, match="nested deeper"):
        _use(run.path)


def test_a_file_larger_than_any_run_writes_is_refused_without_reading_it_all(run, monkeypatch):
    from whywrong.runs.store import run_file

    monkeypatch.setattr(run_file, "MAX_BYTES", 100)
    with pytest.raises(RunFolderError, match="larger than 100 bytes"):
        RunFolder(run.path)


def test_keys_that_a_later_version_adds_are_let_through(run):
    meta = {**run.meta, "later": {"a": [1]}}
    meta["model"] = {**meta["model"], "colour": "red"}
    write_run_file(run.path, meta)
    _use(run.path)


def test_class_names_that_are_not_utf8_are_shown_escaped(run):
    meta = copy.deepcopy(run.meta)
    meta["model"]["classes"] = ["cl\udce4ss", "a\nb", "\u202eright to left", "dog"]
    write_run_file(run.path, meta)
    names = RunFolder(run.path).query("select name from classes order by index")["name"].to_pylist()
    assert names == ["cl\\xe4ss", "a\\nb", "\\u202eright to left", "dog"]
    _use(run.path)
