"""Query a classifier with images in [0, 1] for logits, and count every query.

Wrapping leaves the user's module unchanged. Its mode and ``requires_grad`` flags are set on entry and restored on exit,
even after an exception. ``.grad`` and hooks are never written, and no pass writes into the caller's images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_images, check_pixel_range
from whywrong.core.classes import ClassList
from whywrong.core.errors import AccessError, EnvironmentFailure, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.models.answers import check_output, read_labels, read_scores
from whywrong.models.class_attributes import find_classes
from whywrong.models.class_files import SORTED
from whywrong.models.identity import fingerprint
from whywrong.models.passes import Passes
from whywrong.models.wrong_types import check_arguments, refuse_classifier

Objective = Callable[[Tensor, slice], Tensor]
_MOST = {"labels": Access.LABELS, "top": Access.TOP}  # highest access by the kind of answer


class Classifier(Passes):
    """A classifier with its preprocessing, its classes and its access level.

    Use it as a context manager around many calls (``with classifier:``) to switch the module to evaluation mode only
    once; otherwise every call does so itself.

    Args:
        model: ``nn.Module``, or any callable, from images (B, C, H, W) to logits (B, K).
        classes: Classes in the order of the logits, in any form that
            :func:`whywrong.core.class_names.read_class_names` takes; ``"sorted"`` takes the sorted labels of the data;
            None takes the names that the model stores, otherwise counts the classes in the first answer.
        preprocess: Input size and normalisation; without mean and std, the model receives images in [0, 1].
        access: Highest level that may be used; default what the model can grant, INTERNALS for a plain module and
            SCORES for any other callable.
        output: How the answer is read: ``logits``; ``probabilities`` (their logarithm is used as logits); ``top``
            (probabilities of the best few classes, 0 for all others); ``binary`` (one logit z becomes the two logits
            0 and z); ``binary-probability`` (one probability p of class 1); ``labels`` (class indices, (B,)); or
            ``key:NAME`` or ``item:N`` for one part of a mapping, object or tuple.
        device: Device of the module; default that of its tensors, otherwise the CPU. The module is never moved.
        precision: On a GPU, ``exact`` for float32 as on a CPU with bitwise repeatable results, or ``fast`` for the
            user's settings, by default convolutions in TF32. If both kinds are in use, exact arithmetic applies.
        batch_size: Images per pass. Larger requests are split; the size is reduced if memory runs out or the model
            accepts fewer.
        identity: Hash that identifies the model in a run; default :func:`whywrong.models.identity.fingerprint`.
        pixels: Whether inputs are images in [0, 1]; the range of other inputs, such as tokens, is not checked.
        recipe: Picklable object with ``build() -> Classifier``, from which a worker rebuilds the classifier; None
            if the module exists only in memory.

    Attributes:
        classes: Classes in the order of the logits; None until they are known.
        sorted_classes: Whether the classes are the sorted labels of the data.
        forwards: Images sent through the model so far; a batch of 8 counts 8. Passes that ran out of memory or raised
            an error do not count.
        backwards: Images differentiated through the model so far.
        on_pass: Called after every pass, to show progress; or None.
        notes: Remarks on how the model was loaded, one sentence each.
        title: Description of a model that was given as an object, for the record of a run; otherwise empty.
        model: The module or callable that is queried.
        module: The module of the classifier; None for other callables.

    Raises:
        InputError: ``output`` or ``precision`` is unknown, or the device is missing or not supported.
        ModelError: The kind of module is not supported, or its tensors are not on ``device``.

    Example:
        >>> import torch, whywrong as ww
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> classifier = ww.Classifier(net, classes=["cat", "dog"])
        >>> classifier.logits(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        *,
        classes: ClassList | Sequence[Any] | Mapping[Any, Any] | None = None,
        preprocess: InputSpec | None = None,
        access: Access | None = None,
        output: str = "logits",
        device: torch.device | str | None = None,
        precision: str = "exact",
        batch_size: int = 64,
        identity: str | None = None,
        pixels: bool = True,
        recipe: Any = None,
    ) -> None:
        check_arguments(model, preprocess, access, batch_size)
        super().__init__(model, preprocess=preprocess, device=device, precision=precision, batch_size=batch_size)
        self.output = check_output(output)
        highest = min(_MOST.get(output, Access.INTERNALS), self.highest_access)
        self.access = min(access or highest, highest)
        self.sorted_classes = isinstance(classes, str) and classes == SORTED
        self.classes = None if self.sorted_classes else find_classes(classes, model, self.module)
        self.preprocess = preprocess
        self.recipe = recipe
        self._pixels = pixels
        self.notes: tuple[str, ...] = ()
        self.title = ""
        self._identity = identity

    @property
    def identity(self) -> str:
        """SHA-256 of weights, architecture source and input spec; equal in every process."""
        if self._identity is None:
            self._identity = fingerprint(self.model, self.preprocess, self.output)
        return self._identity

    @property
    def num_classes(self) -> int:
        """Number of classes, K.

        Raises:
            ModelError: No classes were given and no image has been classified yet.
        """
        if self.classes is None:
            raise ModelError("the number of classes is not known yet: give classes, or classify an image first")
        return len(self.classes)

    def require(self, access: Access, what: str) -> None:
        """Raise an error if ``what`` needs more than the granted access.

        Raises:
            AccessError: The access is not granted; the message names both levels.
        """
        if self.access < access:
            raise AccessError(f"{what} needs access to {access.name}, this classifier grants {self.access.name}")

    def logits(self, x: Tensor, *, bounded: bool = True) -> Tensor:
        """Compute the logits of images, without gradients.

        Args:
            x: (B, C, H, W), floating point, in [0, 1]; left untouched.
            bounded: As for :meth:`gradient`.

        Returns:
            (B, K) float32, on the device of ``x``; rows may hold NaN or infinity if the model returns them.

        Raises:
            AccessError: The classifier grants labels only.
            InputError: ``x`` has another shape, type or range.
            ModelError: The answer is not (B, K).
            ModelRaisedError: The model raised on one of the images.
        """
        self.require(Access.SCORES, "reading scores")
        self._check(x)
        if bounded and self._pixels:
            check_pixel_range(x)
        parts = self._run(x, lambda rows: self.ask(x[rows]))
        return torch.cat(parts).to(x.device) if parts else x.new_zeros((0, self.num_classes), dtype=torch.float32)

    def logits_or_faults(
        self, x: Tensor, errors: dict[int, Exception] | None = None, *, access: Access = Access.SCORES
    ) -> tuple[Tensor, dict[int, str]]:
        """Compute logits and isolate the images that fail.

        A batch with a bad image is bisected, so that the other images still get their logits.

        Args:
            x: (B, C, H, W), floating point.
            errors: Receives the exception of each row on which the model raised.
            access: What is read: SCORES, or TOP if the caller reads no more than the best classes.

        Returns:
            Logits (B, K) float32 on the device of ``x``, with NaN in failed rows; and the reason for each failed row,
            such as pixels that are not finite or outside [0, 1], an exception of the model, or NaN or infinity in its
            answer.

        Raises:
            AccessError, InputError: For the same reasons as in :meth:`logits`.
            ModelError: The answer is not (B, K), or the model raised on every image while K is unknown.
        """
        self.require(access, "reading scores")
        self._check(x)
        faults = dict.fromkeys(bad_rows(x).nonzero().flatten().tolist(), "pixels are not finite or outside [0, 1]")
        good = torch.tensor([row for row in range(len(x)) if row not in faults], dtype=torch.int64, device=x.device)
        pixels = x if len(good) == len(x) else x[good]
        raised: dict[int, Exception] = {}
        parts = self._run(pixels, lambda rows: (self.ask(pixels[rows]), rows), raised)
        short = [error for error in raised.values() if isinstance(error, EnvironmentFailure)]
        if not parts and short:  # no image fits, so the machine is at fault, not the images
            raise short[0]
        if not parts and raised and self.classes is None:
            raise next(iter(raised.values()))
        logits = x.new_full((len(x), self.num_classes), torch.nan, dtype=torch.float32)
        for answer, rows in parts:
            logits[good[rows]] = answer.to(x.device)
        for row, error in raised.items():
            faults[int(good[row])] = str(error)
            if errors is not None:
                errors[int(good[row])] = error
        for row in (~logits.isfinite().all(1)).nonzero().flatten().tolist():
            faults.setdefault(row, "the model returned NaN or infinite scores")
            logits[row] = torch.nan
        return logits, faults

    def predict(self, x: Tensor) -> Tensor:
        """Predict the classes of images.

        Returns (B,) int64, -1 if a score is not finite. A labels-only classifier grants nothing else.

        Raises:
            InputError, ModelError, ModelRaisedError: For the same reasons as in :meth:`logits`.
        """
        if self.access >= Access.SCORES and self.output != "labels":
            logits = self.logits(x)
            return logits.argmax(1).where(logits.isfinite().all(1), -1)
        self._check(x)
        if self._pixels:
            check_pixel_range(x)
        parts = self._run(x, lambda rows: self._ask_labels(x[rows]))
        return torch.cat(parts).to(x.device) if parts else torch.zeros(0, dtype=torch.int64, device=x.device)

    def gradient(self, x: Tensor, objective: Objective, *, bounded: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Compute logits, an objective and its gradient in one pass.

        The gradient is taken with respect to the pixels.

        Args:
            x: (B, C, H, W), floating point, in [0, 1]; left untouched.
            objective: Maps the logits (b, K) of a slice of rows, on the device of ``x``, and that slice to values (b,)
                or (b, R). Values must depend on their own row only. R values cost R backward and one forward pass.
            bounded: Whether ``x`` must be in [0, 1]; False for noisy copies, as in a smoothed gradient.

        Returns:
            Logits (B, K); values (B,) or (B, R); gradients (B, C, H, W) or (B, R, C, H, W), per unit of pixel value.
            All are on the device of ``x``.

        Raises:
            AccessError: The classifier grants no gradients.
            InputError: ``x`` has another shape, type or range.
            NotDifferentiableError: No gradient reaches the pixels.
            ModelRaisedError: The model raised on one of the images.
        """
        self.require(Access.GRADIENTS, "a gradient")
        self._check(x)
        if bounded and self._pixels:
            check_pixel_range(x)

        def differentiate(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            pixels = x[rows].detach().clone().requires_grad_()
            with torch.enable_grad():
                logits = self.ask(pixels).to(x.device)  # where the objective has its labels and masks
                value = objective(logits, rows)
                columns = value.unbind(1) if value.ndim == 2 else (value,)
            grads = [self._differentiate(column, pixels, last=column is columns[-1]) for column in columns]
            return logits.detach(), value.detach(), grads[0] if value.ndim == 1 else torch.stack(grads, 1)

        parts = self._run(x, differentiate)
        if not parts:
            empty = x.new_zeros((0, self.num_classes), dtype=torch.float32)
            value = objective(empty, slice(0, 0))
            return empty, value, x.new_zeros((0, *value.shape[1:], *x.shape[1:]))
        logits, value, grad = (torch.cat(column).to(x.device) for column in zip(*parts, strict=True))
        return logits, value, grad

    def ask(self, x: Tensor) -> Tensor:
        """Compute differentiable logits of one batch, without splitting or checks.

        Returns (b, K) float32, part of the graph that leads to ``x``.

        For callers that build a graph or use hooks; they must stay inside ``with classifier:`` and within
        :attr:`batch_size`. All others use :meth:`logits` or :meth:`gradient`.

        Raises:
            ModelError: The answer is not (B, K).
            ModelRaisedError: The model raised.
        """
        scores = read_scores(self._answer(x), self.output, len(x))
        if self.classes is None:
            self.classes = ClassList(tuple(str(i) for i in range(scores.shape[1])))
        if len(self.classes) != scores.shape[1]:
            raise ModelError(
                f"{len(self.classes)} class names were given or carried by the model, which returns "
                f"{scores.shape[1]} scores; pass one name for each with --classes (classes=...)"
            )
        self.forwards += len(x)
        self._passed()
        return scores

    def _ask_labels(self, x: Tensor) -> Tensor:
        if self.output != "labels":
            return self.ask(x).argmax(1)
        labels = read_labels(self._answer(x), len(x)).to(self.device)
        self.forwards += len(x)
        self._passed()
        return labels

    def _check(self, x: Tensor) -> None:
        check_images(x, self.preprocess.channels if self.preprocess else None)


def need_classifier(value: Any) -> Classifier:
    """Return a classifier unchanged, and refuse anything else.

    Raises:
        InputError: It is no classifier; the message says how to make one.
    """
    if not isinstance(value, Classifier):
        raise refuse_classifier(value)
    return value
