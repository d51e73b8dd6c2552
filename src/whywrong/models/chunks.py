"""Split a request into passes that fit in memory."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from whywrong.core.errors import AccessError, EnvironmentFailure, InputError, ModelError, NotDifferentiableError
from whywrong.models.memory import out_of_memory

T = TypeVar("T")


class Chunks:
    """Batch size and pixel layout of a classifier, adapted if the model fails.

    - A chunk that does not fit in memory is halved, and the smaller batch size is kept. If a single image does not fit,
      this says nothing about the others; as soon as one of them fits, the previous batch size is restored.
    - A model that fails on channels-last pixels (``view`` may need other strides) gets contiguous ones from then on.
    - If a model fails on a chunk for another reason, the halves are tried. If all of them succeed, the model only takes
      smaller batches and the batch size is reduced; otherwise the one image that still fails is at fault.

    Args:
        size: Images per pass, at least 1.
        channels_last: Initial layout.
        limit: Largest batch that the model accepts, if it states one.
        release: Frees unused memory; called before a smaller chunk is tried.
    """

    def __init__(
        self,
        size: int,
        *,
        channels_last: bool = False,
        limit: int | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._release = release
        self._short = False  # whether memory just ran out
        self._before = 0  # batch size before an image that does not fit alone; 0 if none
        self.channels_last = channels_last
        self.limit = limit
        self.resize(size)

    def resize(self, size: int) -> None:
        """Set the number of images per pass, within the limit of the model."""
        if size < 1:
            raise InputError(f"batch size must be at least 1, got {size}")
        self.size = min(size, self.limit or size)
        self._before = 0

    def over(self, n: int, run: Callable[[slice], T], raised: dict[int, Exception] | None = None) -> list[T]:
        """Run a function over consecutive slices of 0..n and collect its results.

        Args:
            n: Number of rows.
            run: One pass; its results are kept in order.
            raised: Receives the error of each row on which the model fails alone; if None, the error is raised.
        """
        parts: list[T] = []
        start, whole = 0, self.size
        while start < n:
            rows = slice(start, min(start + self.size, n))
            if self._short:
                self._release()  # outside of the handler, since the traceback keeps the tensors of the failed pass
                self._short = False
            try:
                parts.append(run(rows))
                if self._before:
                    self.resize(max(self.size, self._before))
            except Exception as error:
                size = rows.stop - rows.start
                if out_of_memory(error) and size > 1:
                    self.size = (size + 1) // 2
                    self._short = True
                    continue
                if self.wants_other_layout(error):
                    self.channels_last = False
                    continue
                if _does_not_fit(error):
                    self._before, self._short = max(self._before, whole), True
                if not _may_be_one_image(error):
                    raise
                parts += self._bisect(rows, run, raised, error)
            start = rows.stop
        return parts

    def wants_other_layout(self, error: BaseException) -> bool:
        """Return whether an error is about the strides of channels-last pixels."""
        text = str(error)
        return self.channels_last and isinstance(error, RuntimeError) and ("contiguous" in text or "stride" in text)

    def _bisect(
        self, rows: slice, run: Callable[[slice], T], raised: dict[int, Exception] | None, error: Exception
    ) -> list[T]:
        if rows.stop - rows.start == 1:
            if raised is None or not _may_be_one_image(error):
                raise error
            raised[rows.start] = _without_locals(error)
            return []
        _without_locals(error)
        parts: list[T] = []
        answered: list[int] = []
        halves = [rows]
        while halves:
            half = halves.pop()
            size = half.stop - half.start
            if self._short:
                self._release()
                self._short = False
            try:
                parts.append(run(half))
                answered.append(size)
            except Exception as trouble:
                self._short = out_of_memory(trouble) or _does_not_fit(trouble)
                if not (_may_be_one_image(trouble) or self._short):
                    raise
                if size > 1:
                    middle = half.start + size // 2
                    halves += [slice(middle, half.stop), slice(half.start, middle)]
                elif raised is not None:
                    raised[half.start] = _without_locals(trouble)
                elif _does_not_fit(trouble):
                    raise
                else:
                    raise error from trouble  # it describes the batch as requested
        if sum(answered) == rows.stop - rows.start:
            self.limit = max(answered)
            self.resize(self.limit)
        return parts


def _does_not_fit(error: Exception) -> bool:
    """Return whether one image does not fit in memory; the caller tests whether others fit."""
    return isinstance(error, EnvironmentFailure) and error.__cause__ is not None and out_of_memory(error.__cause__)


def _may_be_one_image(error: Exception) -> bool:
    if isinstance(error, (AccessError, NotDifferentiableError)):
        return False
    return isinstance(error, ModelError) or _does_not_fit(error)


def _without_locals(error: Exception) -> Exception:
    """Drop the variables of the failed pass from an error, since they would keep its activations alive."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error
