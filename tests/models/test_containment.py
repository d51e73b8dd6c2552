"""A model cannot end, move or reconfigure the process that asks it."""

from __future__ import annotations

import _thread
import contextlib
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import ModelError, ModelRaisedError
from whywrong.core.input_spec import InputSpec
from whywrong.models.checks.health import probe
from whywrong.models.classifier import Classifier
from whywrong.models.containment import leaked_threads
from whywrong.models.loading.zoo import load_classifier

X = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Own(BaseException):
    """No ``Exception``: ``except Exception`` lets it pass."""


def raising(error: BaseException) -> None:
    raise error


ENDINGS = {
    "sys.exit(0)": lambda: sys.exit(0),
    "sys.exit('done')": lambda: sys.exit("done"),
    "sys.exit(None)": lambda: raising(SystemExit()),
    "os._exit(7)": lambda: os._exit(7),
    "os.abort()": lambda: os.abort(),  # noqa: PLW0108  looked up when it is called
    "KeyboardInterrupt": lambda: raising(KeyboardInterrupt()),
    "GeneratorExit": lambda: raising(GeneratorExit()),
    "Own": lambda: raising(Own()),
}


class Doing(nn.Module):
    """Four scores, and a deed on the way."""

    def __init__(self, deed, only_above: float = -1.0) -> None:
        super().__init__()
        self.deed, self.only_above = deed, only_above
        self.line = nn.Linear(48, 4)

    def forward(self, x):
        if float(x.amax()) > self.only_above:
            self.deed()
        return self.line(x.flatten(1))


class Backward(torch.autograd.Function):
    """The identity; its backward pass ends the process."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        sys.exit(3)


def wrapped(deed, **options) -> Classifier:
    spec = InputSpec(channels=3, height=4, width=4)
    return Classifier(Doing(deed, **options), classes=ClassList(tuple("abcd")), preprocess=spec)


@pytest.mark.parametrize("words", ENDINGS)
def test_a_model_that_ends_the_process_is_an_error_of_the_model(words):
    with pytest.raises(ModelRaisedError, match=f"the model ended the process with {words.split('(')[0]}") as caught:
        wrapped(ENDINGS[words]).logits(X)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("words", ENDINGS)
def test_it_costs_the_one_image_on_which_it_happens(words):
    x = X.clone() * 0.5
    x[2, 0, 0, 0] = 1.0
    logits, faults = wrapped(ENDINGS[words], only_above=0.9).logits_or_faults(x)
    assert faults == {2: f"the model ended the process with {words}"}
    assert bool(logits[[0, 1, 3]].isfinite().all())


def test_a_model_that_always_ends_the_process_is_stopped_by_the_health_probe():
    report = probe(wrapped(ENDINGS["sys.exit(0)"]), X)
    assert report.findings[-1].level == "stop"
    with pytest.raises(ModelError, match=r"the model ended the process with sys\.exit"):
        report.raise_on_stop()


def test_a_backward_pass_that_ends_the_process_is_an_error_of_the_model():
    class Net(nn.Module):
        def forward(self, x):
            return Backward.apply(x).flatten(1)[:, :4]

    with pytest.raises(ModelRaisedError, match=r"ended the process with sys.exit\(3\)"):
        Classifier(Net()).gradient(X, lambda logits, rows: logits[:, 0])


@pytest.mark.parametrize("how", [signal.raise_signal, _thread.interrupt_main])
def test_a_real_interrupt_stays_one(how):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores SIGINT
    with pytest.raises(KeyboardInterrupt):
        wrapped(lambda: how(signal.SIGINT)).logits(X)
    signal.signal(signal.SIGINT, before)


def test_os_exit_is_itself_again_after_the_call_and_in_forked_children():
    before = os._exit, os.abort

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5

    wrapped(fork).logits(X)
    assert (os._exit, os.abort) == before


def test_the_working_directory_is_restored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    wrapped(lambda: os.chdir(tmp_path / "elsewhere")).logits(X)
    assert os.getcwd() == str(tmp_path)


def test_a_working_directory_that_the_model_deletes_raises_nothing(tmp_path, monkeypatch):
    (tmp_path / "short").mkdir()
    monkeypatch.chdir(tmp_path / "short")

    def leave():
        os.chdir(tmp_path)
        os.rmdir(tmp_path / "short")

    wrapped(leave).logits(X)


OTHER_STATE = torch.Generator().manual_seed(5).get_state()
GLOBALS = {
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    "dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "gradients": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(not torch.is_grad_enabled())),
    "determinism": (torch.are_deterministic_algorithms_enabled, lambda: torch.use_deterministic_algorithms(True)),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("ignore")),
    "no warnings": (lambda: list(warnings.filters), warnings.resetwarnings),
    "SIGTERM": (lambda: signal.getsignal(signal.SIGTERM), lambda: signal.signal(signal.SIGTERM, lambda *_: None)),
    "SIGINT": (lambda: signal.getsignal(signal.SIGINT), lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)),
    "SIGUSR1": (lambda: signal.getsignal(signal.SIGUSR1), lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)),
    "stdout": (lambda: sys.stdout, lambda: setattr(sys, "stdout", None)),
    "random": (random.getstate, lambda: random.seed(3)),
    "random state": (random.getstate, lambda: random.setstate(random.Random(3).getstate())),
    "numpy": (lambda: list(np.random.get_state()[1]), lambda: np.random.seed(3)),  # noqa: NPY002
    "torch": (lambda: torch.get_rng_state().tolist(), lambda: torch.manual_seed(3)),
    "torch state": (
        lambda: torch.get_rng_state().tolist(),
        lambda: torch.set_rng_state(torch.Generator().manual_seed(5).get_state()),
    ),
}


@pytest.mark.parametrize("name", GLOBALS)
@pytest.mark.parametrize("raises", [False, True])
def test_what_a_model_sets_for_the_whole_process_is_restored(name, raises):
    look, change = GLOBALS[name]

    def deed():
        change()
        if raises:
            raise ValueError("and then it raised")

    classifier = wrapped(deed)
    before = look()
    with pytest.raises(ModelRaisedError) if raises else contextlib.nullcontext():
        classifier.logits(X)
    assert look() == before


def test_seeding_by_a_name_bound_before_is_noticed_too():
    seed = torch.manual_seed
    classifier = wrapped(lambda: seed(12))
    torch.manual_seed(11)
    before = torch.get_rng_state()
    classifier.logits(X)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_draws_numbers_still_draws_others_each_time():
    drawn = []
    classifier = wrapped(lambda: drawn.append((random.random(), np.random.rand(), torch.rand(()).item())))  # noqa: NPY002
    for _ in range(2):
        classifier.logits(X)
    assert all(first != second for first, second in zip(*drawn, strict=True))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms on this system")
def test_an_alarm_that_the_model_sets_never_goes_off():
    if signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        pytest.skip("the time limit of the tests is an alarm itself")
    wrapped(lambda: signal.alarm(1)).logits(X)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_threads_that_a_model_leaves_are_known():
    event = threading.Event()
    wrapped(lambda: threading.Thread(target=event.wait, name="left").start()).logits(X)
    try:
        assert {thread.name for thread in leaked_threads()} >= {"left"}
    finally:
        event.set()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import sys; sys.exit(2)", "while it was imported, ended the process with sys.exit(2)"),
        ("import argparse; p = argparse.ArgumentParser(); p.add_argument('x'); p.parse_args([])", "sys.exit(2)"),
        ("import os; os._exit(0)", "os._exit(0)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def net():\n    raise SystemExit(4)", "nets.py:net() ended the process with sys.exit(4)"),
        ("def net():\n    import os; os._exit(4)", "nets.py:net() ended the process with os._exit(4)"),
    ],
)
def test_a_file_that_ends_the_process_while_it_loads_is_an_error_of_the_model(tmp_path, line, words):
    (tmp_path / "nets.py").write_text(line)
    with pytest.raises(ModelError) as caught:
        load_classifier(f"{tmp_path}/nets.py:net")
    assert words in str(caught.value)


def test_a_file_that_changes_the_process_while_it_loads_leaves_it_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "nets.py").write_text(
        "import os, random, torch\nfrom torch import nn\nos.chdir('sub'); random.seed(1); torch.set_num_threads(3)\n"
        "def net():\n    torch.manual_seed(0); torch.set_default_dtype(torch.float64)\n"
        "    m = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)); m.input_size = (3, 4, 4); return m.float()\n"
    )
    look = (os.getcwd, random.getstate, torch.get_num_threads, torch.initial_seed, torch.get_default_dtype)
    before = [f() for f in look]
    load_classifier(f"{tmp_path}/nets.py:net")
    assert [f() for f in look] == before
