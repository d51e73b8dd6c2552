"""The main loop of a spawned worker, which receives tasks and sends heartbeats and reports."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from whywrong.core.errors import WhyWrongError
from whywrong.core.registry import resolve
from whywrong.runs.engines.base import MakeWorker, Task, Worker, WorkerSpec

READY = "ready"
_BEAT = 0.5  # seconds between checks of the counter of passes
_exit = os._exit  # kept, as the name in ``os`` raises while a model runs


def serve(pipe: Connection, spec: WorkerSpec) -> None:
    """Rebuild classifier and source and perform tasks until the pipe closes."""
    os.dup2(2, 1)  # only the parent writes results to stdout; output of a model goes to stderr
    sys.stdout = sys.stderr
    stopping = threading.Event()
    for name in ("SIGINT", "SIGHUP"):  # a terminal sends them to all processes; the parent decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    talk = _Talk(pipe)
    try:
        _serve(talk, spec, stopping)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has ended
    except WhyWrongError as error:
        talk.send(_portable(error))
    except Exception as error:  # noqa: BLE001 - an internal error must reach the user from here too
        talk.send(RuntimeError(f"{error}\n\nin a worker:\n{traceback.format_exc()}"))


def _serve(talk: _Talk, spec: WorkerSpec, stopping: threading.Event) -> None:
    import torch

    from whywrong.models.memory import keep_freed_memory

    torch.set_num_threads(spec.model_threads)
    keep_freed_memory()
    keep_bars_in_process()
    classifier = spec.recipe.build()
    classifier.batch_size = spec.batch_size
    make: MakeWorker = resolve(spec.worker)
    worker = make(
        spec, classifier, spec.source.open(), stopping=stopping.is_set, at=lambda items: talk.send(tuple(items))
    )
    threading.Thread(target=_beat, args=(talk, worker), daemon=True, name="whywrong-beat").start()
    talk.send(READY)
    tasks: deque[Task] = deque()
    with classifier:
        while not stopping.is_set():
            while talk.pipe.poll(0 if tasks else _BEAT):
                tasks.append(talk.pipe.recv())
                worker.prepare(tasks[-1])
            if tasks:
                talk.send(worker.perform(tasks.popleft()))
    worker.close()


def _beat(talk: _Talk, worker: Worker) -> None:
    """Send heartbeats while images pass, and exit when the parent ends, for whatever reason."""
    parent = parent_process()
    while True:
        if parent is not None and wait([parent.sentinel], _BEAT):
            _exit(1)
        heartbeat = worker.heartbeat()
        if heartbeat is not None:
            talk.send(heartbeat)


def keep_bars_in_process() -> None:
    """Give the progress bars of libraries a lock of this process.

    Their own is a semaphore, which outlives a killed worker and is reported as leaked.
    """
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


class _Talk:
    """A pipe that two threads may write to."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        with self._lock:
            self.pipe.send(message)


def _portable(error: WhyWrongError) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an error that cannot be pickled is sent as text
        return WhyWrongError(str(error))
    return error
