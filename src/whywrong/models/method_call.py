"""State of one call of a method, its checked arguments and the status of each row.

A method only implements its mathematics. Here, shapes, types and classes are checked, rows with unusable pixels and
rows that are not requested are set aside, every pass is counted per image, and the status of each row is recorded::

    with MethodCall(classifier, x, y, method="smooth_grad", access=Access.GRADIENTS, keys=keys) as call:
        rows, logits = call.clean_pass()
        ...
        return SmoothGradResult(saliency=saliency, **call.outcome())
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_classes, check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier, need_classifier

BAD_PIXELS = "pixels are not finite or outside [0, 1]"
NOT_FINITE = "the model returned NaN or infinite scores"
SKIPPED = "only some errors are explained in full"
_WORDS = tuple(Status)
_OPEN = -1


class MethodCall:
    """Checked arguments of a method and the state of its rows.

    The classifier may be queried inside ``with``.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K).
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64, in 0..K-1.
        method: Name of the method, for messages.
        access: Minimum access that it needs.
        keys: Seed of each image's noise, (B,), int64; None derives them from ``seed`` and the row index.
        seed: Seeds the default keys.
        detail: (B,), bool, rows to explain in full; None takes all.
        masks: (B, H, W), bool, pixels of the object, all False if unknown; None if unknown for all.
        skips: Whether rows outside ``detail`` are skipped.
        classes: Minimum number of classes.

    Attributes:
        x: (B, C, H, W), float32.
        y: (B,), int64, on the device of the images, as all of the following.
        keys: (B,), int64.
        detail: (B,), bool.
        masks: (B, H, W), bool, or None.
        forwards: (B,), int64, forward passes of each image so far.
        backwards: (B,), int64, backward passes of each image so far.

    Raises:
        InputError: A shape, type or class differs from the above.
        AccessError: The classifier grants less than ``access``.
    """

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        method: str,
        access: Access,
        keys: Tensor | None = None,
        seed: int = 0,
        detail: Tensor | None = None,
        masks: Tensor | None = None,
        skips: bool = False,
        classes: int = 2,
    ) -> None:
        self.classifier = need_classifier(classifier)
        classifier.require(access, method)
        check_images(x, classifier.preprocess.channels if classifier.preprocess else None)
        self._batch, self._fewest = len(x), classes
        self._labels: list[tuple[str, Tensor]] = []
        self.add_classes("label", y)
        self.x, self.y = x.detach().float(), y.to(x.device)
        if keys is not None:
            check_keys(keys, len(x))
        self.keys = row_keys(seed, len(x), x.device) if keys is None else keys.to(x.device)
        self.detail = self.flags("detail", detail, (len(x),), default=True)
        self.masks = None if masks is None else self.flags("masks", masks, (len(x), *x.shape[2:]))
        self.forwards, self.backwards = torch.zeros_like(self.y), torch.zeros_like(self.y)
        self._codes = torch.full_like(self.y, _OPEN)
        self._why = torch.zeros_like(self.y)
        self._reasons: list[str | None] = [None]  # the device holds indices into this list
        bad = bad_rows(self.x)
        self.mark(bad, Status.BAD_INPUT, BAD_PIXELS)
        if skips:
            self.mark(~bad & ~self.detail, Status.SKIPPED, SKIPPED)

    def __enter__(self) -> Self:
        self.classifier.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.classifier.__exit__(kind, error, trace)

    # Rows.

    @property
    def rows(self) -> Tensor:
        """Open rows, whose status is not settled yet, (n,) int64."""
        return (self._codes == _OPEN).nonzero().flatten()

    def mark(self, rows: Tensor | int, status: Status, reason: str | None = None) -> None:
        """Set the status and reason of rows.

        ``rows`` is one row, rows (n,) int64, or a mask (B,) bool; a later call overrides an earlier one.
        """
        if reason not in self._reasons:
            self._reasons.append(reason)
        for told, number in ((self._codes, _WORDS.index(status)), (self._why, self._reasons.index(reason))):
            if isinstance(rows, Tensor) and rows.dtype == torch.bool:
                told.masked_fill_(rows, number)
            else:
                told[rows] = number

    def having(self, status: Status) -> Tensor:
        """Select the rows with a status, (B,) bool."""
        return self._codes == _WORDS.index(status)

    # Passes.

    def clean_pass(self, correct: Status | None = None) -> tuple[Tensor, Tensor]:
        """Send the unchanged open images through the classifier.

        Rows whose scores are not finite are refused.

        Args:
            correct: Status of rows that are correctly classified; None leaves them open.

        Returns:
            Rows (n,) that are still open, and their logits (n, K).
        """
        rows = self.rows
        if not len(rows):
            return rows, self.x.new_zeros(0, self.classifier.num_classes if self.classifier.classes else 0)
        logits = self.logits(rows, self.x[rows])
        self.mark(rows[~logits.isfinite().all(1)], Status.REFUSED, NOT_FINITE)
        if correct is not None:
            self.mark(rows[logits.isfinite().all(1) & (logits.argmax(1) == self.y[rows])], correct)
        left = self._codes[rows] == _OPEN
        return rows[left], logits[left]

    def logits(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Compute logits (n, K) of ``pixels`` (n, C, H, W) that belong to ``rows`` (n,).

        Counts one forward pass each.
        """
        self.count(rows, forwards=1)
        logits = self.classifier.logits(pixels)
        self.check_classes(logits.shape[1])
        return logits

    def gradient(
        self, rows: Tensor, pixels: Tensor, objective: Callable[[Tensor, slice], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute logits (n, K), and values and gradients of an objective of the logits.

        They are taken at ``pixels``, which belong to ``rows``.

        Counts one forward pass each, and one backward pass per value; see :meth:`Classifier.gradient`.
        """

        def checked(logits: Tensor, part: slice) -> Tensor:
            self.check_classes(logits.shape[1])
            return objective(logits, part)

        logits, value, grad = self.classifier.gradient(pixels, checked)
        self.count(rows, forwards=1, backwards=value.shape[1] if value.ndim == 2 else 1)
        return logits, value, grad

    def count(self, rows: Tensor, forwards: int | Tensor = 0, backwards: int | Tensor = 0) -> None:
        """Count passes of rows (n,), in which a row may occur several times.

        ``forwards`` and ``backwards`` are numbers or (n,) int64.
        """
        for counter, passes in ((self.forwards, forwards), (self.backwards, backwards)):
            counter.index_add_(0, rows, torch.zeros_like(rows) + passes)

    # Answer.

    def outcome(self) -> dict[str, Any]:
        """Return ``status``, ``reason``, ``forwards`` and ``backwards`` as result fields.

        Open rows get the status ``ok``.
        """
        codes, why = torch.stack([self._codes, self._why]).tolist()
        return {
            "status": [_WORDS[code] if code != _OPEN else Status.OK for code in codes],
            "reason": [self._reasons[number] for number in why],
            "forwards": self.forwards,
            "backwards": self.backwards,
        }

    # Checks.

    def check_classes(self, known: int | None = None) -> None:
        """Check labels against the number of classes.

        It may be known only after the first pass.

        Raises:
            InputError: A label is not a class, or there are too few classes.
        """
        if known is None and self.classifier.classes is not None:
            known = self.classifier.num_classes
        if known is not None:
            check_classes(known, self._fewest)
        for what, classes in self._labels:
            check_labels(classes, self._batch, known, what)

    def add_classes(self, what: str, classes: Tensor) -> None:
        """Add further classes to be checked like the labels.

        Classes are (B,) int64 and are called ``what`` in messages.

        Raises:
            InputError: The type, length or range is wrong.
        """
        self._labels.append((what, classes))
        self.check_classes()

    def flags(self, name: str, values: Tensor | None, shape: tuple[int, ...], default: bool = False) -> Tensor:
        """Check a bool argument of this shape and move it to the device of the images.

        If missing, it is ``default`` everywhere.

        Raises:
            InputError: The type or shape is wrong.
        """
        if values is None:
            return torch.full(shape, default, dtype=torch.bool, device=self.x.device)
        if values.shape != shape or values.dtype != torch.bool:
            raise InputError(f"{name} must be bool {shape}, got {values.dtype} {tuple(values.shape)}")
        return values.to(self.x.device)
