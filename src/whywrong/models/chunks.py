"""Split a request into passes that the model can take."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from whywrong.core.errors import AccessError, EnvironmentFailure, InputError, ModelError, NotDifferentiableError
from whywrong.models.memory import out_of_memory

T = TypeVar("T")


class Chunks:
    """Batch size and pixel layout of a classifier; both give way when the model cannot follow.

    - A chunk that does not fit in memory is halved, for good. Where one image alone does not fit, that says nothing of
      the others: as soon as one of them fits, the batch size is what it was before.
    - A model that fails on channels-last pixels (``view`` on a tensor of other strides) gets contiguous ones, for good.
    - A model that fails on a chunk for another reason is asked for the halves: if all of them answer, it takes only
      smaller batches and the batch size falls for good; else the fault lies with the one image that remains.

    Args:
        size: Images in one pass, at least 1.
        channels_last: Layout to start with.
        limit: Most images the model takes, where it says so.
        release: Gives memory back that nobody holds any more; called before a smaller chunk is tried.
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
        self._short = False  # of memory, a moment ago
        self._before = 0  # batch size before an image that does not fit alone; 0 where there was none
        self.channels_last = channels_last
        self.limit = limit
        self.resize(size)

    def resize(self, size: int) -> None:
        """Set the images in one pass, within the limit of the model."""
        if size < 1:
            raise InputError(f"batch size must be at least 1, got {size}")
        self.size = min(size, self.limit or size)
        self._before = 0

    def over(self, n: int, run: Callable[[slice], T], raised: dict[int, Exception] | None = None) -> list[T]:
        """Return the results of ``run`` over consecutive slices of 0..n.

        Args:
            n: Rows.
            run: One pass; everything it returns is kept in order.
            raised: Takes the error of each row on which the model fails alone; None raises it.
        """
        parts: list[T] = []
        start, whole = 0, self.size
        while start < n:
            rows = slice(start, min(start + self.size, n))
            if self._short:
                self._release()  # only here, outside of the handler: the traceback holds what the failed pass made
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
        """Whether an error complains about the strides of channels-last pixels."""
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
                    raise error from trouble  # it speaks of the batch as it was asked
        if sum(answered) == rows.stop - rows.start:
            self.limit = max(answered)
            self.resize(self.limit)
        return parts


def _does_not_fit(error: Exception) -> bool:
    """Whether memory ran out on one image, whatever the image; the caller judges whether others fit."""
    return isinstance(error, EnvironmentFailure) and error.__cause__ is not None and out_of_memory(error.__cause__)


def _may_be_one_image(error: Exception) -> bool:
    if isinstance(error, (AccessError, NotDifferentiableError)):
        return False
    return isinstance(error, ModelError) or _does_not_fit(error)


def _without_locals(error: Exception) -> Exception:
    """The same error without the variables of the failed pass, which would keep its activations alive."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error
