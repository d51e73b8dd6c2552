"""Every registered method on a GPU: with images on the host, as callers have them, and there, as the runner does it."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from tests.contract import test_every_method as contract
from tests.contract.nets import NETS, Raising, build, snapshot
from tests.device.stand_in import StandIn
from torch import Tensor

from whywrong.core.errors import ModelRaisedError
from whywrong.core.registry import Method, methods
from whywrong.models.classifier import Classifier


@pytest.fixture(params=["host", "device"])
def place(request: pytest.FixtureRequest) -> str:
    """Where images, labels and keys are; the model is on the GPU in both."""
    return "cuda" if request.param == "device" else "cpu"


@pytest.fixture(params=sorted(methods()))
def method(request: pytest.FixtureRequest) -> Method:
    return methods()[request.param]


def errors(kind: str, place: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and keys of the contract suite."""
    x, y = contract.errors(build(kind))
    return x.to(place), y.to(place), contract.KEYS.to(place)


def on_gpu(kind: str, batch_size: int = 64) -> Classifier:
    return Classifier(build(kind).to("cuda"), batch_size=batch_size)


def down(table: dict) -> dict:
    return {name: [v.cpu() if isinstance(v, Tensor) else v for v in values] for name, values in table.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(NETS))
def test_the_answer_is_that_of_the_cpu(method, kind, place):
    expected = contract.plain(contract.reference(method.name, kind))
    with StandIn() as gpu:
        x, y, keys = errors(kind, place)
        classifier = on_gpu(kind)
        gpu.tally.clear()
        found = down(contract.plain(contract.run(method, classifier, x, y, keys=keys)))
        assert gpu.mixes == []
        assert gpu.tally.times["launch"] > 0
    contract.assert_same(expected, found)


def test_optional_inputs_lie_where_the_images_lie(gpu, method, place):
    x, y, keys = errors("gap", place)
    masks = torch.zeros(len(x), *x.shape[2:], dtype=torch.bool)
    masks[:, 4:12, 4:12] = True
    given = {"detail": (torch.arange(len(x)) % 2 == 0).to(place), "masks": masks.to(place)}
    given["fixes"] = torch.full_like(x, math.nan)  # no image has one
    inputs = {name: given[name] for name in method.takes}
    result = contract.run(method, on_gpu("gap", batch_size=5), x, y, keys=keys, **inputs)
    assert set(result.to_arrow()["status"].to_pylist()) != {"refused"}
    lengths = {len(values) for values in (*result.checks.values(), *result.maps().values())}
    assert {*lengths, result.to_arrow().num_rows} == {len(x)}


@pytest.mark.slow
def test_image_model_and_generators_stay_as_they_were(gpu, method, place):
    x, y, _ = errors("gap", place)
    net = build("gap").to("cuda").train()
    before = snapshot(net, x, y)
    contract.run(method, Classifier(net), x, y)
    assert snapshot(net, x, y) == before
    assert x.device.type == y.device.type == place


@pytest.mark.slow
def test_bad_pixels_and_a_raising_model_cost_no_other_image_its_result(gpu, method, place):
    x, y, keys = errors("gap", place)
    x[0, 1, 2, 3], x[2, 0, 0, 0] = math.nan, 1.5
    classifier = on_gpu("gap")
    contract.run(method, classifier, x[:0], y[:0])
    table = contract.plain(contract.run(method, classifier, x, y, keys=keys))
    bad = [table["status"][row] == "bad_input" for row in range(len(x))]
    assert bad[0]
    assert bad[2]
    assert sum(bad) == 2
    with contextlib.suppress(ModelRaisedError):  # a method may record the rows, or give up
        contract.run(method, Classifier(Raising(build("gap"), 1).to("cuda")), *errors("gap", place)[:2])
