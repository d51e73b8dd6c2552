"""Handle Ctrl-C, SIGTERM and SIGHUP: the first commits the current batch, the second stops at once."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from whywrong.core.errors import EXIT_INTERRUPTED

GRACE = 5.0  # seconds that the current batch may take after the first signal
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """Raised when a run is interrupted; the same call resumes it.

    Attributes:
        exit_code: Exit status of the command line.
    """

    exit_code = EXIT_INTERRUPTED


class StopNow(KeyboardInterrupt):
    """Raised in the main thread by the second signal, or when the grace period is over."""


class Stop:
    """Context manager that catches the signals, and restores their handlers.

    Outside the main thread it catches nothing, and :attr:`requested` stays False.

    Args:
        grace: Seconds that the current batch may take after the first signal; default ``GRACE``.
        on_signal: Called once, in the signal handler, on the first signal.

    Attributes:
        requested: Whether a signal came, or :meth:`expire` was called.
        expired: Whether :meth:`expire` was called.
    """

    def __init__(self, grace: float | None = None, on_signal: Callable[[], None] | None = None) -> None:
        self.requested = self.expired = False
        self._on_signal = on_signal
        self._grace = GRACE if grace is None else grace
        self._timer: threading.Timer | None = None
        self._former: dict[int, object] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                self._former[number] = signal.signal(number, self._caught)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
        if self._timer is not None:
            self._timer.cancel()

    def expire(self) -> None:
        """Request a stop after the current batch, because the time is used up."""
        self.requested = self.expired = True

    def check(self) -> None:
        """Raise if a signal came.

        Raises:
            StopNow: A signal came.
        """
        if self.requested:
            raise StopNow

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.expired:
            raise StopNow
        self.requested, self.expired = True, False
        if self._on_signal is not None:
            self._on_signal()
        self._timer = threading.Timer(self._grace, _again, (number,))
        self._timer.daemon = True
        self._timer.start()


def _again(number: int) -> None:
    """Send the same signal again to the main thread, even if it waits in a system call."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    else:
        _thread.interrupt_main(signal.Signals(number))
