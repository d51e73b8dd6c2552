"""The stub method and small shards, for the tests of the runner."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
from tests.runs import kit

from whywrong.runs import identity
from whywrong.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _only_the_stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (kit.method(),))
    monkeypatch.setattr(identity, "SHARD_SIZE", kit.SHARD)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # whoever expects a warning says so
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], RunFolder]:
    """A finished run of 40 images, to be looked at only."""
    folder = tmp_path_factory.mktemp("finished")

    def make() -> RunFolder:
        if not (folder / "run").exists():
            kit.diagnosed(folder / "run", kit.array_source(folder, 40))
        return RunFolder(folder / "run")

    return make
