"""A module on a GPU is used there, with data in memory that lie on the CPU or beside it."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images
from torch.utils.data import DataLoader, TensorDataset

import whywrong as ww

X, Y = images(8), torch.arange(8) % 4
KINDS = {
    "tensors": lambda x, y: (x, y),
    "data set": TensorDataset,
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=3),
    "arrays": lambda x, y: (x.cpu().numpy(), y.cpu().numpy()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_a_module_is_used_where_it_is(gpu, kind, place):
    expected = ww.check(build("gap"), KINDS[kind](X, Y))
    net = build("gap").to("cuda")
    gpu.tally.clear()
    found = ww.check(net, KINDS[kind](X.to(place), Y.to(place)))
    assert [error.key for error in found.errors] == [error.key for error in expected.errors]
    assert {parameter.device.type for parameter in net.parameters()} == {"cuda"}
    assert gpu.tally.times["launch"] > 0


@pytest.mark.parametrize(
    "inputs", [(X, Y), (X.numpy(), Y.numpy()), (TensorDataset(X, Y),)], ids=["tensors", "arrays", "set"]
)
def test_a_method_computes_beside_the_module(gpu, inputs):
    expected = ww.cam(build("gap"), *inputs).to_arrow()
    net = build("gap").to("cuda")
    gpu.tally.clear()
    found = ww.cam(net, *inputs).to_arrow()
    assert found["status"].to_pylist() == expected["status"].to_pylist()
    assert gpu.tally.times["launch"] > 0
