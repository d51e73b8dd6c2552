"""Row 56: half precision, compiled, parallel, scripted and quantised models."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from whywrong.core.access import Access
from whywrong.core.errors import ModelError
from whywrong.models.classifier import Classifier


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


X = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_other_floating_types_get_their_own_pixels_and_answer_in_float32(dtype, tolerance):
    classifier = Classifier(net().to(dtype))
    with torch.no_grad():
        expected = net()(X)
    answer = classifier.logits(X)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, atol=tolerance, rtol=0)
    _, _, grad = classifier.gradient(X, lambda z, rows: z[:, 0])
    assert grad.dtype == torch.float32
    assert float(grad.abs().max()) > 0


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        pytest.param(torch.compile, marks=pytest.mark.slow),  # its import alone takes seconds
        pytest.param(lambda m: nn.DataParallel(torch.compile(m)), marks=pytest.mark.slow),
    ],
)
def test_wrappers_are_looked_through(wrap):
    inner = net()
    classifier = Classifier(wrap(inner))
    assert classifier.module is inner
    assert classifier.access == Access.INTERNALS
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(X), inner(X), atol=1e-5, rtol=0)


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_grants_gradients(freeze):
    scripted = torch.jit.trace(net(), X)
    scripted = torch.jit.freeze(scripted) if freeze else scripted.train()
    classifier = Classifier(scripted)
    assert classifier.access == Access.GRADIENTS
    _, _, grad = classifier.gradient(X, lambda z, rows: z[:, 0])
    _, _, expected = Classifier(net()).gradient(X, lambda z, rows: z[:, 0])
    torch.testing.assert_close(grad, expected, atol=1e-5, rtol=0)
    if not freeze:
        assert scripted.training


def test_quantised_models_grant_scores():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)
        classifier = Classifier(quantised)
        assert classifier.access == Access.SCORES
        with torch.no_grad():
            torch.testing.assert_close(classifier.logits(X), net()(X), atol=0.05, rtol=0)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(3)


class DistributedDataParallel(nn.Module):
    pass


def half_byte() -> nn.Module:
    module = net()
    module.register_buffer("scale", torch.zeros(3).to(torch.float8_e4m3fn))
    return module


def two_devices() -> nn.Module:
    module = net()
    module.register_buffer("elsewhere", torch.zeros(3, device="meta"))
    return module


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Lazy, "lazy layers"),
        (DistributedDataParallel, "the module inside"),
        (half_byte, "float8"),
        (lambda: net().to("meta"), "meta device"),
        (two_devices, "meta device"),
    ],
)
def test_unsupported_kinds_stop_with_the_remedy(make, text):
    with pytest.raises(ModelError, match=text):
        Classifier(make())
