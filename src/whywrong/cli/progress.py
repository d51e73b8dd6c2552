"""Show the progress of a run on stderr as one updated line, plain lines or JSON."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from whywrong.cli.streams import count, is_terminal, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

KINDS = ("auto", "bar", "plain", "json", "none")
EVERY = 10.0  # seconds between plain lines of one stage
EVERY_JSON = 0.5
PREPARING = 3.0  # seconds of preparation after which plain lines report it
STOPPING = "whywrong: stopping after the batch in hand, at most 5 s; Ctrl-C again stops at once"
_TELLING = 10.0, 0.03  # seconds and share of the work after which the remaining time can be estimated


class ProgressDisplay:
    """Context manager and callback that shows the progress of a run.

    Args:
        kind: One of ``KINDS``; ``auto`` is ``bar`` on a terminal and ``plain`` otherwise.
        clock: Returns the current time in seconds.
        write: Function that writes a plain or JSON line.
    """

    def __init__(
        self, kind: str = "auto", *, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] = say
    ) -> None:
        self.kind = ("bar" if is_terminal() else "plain") if kind == "auto" else kind
        self._clock, self._write = clock, write
        self._bar: Bar | None = None
        self._task: Any = None
        self._stage = ""
        self._start, self._first, self._last = 0.0, 0, 0.0
        self._preparing: threading.Timer | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.kind == "bar":
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._prepared()
        if self._bar is not None:
            self._bar.stop()

    def prepare(self) -> None:
        """Show that the model is being loaded and checked."""
        if self._bar is not None:
            self._task = self._bar.add_task("prepare", total=None, rest="loading and probing the model")
        elif self.kind == "plain":
            self._say_preparing(self._clock(), PREPARING)

    def _say_preparing(self, start: float, pause: float) -> None:
        def line() -> None:
            self._write(f"prepare: loading and probing the model, {_duration(self._clock() - start)}")
            self._say_preparing(start, EVERY)

        self._preparing = threading.Timer(pause, line)
        self._preparing.daemon = True
        self._preparing.start()

    def _prepared(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            self._preparing = None

    def __call__(self, progress: Any) -> None:
        """Show ``progress``, with ``stage``, ``done``, ``total``, ``errors``, ``failed`` and ``passes``.

        If it also has ``share``, the completed share of the work is shown instead of the number of items, and
        ``method`` names the running method.
        """
        if progress.stage == "stopping":
            self._write(STOPPING)
            return
        self._prepared()
        if progress.total == 0:
            return  # this stage has nothing left to do
        now = self._clock()
        new = progress.stage != self._stage
        if new:
            self._stage, self._start, self._first, self._last = progress.stage, now, progress.done, now
        if self._bar is not None:
            self._show(progress, new)
            return
        over = progress.done >= progress.total
        pause = {"plain": EVERY, "json": EVERY_JSON}.get(self.kind, float("inf"))
        if self.kind == "none" or not (over or (new and self.kind == "json") or now - self._last >= pause):
            return
        self._last = now
        seconds, rate = now - self._start, self._rate(progress.done, now)
        if self.kind == "json":
            fields = ("stage", "done", "total", "errors", "failed", "passes")
            record: dict[str, Any] = {name: getattr(progress, name) for name in fields}
            record |= {"seconds": round(seconds, 3), "per_second": round(rate, 3) if rate else None}
            if _share(progress) is not None:
                record |= {"share": round(progress.share, 4), "method": progress.method}
            self._write(json.dumps(record))
        else:
            self._write(_line(progress, rate, seconds) if _share(progress) is None else _share_line(progress, seconds))

    def _rate(self, done: int, now: float) -> float | None:
        fresh, seconds = done - self._first, now - self._start
        return fresh / seconds if fresh > 0 and seconds > 0 else None

    def _show(self, progress: Any, new: bool) -> None:
        assert self._bar is not None
        if new:
            for task in self._bar.tasks:
                if not task.finished:
                    self._bar.remove_task(task.id)  # the preparation, or a stage with nothing to do
            self._task = self._bar.add_task(progress.stage, total=progress.total, rest="")
        share = _share(progress)
        completed = progress.done if share is None else progress.total * min(share, 1.0)
        if progress.done >= progress.total:
            completed = progress.total
        seconds = self._clock() - self._start
        left = _left(share, seconds) if share is not None and completed < progress.total else None
        rest = f"· {_rest(progress)}" if left else _rest(progress)
        self._bar.update(self._task, completed=completed, total=progress.total, rest=rest, share=share, left=left)


def _line(progress: Any, rate: float | None, seconds: float) -> str:
    parts = [f"{progress.stage} {progress.done:,}/{progress.total:,}", _rest(progress)]
    if rate:
        parts.append(f"{rate:.3g}/s")
        left = (progress.total - progress.done) / rate
        parts.append(f"{_duration(left)} left" if left > 0 else f"{_duration(seconds)}")
    return ", ".join(part for part in parts if part)


def _share_line(progress: Any, seconds: float) -> str:
    """Format the line of a stage whose items finish late, with the completed share of its work."""
    if progress.done >= progress.total:
        return _line(progress, None, seconds) + f", {_duration(seconds)}"
    left = _left(progress.share, seconds)
    errors = count(progress.total, "error")
    parts = [f"{progress.stage} {_percent(progress.share)} of {errors}", _rest(progress)]
    return ", ".join(part for part in [*parts, f"about {left} left" if left else ""] if part)


def _share(progress: Any) -> float | None:
    return getattr(progress, "share", None)


def _percent(share: float) -> str:
    return f"{min(int(100 * share), 99)} %"  # 100 only at the end


def _left(share: float, seconds: float) -> str | None:
    """Estimate the remaining time roughly, as methods differ in the time per pass.

    None if too little is known.
    """
    least, part = _TELLING
    if seconds < least or share < part:
        return None
    left = seconds * (1 - share) / share
    if left < 57.5:
        return f"{max(5, 5 * round(left / 5))} s"
    minutes = round(left / 60) if left < 3600 else 10 * round(left / 600)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _rest(progress: Any) -> str:
    found = progress.errors and progress.errors != progress.done  # if only errors are processed, all are misclassified
    parts = [getattr(progress, "method", ""), f"{progress.errors:,} wrong" if found else ""]
    if progress.stage == "explain" and progress.passes:
        parts.append(f"{progress.passes:,} passes")
    parts.append(f"{progress.failed:,} failed" if progress.failed else "")
    return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Images per second."""

        def render(self, task: Task) -> Text:
            if task.fields.get("share") is not None:
                return Text("")
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g}/s" if speed else "", style="dim")

    class Done(MofNCompleteColumn):
        """Items done, or the share of the work if items only finish together."""

        def render(self, task: Task) -> Text:
            share = task.fields.get("share")
            if share is None or task.finished:
                return super().render(task)
            return Text(f"{_percent(share)} of {task.total:,}", style="progress.download")

    class TimeLeft(ProgressColumn):
        """Remaining time, and after the stage the time it took."""

        def __init__(self) -> None:
            super().__init__()
            self._left, self._spent = TimeRemainingColumn(compact=True), TimeElapsedColumn()

        def render(self, task: Task) -> Text:
            if task.fields.get("share") is not None and not task.finished:
                return Text(f"about {task.fields['left']} left" if task.fields["left"] else "", style="dim")
            return Text(str(self._spent.render(task) if task.finished else self._left.render(task)), style="dim")

    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=24, complete_style="blue", finished_style="blue"),
        Done(),
        Rate(),
        TimeLeft(),
        TextColumn("{task.fields[rest]}", style="dim"),
        console=Console(stderr=True, highlight=False),
        refresh_per_second=4,
    )
