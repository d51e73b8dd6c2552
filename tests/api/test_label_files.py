"""The file of labels beside a search: replaced while nobody changed it, and known as ours wherever a stop falls."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tests.explain.spurious.toys import searched, toy_classifier, toy_images
from tests.runs.damage import picture

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.core.registry import find_analysis
from whywrong.data.sources import open_source
from whywrong.explain.spurious.analysis import SpuriousResult
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.labels import Labels
from whywrong.explain.spurious.search import Search
from whywrong.runs.analyses import write_analysis
from whywrong.runs.store.lock import RunLock
from whywrong.runs.store.results import check_editable, kept_digest

FIRST, SECOND = {(0, 0): "spurious"}, {(0, 0): "core", (1, 1): "unsure"}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    folder = tmp_path_factory.mktemp("toys")
    x, label, _ = toy_images(60, (0.5, 0.3, 0.3), seed=1)
    np.savez(folder / "d.npz", images=(255 * x).byte().permute(0, 2, 3, 1).numpy(), labels=label.numpy())
    return searched(toy_classifier(), open_source(folder / "d.npz"), None, config=SpuriousConfig())


def _write(folder: Path, search: Search, words: dict[tuple[int, int], str] | None) -> Path:
    given = None if words is None else Labels(words)
    analysis = find_analysis("spurious")
    check_editable(folder, analysis, "labels.csv", None if words is None else folder / "elsewhere.csv")
    result = SpuriousResult(search, {"source": None, "identity": "toy"}, (0, 0), labels=given)
    with RunLock(folder):
        write_analysis(folder, analysis, SpuriousConfig(), result)
    return folder / "spurious" / "labels.csv"


@pytest.fixture
def place(tmp_path: Path, search: Search) -> Path:
    """A folder with a search and the first labels."""
    (tmp_path / "elsewhere.csv").write_text("class,component,label\n")
    _write(tmp_path, search, FIRST)
    return tmp_path


@pytest.mark.parametrize("between", [[], [None], [None, None]])
def test_labels_that_nobody_changed_are_replaced(place, search, between):
    for words in between:
        _write(place, search, words)
    path = _write(place, search, SECOND)
    assert "core" in path.read_text()
    assert kept_digest(place, find_analysis("spurious"), "labels.csv") is not None


CHANGES = {
    "another word": lambda text: text.replace("spurious", "core"),
    "a line more": lambda text: text + '"dog",1,core,\n',
    "a blank": lambda text: text + " ",
    "nothing left": lambda text: "",
    "the head alone": lambda text: text.splitlines()[0] + "\n",
}


@pytest.mark.parametrize("between", [[], [None], [None, None]])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_labels_that_somebody_changed_are_kept_whatever_was_run_in_between(place, search, change, between):
    path = place / "spurious" / "labels.csv"
    path.write_text(change(path.read_text()))
    for words in between:
        _write(place, search, words)
    before = picture(place)
    with pytest.raises(RunFolderError, match=r"labels\.csv: somebody changed this file, and it is kept"):
        _write(place, search, SECOND)
    assert picture(place) == before


@pytest.mark.parametrize("start", [None, FIRST])
def test_the_same_call_goes_on_wherever_the_disk_failed(tmp_path, search, monkeypatch, start):
    rename = os.replace
    undisturbed = tmp_path / "undisturbed"
    expected = _write(undisturbed, search, SECOND).read_text()
    for at in range(1, 5):  # components, examples, labels, record
        folder = tmp_path / str(at)
        folder.mkdir()
        _write(folder, search, start)
        (folder / "elsewhere.csv").write_text("class,component,label\n")
        seen = 0

        def replace(source, target, at=at):
            nonlocal seen
            seen += 1
            if seen == at:
                raise OSError(5, "Input/output error")
            rename(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            with pytest.raises(EnvironmentFailure, match="writing failed"):
                _write(folder, search, SECOND)
        assert _write(folder, search, SECOND).read_text() == expected
