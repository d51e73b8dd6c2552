"""The search is resumed after a kill, and says the same with several workers."""

from __future__ import annotations

import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.explain.spurious.test_search import source
from tests.explain.spurious.toys import SETTINGS, SHARD, ToyRecipe, toy_report, toy_search_killed
from tests.runs import crash

from whywrong.api.spurious import spurious_report
from whywrong.data.sources import open_source
from whywrong.runs import identity


@pytest.fixture
def files(tmp_path, monkeypatch) -> tuple[Path, Path]:
    monkeypatch.setattr(identity, "SHARD_SIZE", SHARD)
    source(tmp_path / "train.npz", (0.5, 0.0, 0.0))
    source(tmp_path / "val.npz", (0.5, 0.3, 0.3), seed=1)
    return tmp_path / "train.npz", tmp_path / "val.npz"


def tables(folder: Path) -> dict[str, str]:
    """The rows of every table in words, in which a NaN is equal to itself."""
    names = ("components", "examples", "changes")
    return {name: str(pq.read_table(folder / "spurious" / f"{name}.parquet").to_pylist()) for name in names}


@pytest.fixture
def undisturbed(files, tmp_path) -> Path:
    toy_report(files, tmp_path / "undisturbed")
    return tmp_path / "undisturbed"


@pytest.mark.parametrize("kill_at", [2, 14])  # in the features, and in the changes
def test_killed_and_called_again_it_says_the_same(files, tmp_path, undisturbed, kill_at):
    process = crash.CONTEXT.Process(target=toy_search_killed, args=(files, tmp_path / "out", kill_at))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    told = []
    resumed = toy_report(files, tmp_path / "out", told=told)
    read = {one.stage: one.total for one in told if one.stage in ("reference", "read")}
    assert 0 < sum(read.values()) < 360 if kill_at < 8 else read == {}  # each set is 180 images in four units
    assert tables(tmp_path / "out") == tables(undisturbed)
    assert (
        resumed.record["passes"] == toy_report(files, undisturbed).record["passes"]
    )  # of all units, whenever computed


def test_labels_given_later_cost_no_pass_over_the_images_again(files, tmp_path, undisturbed):
    labels = tmp_path / "labels.csv"
    labels.write_text("class,component,label\ncat,1,spurious\n", encoding="utf-8")
    told = []
    again = spurious_report(
        ToyRecipe().build(),
        open_source(files[1]),
        open_source(files[0]),
        undisturbed,
        labels=labels,
        settings=SETTINGS,
        progress=told.append,
    )
    assert again.repairs
    assert {one.stage for one in told} == {"components"}


@pytest.mark.slow
def test_two_workers_say_the_same_with_a_robust_copy_too(files, tmp_path):
    one = toy_report(files, tmp_path / "one", guide="copy")
    two = toy_report(files, tmp_path / "two", workers=2, guide="copy")
    assert one.changes is not None
    assert one.changes.guide.rung == "robust copy"
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    assert one.record["changes"] == two.record["changes"]
