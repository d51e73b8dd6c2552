"""The stand-in GPU itself: what works on CUDA works, what CUDA refuses is refused, and everything is counted."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.device.stand_in import StandIn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda", 0)


def small_net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8, 5)).eval()


def pixels() -> Tensor:
    return torch.linspace(0, 1, 4 * 3 * 8 * 8).sin().view(4, 3, 8, 8)


@pytest.fixture
def case() -> Iterator[SimpleNamespace]:
    """A net and images on both sides, and the gradient that the plain CPU gives."""
    host_net, x = small_net(), pixels()
    leaf = x.clone().requires_grad_()
    host_net(leaf).logsumexp(1).sum().backward()
    logits = host_net(x).detach()
    with StandIn() as gpu:
        net = copy.deepcopy(host_net).to("cuda")
        made = SimpleNamespace(gpu=gpu, net=net, host_net=host_net, x=x, on=x.to("cuda"), logits=logits, grad=leaf.grad)
        gpu.tally.clear()
        yield made


# What must work.


def test_a_moved_module_has_parameters_and_buffers_of_the_device(case):
    assert all(isinstance(p, nn.Parameter) and p.device == CUDA and p.requires_grad for p in case.net.parameters())
    assert all(b.is_cuda for b in case.net.buffers())
    assert all(v.is_cuda for v in case.net.state_dict().values())
    assert all(isinstance(p, nn.Parameter) and p.is_cuda for p in copy.deepcopy(case.net).parameters())
    case.net.load_state_dict(case.host_net.state_dict())


def test_a_forward_pass_has_the_values_of_the_cpu(case):
    with torch.no_grad():
        found = case.net(case.on)
    assert found.is_cuda
    assert not found.is_cpu
    assert torch.equal(found.cpu(), case.logits)


def test_gradients_lie_where_their_leaf_lies_and_have_the_values_of_the_cpu(case):
    leaf = case.x.clone().requires_grad_()
    case.net(leaf.to("cuda")).logsumexp(1).sum().backward()
    assert not leaf.grad.is_cuda
    torch.testing.assert_close(leaf.grad, case.grad)
    there = case.x.cuda().requires_grad_()
    [found] = torch.autograd.grad(case.net(there).logsumexp(1).sum(), there)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), case.grad)
    assert torch.autograd.grad(case.net(there).double().sum(), there)[0].is_cuda
    assert torch.autograd.grad(case.net(case.on).sum(), list(case.net.parameters()))[0].is_cuda


def test_gradients_come_back_through_a_move_in_the_middle(case):
    leaf = case.x.clone().requires_grad_()
    down = case.net(leaf.to("cuda")).to(leaf.device)
    assert not down.is_cuda
    down.logsumexp(1).sum().backward()
    torch.testing.assert_close(leaf.grad, case.grad)


def test_hooks_see_tensors_of_the_device(case):
    seen = []
    handle = case.net[0].register_forward_hook(lambda module, args, out: seen.append(out.is_cuda))
    middle = case.net[0](case.x.cuda().requires_grad_())
    handle.remove()
    middle.register_hook(lambda grad: seen.append(grad.is_cuda))
    case.net[1:](middle).sum().backward()
    assert seen == [True, True]


def test_gradient_edges_functional_calls_and_inference_mode(case):
    from torch.autograd.graph import get_gradient_edge
    from torch.func import functional_call

    middle = case.net[0](case.x.cuda().requires_grad_())
    edge = get_gradient_edge(middle)
    assert torch.autograd.grad(case.net[1:](middle).sum(), edge)[0].is_cuda
    assert functional_call(case.net, dict(case.net.named_parameters()), (case.on,)).is_cuda
    with torch.inference_mode():
        assert case.net(case.on).is_cuda


def test_channels_last_and_autocast(case):
    last = case.on.to(memory_format=torch.channels_last)
    assert last.is_cuda
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(case.net(last).cpu(), case.logits)
    with torch.autocast("cuda", torch.bfloat16):
        assert case.net(case.on).dtype == torch.bfloat16


FACTORIES: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda x: torch.zeros(2, device="cuda"),
    "arange": lambda x: torch.arange(3, device=x.device),
    "full": lambda x: torch.full((2,), 1.0, device="cuda:0"),
    "rand": lambda x: torch.rand(2, device="cuda"),
    "eye": lambda x: torch.eye(3, device="cuda"),
    "linspace": lambda x: torch.linspace(0, 1, 3, device="cuda"),
    "empty": lambda x: torch.empty(3, device="cuda"),
    "randperm": lambda x: torch.randperm(4, device="cuda"),
    "tensor": lambda x: torch.tensor([1, 2], device="cuda"),
    "as_tensor": lambda x: torch.as_tensor(np.ones(2), device="cuda"),
    "zeros_like": torch.zeros_like,
    "randn_like": torch.randn_like,
    "zeros_like with a device": lambda x: torch.zeros_like(torch.ones(2), device="cuda"),
    "new_full": lambda x: x.new_full((2,), 1.0),
    "new_tensor": lambda x: x.new_tensor([1.0]),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_factories_make_tensors_of_the_device(case, name):
    assert FACTORIES[name](case.on).is_cuda


def test_factories_make_tensors_of_the_host_where_they_are_asked_to(case):
    host = [torch.zeros(2), torch.tensor([1.0]), case.on.new_zeros(2, device="cpu")]
    assert not any(t.is_cuda for t in [*host, torch.ones_like(case.on, device="cpu")])


WORKING: dict[str, Callable[[Tensor], Tensor]] = {
    "scalar of the host times": lambda x: x * torch.tensor(2.0),
    "where with a scalar of the host": lambda x: torch.where(x > 0.5, x, torch.tensor(0.0)),
    "index of the host": lambda x: x[torch.tensor([0, 2])],
    "quantile": lambda x: x.quantile(0.5),
    "quantiles": lambda x: torch.quantile(x.flatten(1), torch.tensor([0.1, 0.9], device="cuda"), dim=1),
    "corrcoef": lambda x: x.flatten(1).corrcoef(),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "interpolate": lambda x: F.interpolate(x, 16, mode="bilinear"),
    "one_hot": lambda x: F.one_hot(torch.tensor([0, 2], device="cuda"), 5),
    "squeeze_": lambda x: x[:1].clone().squeeze_(0),
    "median": lambda x: x.flatten(1).median(1).values,
    "attention": lambda x: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).cuda().eval()(x[:, 0]),
    "derivative of unbind": lambda x: torch.autograd.grad(
        (leaf := x.clone().requires_grad_()).flatten(1).unbind(1)[0].sum(), leaf
    )[0],
}


@pytest.mark.parametrize("name", WORKING)
def test_what_works_on_a_gpu_works_here(case, name):
    assert WORKING[name](case.on).is_cuda
    assert case.gpu.mixes == []


def test_views_share_memory_and_writing_in_place_keeps_the_object(case):
    whole = case.on.clone()
    whole.view(-1).mul_(0)
    assert float(whole.abs().sum()) == 0.0
    assert whole.add_(1) is whole
    flat = case.on[:1].clone()
    flat.squeeze_(0)
    assert flat.shape == (3, 8, 8)


def test_an_optimiser_steps_on_the_device(case):
    layer = nn.Linear(4, 4).cuda()
    before = layer.weight.detach().cpu()
    layer(torch.ones(2, 4, device="cuda")).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    assert not torch.equal(before, layer.weight.detach().cpu())


def test_cuda_is_there_inside_and_gone_outside():
    before = torch.cuda.is_available()
    with StandIn(devices=3):
        assert torch.cuda.is_available()
        assert torch.cuda.device_count() == 3
        with torch.random.fork_rng(devices=[CUDA]):
            left = torch.ones(2, device="cuda")
    assert torch.cuda.is_available() == before
    with pytest.raises(RuntimeError, match="outlived"):
        left + 1


# What must be counted.


def test_copies_are_counted_with_their_bytes(case):
    there = case.x.to("cuda")
    there.to("cuda")  # there already
    there.cpu()
    assert case.gpu.tally.times["up"] == case.gpu.tally.times["down"] == 1
    assert case.gpu.tally.bytes["up"] == case.gpu.tally.bytes["down"] == 4 * case.x.numel()


def test_waits_are_counted(case):
    on = case.on
    on.sum().item(), bool(on.sum() > 0), float(on.sum()), on[:, 0, 0, 0].nonzero(), on[0, 0, 0].tolist()
    on[on > 0.5]
    assert case.gpu.tally.times["sync"] == 6
    case.gpu.tally.clear()
    copy = on.clone()
    copy[copy > 0.5] = 0.0  # becomes masked_fill
    on[torch.tensor([0, 2])]
    assert case.gpu.tally.times["sync"] == 0
    assert case.gpu.tally.times["up"] == 1


def test_work_of_the_host_counts_from_16_kb_and_copies_are_none(case):
    large = torch.ones(2, 4096)
    case.gpu.tally.clear()
    large.to("cuda").cpu()
    torch.ones(8) + 1
    assert case.gpu.tally.times["host"] == 0
    large + 1
    assert case.gpu.tally.times["host"] == 1
    assert case.gpu.tally.bytes["host"] == 2 * 4 * large.numel()


def test_rows_written_from_the_host_are_a_copy(case):
    target = case.on.clone()
    case.gpu.tally.clear()
    target[0] = case.x[0]
    assert case.gpu.tally.bytes["up"] == 4 * case.x[0].numel()
    assert torch.empty_like(case.x).copy_(case.on).is_cpu


def test_the_line_of_a_copy_is_named(case):
    case.x.to("cuda")
    assert "test_stand_in.py" not in case.gpu.tally.top("up")  # a line of the stand-in's own folder is nobody's
    from whywrong.core.randomness import row_keys

    case.gpu.tally.clear()
    row_keys(0, 3, "cuda").tolist()
    from whywrong.core.result import _plain

    _plain(case.on)
    assert "core/result.py" in case.gpu.tally.top("down")


# What must be refused.

REFUSED: dict[str, Callable[[Any], Any]] = {
    "sum": lambda c: c.on + c.x,
    "sum the other way": lambda c: c.x + c.on,
    "where, condition": lambda c: torch.where(c.x > 0.5, c.on, c.on),
    "where, values": lambda c: torch.where(c.on > 0.5, c.x, c.on),
    "cat": lambda c: torch.cat([c.on, c.x]),
    "stack of scalars": lambda c: torch.stack([c.on.sum(), c.x.sum()]),
    "gather": lambda c: c.logits.cuda().gather(1, torch.zeros(4, 1, dtype=torch.int64)),
    "scatter": lambda c: c.logits.cuda().scatter(1, torch.zeros(4, 1, dtype=torch.int64), 1.0),
    "index of the device": lambda c: c.x[torch.tensor([0, 2]).cuda()],
    "mask of the device": lambda c: c.x[(c.on > 0.5)],
    "convolution": lambda c: c.net(c.x),
    "convolution the other way": lambda c: c.host_net(c.on),
    "numpy": lambda c: c.on.numpy(),
    "asarray": lambda c: np.asarray(c.on),
    "in place": lambda c: c.x.clone().add_(c.on),
    "in place the other way": lambda c: c.on.clone().add_(c.x),
    "values to be written": lambda c: c.on.clone().__setitem__(torch.tensor([0]).cuda(), c.x[:1]),
    "masked_fill": lambda c: c.on.masked_fill(c.x > 0.5, 0),
    "index_add": lambda c: c.on.index_add(0, torch.tensor([0, 2]), c.on[:2]),
    "matrix product": lambda c: c.on.flatten(1) @ c.x.flatten(1).T,
    "einsum": lambda c: torch.einsum("bi,bj->ij", c.on.flatten(1), c.x.flatten(1)),
    "scalar of the device with the host": lambda c: c.x * c.on.sum(),
    "lerp": lambda c: torch.lerp(c.on, c.x, 0.5),
    "generator": lambda c: torch.rand(3, device="cuda", generator=torch.Generator()),
    "a second device": lambda c: c.x.to("cuda:1"),
    "another kind of device": lambda c: c.x.to("xpu"),
    "cdist": lambda c: torch.cdist(c.on.flatten(1), c.x.flatten(1)),
    "searchsorted": lambda c: torch.searchsorted(c.on[0, 0, 0], c.x[0, 0, 0]),
    "grid_sample": lambda c: F.grid_sample(c.on, torch.zeros(4, 2, 2, 2), align_corners=False),
    "maximum": lambda c: torch.maximum(c.on, c.x),
    "loss": lambda c: F.cross_entropy(c.net(c.on), torch.zeros(4, dtype=torch.int64)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_is_refused(case, name):
    with pytest.raises((RuntimeError, TypeError)):
        REFUSED[name](case)


def test_a_mix_is_remembered_where_somebody_swallows_it(case):
    with contextlib.suppress(RuntimeError):
        case.on + case.x
    assert len(case.gpu.mixes) == 1
    assert "cuda:0 and cpu" in case.gpu.mixes[0]


def test_two_devices_do_not_mix():
    with StandIn(devices=2) as gpu:
        one, two = torch.ones(2, device="cuda:0"), torch.ones(2).to("cuda:1")
        with pytest.raises(RuntimeError, match="cuda:0 and cuda:1"):
            one + two
        assert (one + two.to("cuda:0")).device == CUDA
        assert gpu.tally.times["across"] == 1


# What else differs on a GPU.


def test_memory_runs_out_and_comes_back():
    with StandIn(memory=10_000) as gpu:
        with pytest.raises(torch.OutOfMemoryError):
            held = [torch.ones(1000, device="cuda") for _ in range(4)]  # noqa: F841
        assert gpu.held < 10_000


def test_a_broken_device_answers_nothing_any_more(case):
    case.gpu.broken = torch.AcceleratorError("CUDA error: device-side assert triggered")
    for ask in (lambda: case.on + 1, case.on.cpu, case.x.cuda, torch.cuda.empty_cache):
        with pytest.raises(torch.AcceleratorError, match="assert"):
            ask()
    assert float((case.x + 1).sum()) > 0


def test_convolutions_are_rounded_where_the_flags_allow_it():
    host, x = small_net(), pixels()
    expected = host(x).detach()
    with StandIn(tf32=True):
        net = host.to("cuda")
        gap = float((net(x.cuda()).detach().cpu() - expected).abs().max())
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            exact = net(x.cuda()).detach().cpu()
        finally:
            torch.backends.cudnn.allow_tf32 = before
    assert 1e-6 < gap < 1e-2
    assert torch.equal(exact, expected)


def test_a_function_mode_sees_a_move_as_one_call_from_host_to_device(gpu):
    seen = []

    class Seeing(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func.__name__ == "to":
                seen.append((args[0].device.type, out.device.type, out.dtype))
            return out

    x = torch.ones(2, requires_grad=True)
    with Seeing():
        x.to("cuda", torch.float64, copy=True).sum().backward()
    assert seen == [("cpu", "cuda", torch.float64)]
    assert x.grad.tolist() == [1.0, 1.0]
    assert gpu.tally.times["up"] == 1
