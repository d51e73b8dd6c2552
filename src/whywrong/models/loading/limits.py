"""Limit memory and time of code that may use any amount of either in this process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_inside: list[tuple[int, int]] = []  # previous limits, one entry per active block


@contextlib.contextmanager
def memory_limit() -> Iterator[None]:
    """Make allocations beyond the free memory fail inside the context.

    Otherwise the system would kill the process.

    It applies to the whole process while any thread is inside; other threads share the free memory. It has no effect
    if the system does not report its free memory (Linux does).
    """
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    free, used = available_memory(), _address_space()
    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if not _inside and free is not None and used is not None:
            least = [limit for limit in (used + free, soft, hard) if limit != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_AS, (min(least), hard))
        _inside.append(_inside[0] if _inside else (soft, hard))
    try:
        yield
    finally:
        with _lock:
            former = _inside.pop()
            if not _inside:
                resource.setrlimit(resource.RLIMIT_AS, former)


def available_memory() -> int | None:
    """Return the memory that this process can still allocate.

    Returns bytes, by the system and by its control group; None if unknown.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(0, min(found)) if found else None


def _address_space() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def answer_within(function: Callable[[], T], seconds: float) -> T:
    """Call a function in its own thread, with a time limit.

    The thread is abandoned if it does not end in time.

    Raises:
        TimeoutError: The call took more than ``seconds``.
    """
    answer: list[T] = []
    trouble: list[BaseException] = []

    def call() -> None:
        try:
            answer.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
            trouble.append(error)

    thread = threading.Thread(target=call, daemon=True, name="whywrong-bounded")
    thread.start()
    thread.join(seconds)
    if trouble:
        raise trouble[0]
    if not answer:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answer[0]
