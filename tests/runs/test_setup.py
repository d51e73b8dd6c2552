"""The sample that settles health, classes and batch size reaches over the whole listing, broken files or not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.runs import kit

from whywrong.core.errors import DataError, InputError
from whywrong.core.registry import DEPTHS
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources import open_source
from whywrong.runs import setup
from whywrong.runs.check import check
from whywrong.runs.setup import Sample, choose_steps


def listing(folder, total, broken):
    """``total`` images in order of their names, in four classes one after the other; some of them broken."""
    for number in range(total):
        label = kit.NAMES[4 * number // total]
        path = folder / label / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number in broken:
            path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
        else:
            level = kit.NAMES.index(label)
            Image.fromarray(np.full((kit.SIDE, kit.SIDE, 3), level, np.uint8)).save(path)
    return open_source(folder)


@pytest.mark.parametrize(
    ("total", "broken", "least"),
    [
        (127, range(64), 16),
        (127, range(63, 127), 16),
        (127, range(0, 127, 2), 16),
        (127, range(1, 127), 1),
        (127, set(range(127)) - {100}, 1),
        (300, range(250), 50),
        (64, range(63), 1),
        (2, [0], 1),
        (1100, range(1090), 9),
    ],
)
def test_broken_images_never_hide_the_good_ones(tmp_path, total, broken, least):
    images, labels = Sample(listing(tmp_path, total, set(broken)), kit.SPEC, DecodeOptions()).images()
    assert least <= len(images) == len(labels) <= 64


def test_a_sound_listing_is_sampled_in_every_class(tmp_path):
    _, labels = Sample(listing(tmp_path, 127, ()), kit.SPEC, DecodeOptions()).images()
    assert len(labels) == 64
    assert set(labels) == set(kit.NAMES)


@pytest.mark.parametrize("total", [1, 64, 127, 2000])
def test_nothing_but_broken_images_stops_with_the_count_and_the_first_reason(tmp_path, monkeypatch, total):
    monkeypatch.setattr(setup, "_TRIED", 200)
    sample = Sample(listing(tmp_path, total, range(total)), kit.SPEC, DecodeOptions())
    with pytest.raises(
        DataError, match=rf"none of {min(200, total)} images spread over all {total:,} can be read; .*ant"
    ):
        sample.images()


def test_a_run_and_a_check_go_on_where_the_first_64_of_127_are_broken(tmp_path):
    source = listing(tmp_path / "data", 127, set(range(64)))
    run = kit.diagnosed(tmp_path / "run", source)
    counts = run.query("select status, count(*) as n from predictions group by 1 order by 1").to_pylist()
    assert counts == [{"status": "failed", "n": 64}, {"status": "ok", "n": 63}]
    report = check(kit.reader(), source, limit=64)
    assert (report.images + len(report.failed), report.wrong) == (64, 0)
    assert report.images >= 30


@pytest.fixture
def _one_of_each_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    depths = {"first": "quick", "second": "standard", "third": "deep", "named": None}
    lines = tuple(kit.method(name, depth=depth) for name, depth in depths.items())
    monkeypatch.setattr("whywrong.explain.methods.METHODS", lines)


@pytest.mark.usefixtures("_one_of_each_depth")
def test_a_depth_runs_what_shallower_ones_run_and_nothing_that_must_be_named():
    chosen = [[step.method.name for step in choose_steps(depth, None, {})] for depth in DEPTHS]
    assert chosen == [["first"], ["first", "second"], ["first", "second", "third"]]
    assert [step.method.name for step in choose_steps("quick", ["named"], {})] == ["named"]


@pytest.mark.usefixtures("_one_of_each_depth")
def test_settings_of_a_method_that_must_be_named_say_how_to_run_it():
    with pytest.raises(InputError, match="it only runs if it is named: --methods first,named"):
        choose_steps("quick", None, {"named": {"gain": 2}})
