"""Engines are found by name, and a plug-in brings one of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.runs import kit

from whywrong.core.errors import InputError
from whywrong.runs.engines import names
from whywrong.runs.engines.local import local_engine


class Point:
    """An entry point."""

    def __init__(self, name: str, made: object) -> None:
        self.name, self.value, self._made = name, "plugged:engine", made

    def load(self) -> object:
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


@pytest.fixture
def plugged(monkeypatch):
    def install(*points: Point) -> None:
        monkeypatch.setattr(
            names, "entry_points", lambda group, name=None: [one for one in points if name in (None, one.name)]
        )

    return install


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match='no engine "locl"; nearest: "local"; the engines are: local'):
        names.find_engine("locl")


def test_a_plug_in_cannot_replace_the_built_in_engine(plugged):
    plugged(Point("local", SimpleNamespace()))
    assert names.find_engine("local") is local_engine
    assert names.engine_names() == ["local"]


def test_an_engine_that_cannot_be_loaded_is_named(plugged):
    plugged(Point("cluster", ImportError("no module named ray")))
    with pytest.raises(InputError, match=r'engine "cluster" \(plugged:engine\) cannot be loaded: no module named ray'):
        names.find_engine("cluster")


def test_a_run_is_done_by_the_engine_of_a_plug_in(plugged, tmp_path):
    asked = []

    def engine(spec, classifier, source, options):
        asked.append((options.workers, options.time_limit))
        return local_engine(spec, classifier, source, options)

    plugged(Point("cluster", engine))
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 10), engine="cluster", time_limit=77.0)
    assert run.meta["complete"]
    assert asked == [(1, 77.0)]
