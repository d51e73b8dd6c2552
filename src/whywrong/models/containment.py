"""Keep the user's code from ending, moving or reconfiguring this process.

A model may call ``sys.exit``, change the working directory, seed the global generators or set thread counts.
:class:`Contained` surrounds every call that runs the user's code. It turns an attempt to end the process into an error
of the model and restores process-wide state.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from whywrong.core.errors import ModelRaisedError

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGABRT", "SIGPIPE")
    if hasattr(signal, name)
)
OUR_THREADS = "whywrong-"  # prefix of the names of our own threads

# The C functions: those of ``signal`` look up names for numbers, which costs more than a small pass through a model.
_signal: Any = sys.modules["_signal"]
_leaked: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class _Ended(BaseException):
    """Raised instead of ending the process.

    It is no ``Exception``, so that ``except Exception`` does not swallow it.
    """


def leaked_threads() -> list[threading.Thread]:
    """List the threads that models started and that would keep this process alive."""
    return [thread for thread in _leaked if thread.is_alive() and not thread.daemon]


class Contained:
    """Context manager around one call of the user's code.

    Restored on exit: working directory, torch threads, default dtype and gradient mode, warning filters, signal
    handlers and alarms, ``sys.stdout`` and ``sys.stderr``, and global generators that the code seeded. Numbers that
    the code only draws do advance the generators, so that a randomised model can still be detected.

    Args:
        who: Subject of the error message.

    Raises:
        ModelRaisedError: The code tried to end the process: ``sys.exit``, ``os._exit``, ``os.abort``, a
            ``KeyboardInterrupt`` that no signal caused, or another exception that is no ``Exception``.
    """

    __slots__ = ("_alarm", "_handlers", "_interrupted", "_main", "_state", "_threads", "_who")

    def __init__(self, who: str = "the model") -> None:
        self._who = who
        self._interrupted = False

    def __enter__(self) -> None:
        self._state = _read_state()
        self._threads = threading.active_count()
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._alarm = _alarm()
            self._handlers = {number: _signal.getsignal(number) for number in SIGNALS}
            former = self._handlers[signal.SIGINT]
            if callable(former):  # a real Ctrl-C must be kept, whatever the model raises
                _signal.signal(signal.SIGINT, self._on_interrupt(former))
        _replacements.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _replacements.leave()
        if self._main:
            self._restore_signals()
        _restore_state(self._state)
        if threading.active_count() > self._threads:
            ours = (threading.main_thread(), threading.current_thread())
            _leaked.update(t for t in threading.enumerate() if t not in ours and not t.name.startswith(OUR_THREADS))
        if error is not None and not isinstance(error, Exception) and not self._from_signal(error):
            raise ModelRaisedError(f"{self._who} ended the process with {_deed(error)}") from error

    def _from_signal(self, error: BaseException) -> bool:
        derived = isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt
        return self._interrupted or derived  # signal handlers of our runs raise derived classes

    def _on_interrupt(self, former: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], Any]:
        def caught(number: int, frame: FrameType | None) -> None:
            self._interrupted = True
            former(number, frame)

        return caught

    def _restore_signals(self) -> None:
        for number, handler in self._handlers.items():
            if handler is not None and _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
        if not self._alarm and _alarm():
            signal.setitimer(signal.ITIMER_REAL, 0)


def _deed(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r})"[:100]
    return str(error) if isinstance(error, _Ended) else type(error).__name__


def _alarm() -> bool:
    return hasattr(signal, "setitimer") and _signal.getitimer(signal.ITIMER_REAL)[0] > 0


# State of the process.


def _read_state() -> tuple[Any, ...]:
    try:
        folder = os.getcwd()
    except OSError:  # the folder was deleted, so it cannot be restored
        folder = None
    return (
        folder,
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        list(warnings.filters),
        (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        sys.stdout,
        sys.stderr,
    )


def _restore_state(before: tuple[Any, ...]) -> None:
    folder, threads, dtype, grad, filters, deterministic, stdout, stderr = before
    now = _read_state()
    if folder is not None and now[0] != folder:
        with contextlib.suppress(OSError):  # the model may have deleted it
            os.chdir(folder)
    if now[1] != threads:
        torch.set_num_threads(threads)
    if now[2] != dtype:
        torch.set_default_dtype(dtype)
    if now[3] != grad:
        torch.set_grad_enabled(grad)
    if now[4] != filters:
        warnings.simplefilter("default", _Never)  # tells the warnings machinery that the list has changed
        warnings.filters[:] = filters  # type: ignore[index]  # typed as a sequence, kept as a list
    if now[5] != deterministic:
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
    sys.stdout, sys.stderr = stdout, stderr


class _Never(Warning):
    """A warning category that nobody uses."""


# Functions that end the process without raising, or seed a global generator, are replaced while a model runs.


class _Replacements:
    """Replaced functions, their originals, and generator states from before a model seeded them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0  # calls in progress: models may call models, and threads may call at the same time
        self._process = 0
        self._torch: tuple[int, torch.Tensor] = (0, torch.empty(0))
        self._kept: dict[str, Any] = {}
        self._ours = {(os, name): self._refusing(name) for name in ("_exit", "abort")}
        for owner, library, names in _SEEDERS:
            self._ours |= {(owner, name): self._noticing(owner, library, name) for name in names}
        self._former = {(owner, name): getattr(owner, name) for owner, name in self._ours}

    def enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._process = os.getpid()
            self._torch = torch.initial_seed(), torch.get_rng_state()
            for (owner, name), function in self._ours.items():
                self._former[owner, name] = getattr(owner, name)
                setattr(owner, name, function)

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth > 0:
                return
            for (owner, name), function in self._former.items():
                setattr(owner, name, function)
            seed, state = self._torch
            if torch.initial_seed() != seed:  # also if called by a name bound before the replacement
                self._kept.setdefault("torch", state)
            for library, former in self._kept.items():
                _STATES[library][1](former)
            self._kept.clear()

    def _refusing(self, name: str) -> Callable[..., Any]:
        def refuse(*args: Any) -> Any:
            if os.getpid() != self._process:  # a forked child of the model may end in any way
                return self._former[os, name](*args)
            raise _Ended(f"os.{name}({', '.join(map(repr, args))})"[:100])

        return refuse

    def _noticing(self, owner: Any, library: str, name: str) -> Callable[..., Any]:
        def seed(*args: Any, **kwargs: Any) -> Any:
            if library not in self._kept:
                self._kept[library] = _STATES[library][0]()
            return self._former[owner, name](*args, **kwargs)

        return seed


_SEEDERS: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (random, "random", ("seed", "setstate")),
    (np.random, "numpy", ("seed", "set_state")),
    (torch, "torch", ("manual_seed", "seed", "set_rng_state")),
    (torch.random, "torch", ("manual_seed", "seed", "set_rng_state")),
)
_STATES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "random": (random.getstate, random.setstate),
    "numpy": (np.random.get_state, np.random.set_state),
    "torch": (torch.get_rng_state, torch.set_rng_state),
}
_replacements = _Replacements()
