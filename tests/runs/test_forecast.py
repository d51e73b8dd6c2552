"""What a run would cost, against the run itself."""

from __future__ import annotations

import math

import pytest
import torch
from tests.runs import kit

from whywrong.core.errors import InputError
from whywrong.core.statistics import wilson
from whywrong.runs.forecast import Forecast, forecast
from whywrong.runs.options import RunOptions


@pytest.fixture
def source(tmp_path):
    return kit.array_source(tmp_path, 40)


@pytest.fixture(autouse=True)
def _costs(monkeypatch):
    lines = (kit.method(passes=(1, 3)), kit.role_play_method(passes=(0, 5)))
    monkeypatch.setattr("whywrong.explain.methods.METHODS", lines)


def test_the_errors_expected_hold_those_of_the_run(source, tmp_path):
    found = forecast(kit.reader(), source, RunOptions(methods=["stub"]))
    run = kit.diagnosed(tmp_path / "run", source)
    errors = len(run.query("select item_id from errors"))
    assert (found.items, found.images, found.sampled) == (40, 40, 40)
    assert found.wrong == errors  # the whole set is the sample
    assert found.errors.low <= errors <= found.errors.high
    share = wilson(found.wrong, 40)
    assert (found.errors.low, found.errors.high) == (math.floor(40 * share.low), math.ceil(40 * share.high))
    assert (found.shards, found.shard_items) == (5, kit.SHARD)
    files = sum(path.is_file() for path in (tmp_path / "run").rglob("*"))
    assert 0 < files <= forecast(kit.reader(), source).files


def test_full_explanations_are_limited_and_controls_are_counted(source):
    found = forecast(kit.reader(), source, RunOptions(limit=2))
    stub, played = found.methods
    assert stub.per_error == (1, 3)
    assert (stub.low, stub.high) == (found.errors.low + 4, found.errors.high + 4)  # two more passes for two errors
    # There are fewer correct images than controls asked for: all of them are used.
    assert (played.low, played.high) == (5 * (2 + 40 - found.errors.low), 5 * (2 + 40 - found.errors.high))
    assert found.passes() == (40 + stub.low + played.low, 40 + stub.high + played.high)


def test_fewer_images_and_more_workers_cost_less(source):
    whole = forecast(kit.reader(), source)
    part = forecast(kit.reader(), source, RunOptions(images=10))
    assert (part.images, part.items) == (10, 40)
    assert part.passes()[1] < whole.passes()[1]
    assert part.seconds()[0] <= part.seconds()[1]
    halved = Forecast(**{name: getattr(whole, name) for name in Forecast.__slots__} | {"workers": 2})
    assert halved.seconds() == tuple(value / 2 for value in whole.seconds())


def test_nothing_is_written_and_the_model_stays(source, tmp_path):
    net = kit.reader()
    before = sorted(tmp_path.rglob("*"))
    forecast(net, source)
    assert sorted(tmp_path.rglob("*")) == before
    assert net.predict(torch.zeros(1, 3, kit.SIDE, kit.SIDE)).shape == (1,)


def test_settings_are_checked_as_for_a_run(source):
    with pytest.raises(InputError, match="no method"):
        forecast(kit.reader(), source, RunOptions(methods=["camm"]))
