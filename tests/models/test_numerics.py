"""The switches of GPU arithmetic: exact inside, as they were after, whichever way somebody set them."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.models.numerics import ExactArithmetic


def switches() -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {
        "deterministic": cudnn.deterministic,
        "benchmark": cudnn.benchmark,
        "tf32": cudnn.allow_tf32,
        "products": torch.get_float32_matmul_precision(),
        "repeatable": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "filters": len(warnings.filters),
    }


def test_switches_are_exact_inside_and_as_they_were_after():
    before = switches()
    with ExactArithmetic(True):
        inside = switches()
        with ExactArithmetic(True):
            assert switches() == inside
        assert switches() == inside
    assert switches() == before
    del inside["filters"]
    expected = {"deterministic": True, "benchmark": False, "tf32": False, "products": "highest", "repeatable": True}
    assert inside == {**expected, "warn only": True, "filled": False}


def test_they_go_back_after_an_exception():
    before = switches()
    with pytest.raises(ValueError, match="in between"), ExactArithmetic(True):
        raise ValueError("in between")
    assert switches() == before


def test_models_on_the_cpu_touch_nothing():
    before = switches()
    with ExactArithmetic(False), Classifier(nn.Flatten()):
        assert switches() == before


SET_BEFORE = {
    "nothing": "pass",
    "older convolutions": "b.cudnn.allow_tf32 = False",
    "older products": "b.cuda.matmul.allow_tf32 = True",
    "high": "torch.set_float32_matmul_precision('high')",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "newer convolutions": "b.cudnn.conv.fp32_precision = 'ieee'",
    "newer products": "b.cuda.matmul.fp32_precision = 'tf32'",
    "newer all": "b.fp32_precision = 'tf32'",
    "deterministic": "torch.use_deterministic_algorithms(True); b.cudnn.benchmark = True",
}
SCRIPT = """
import sys, torch
from whywrong.models.numerics import ExactArithmetic
b = torch.backends
def read(f):
    try: return f()
    except RuntimeError: return "cannot be read"
def state():
    newer = [getattr(part, "fp32_precision", None) for part in (b.cudnn.conv, b.cudnn.rnn, b.cuda.matmul)]
    return [*newer, read(lambda: b.cudnn.allow_tf32), read(torch.get_float32_matmul_precision), b.cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()]
for words in sys.argv[1:]:
    pid = __import__("os").fork()  # the switches cannot all be put back by hand
    if pid == 0:
        exec(words)
        before = state()
        with ExactArithmetic(True):
            assert b.cudnn.conv.fp32_precision in ("ieee", "none"), words
            assert b.cuda.matmul.fp32_precision in ("ieee", "none"), words
        assert state() == before, (words, before, state())
        __import__("os")._exit(0)
    assert __import__("os").waitpid(pid, 0)[1] == 0, words
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has the older switches only")
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_whichever_way_they_were_set_they_go_back():
    subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT, *SET_BEFORE.values()], check=True, timeout=120)


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match='exact or fast, got "tf32"'):
        Classifier(nn.Flatten(), precision="tf32")
