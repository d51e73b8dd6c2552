"""Ask a classifier: images in [0, 1] in, logits out, every query counted.

Wrapping leaves the user's module untouched: mode and ``requires_grad`` flags are set on entry and restored on exit,
also after an exception; ``.grad`` and hooks are never written, and no pass writes into the caller's images.
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


class Classifier(Passes):
    """A classifier with its preprocessing, its classes and its access level.

    Use it as a context manager around many calls (``with classifier:``), so that the module is put into evaluation
    mode once; every call does so for itself otherwise.

    Args:
        model: ``nn.Module``, or any callable, from images (B, C, H, W) to logits (B, K).
        classes: Classes in the order of the logits, in any form that
            :func:`whywrong.core.class_names.read_class_names` takes; ``"sorted"`` takes the sorted labels of the data;
            None takes the names that the model carries, and otherwise counts the classes from the first answer.
        preprocess: Input size and normalisation; without mean and std the model takes images in [0, 1].
        access: Highest level that may be used; default what the model can grant: INTERNALS for a plain module, SCORES
            for any other callable.
        output: How the answer is read: ``logits``; ``probabilities`` (their logarithm serves as logits);
            ``binary`` (one logit z becomes the two logits 0 and z); ``binary-probability`` (one probability p of
            class 1); ``labels`` (class indices, (B,)); or ``key:NAME`` or ``item:N`` for one part of a mapping, object
            or tuple.
        device: Where the module lives; default that of its tensors, else the CPU. The module is never moved.
        precision: On a GPU, ``exact`` for float32 as on a CPU and the same bits every time, or ``fast`` for what the
            user has set, by default convolutions in TF32. Exact classifiers have their way while both are in use.
        batch_size: Images in one pass; larger requests are split, and it falls when memory runs out or the model
            takes fewer.
        identity: Hash that names the model in a run; default :func:`whywrong.models.identity.fingerprint`.
        pixels: Whether inputs are images in [0, 1]; the range of other inputs, such as tokens, is not checked.
        recipe: Picklable object with ``build() -> Classifier``, from which a worker rebuilds the classifier; None
            where the module exists only in memory.

    Attributes:
        classes: Classes in the order of the logits; None until they are known.
        sorted_classes: Whether the classes are the sorted labels of the data.
        forwards: Images sent through the model and answered so far; a batch of 8 counts 8. Passes that ran out of
            memory or raised gave no answer and do not count.
        backwards: Images differentiated through the model so far.
        on_pass: Called after every pass, for displays of progress; None if nobody listens.
        notes: What the owner should know about how the model was loaded, one sentence each.
        title: What an object that was given as the model is, for the record of a run; empty otherwise.
        model: What is asked: the module, or the callable.
        module: The module behind the classifier, None for other callables.

    Raises:
        InputError: An unknown ``output`` or ``precision``, or a device that is not there or not supported.
        ModelError: A kind of module that is not supported, or its tensors are not on ``device``.

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
        highest = Access.LABELS if output == "labels" else self.highest_access
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
        """SHA-256 over weights, architecture source and spec; equal in every process."""
        if self._identity is None:
            self._identity = fingerprint(self.model, self.preprocess, self.output)
        return self._identity

    @property
    def num_classes(self) -> int:
        """K.

        Raises:
            ModelError: No classes were given and no image has been classified yet.
        """
        if self.classes is None:
            raise ModelError("the number of classes is not known yet: give classes, or classify an image first")
        return len(self.classes)

    def require(self, access: Access, what: str) -> None:
        """Refuse ``what`` where it needs more than the granted access.

        Raises:
            AccessError: Names both levels.
        """
        if self.access < access:
            raise AccessError(f"{what} needs access to {access.name}, this classifier grants {self.access.name}")

    def logits(self, x: Tensor, *, bounded: bool = True) -> Tensor:
        """Logits of images, without gradients.

        Args:
            x: (B, C, H, W), floating point, in [0, 1]; left untouched.
            bounded: As for :meth:`gradient`.

        Returns:
            (B, K) float32, on the device of ``x``; rows may be NaN or infinite where the model says so.

        Raises:
            AccessError: The classifier grants labels only.
            InputError: Not such images.
            ModelError: The answer is not (B, K).
            ModelRaisedError: The model raised on one of the images.
        """
        self.require(Access.SCORES, "reading scores")
        self._check(x)
        if bounded and self._pixels:
            check_pixel_range(x)
        parts = self._run(x, lambda rows: self.ask(x[rows]))
        return torch.cat(parts).to(x.device) if parts else x.new_zeros((0, self.num_classes), dtype=torch.float32)

    def logits_or_faults(self, x: Tensor) -> tuple[Tensor, dict[int, str]]:
        """Logits, with bad images singled out: a batch is bisected, so that the neighbours of a bad image survive.

        Args:
            x: (B, C, H, W), floating point.

        Returns:
            Logits (B, K) float32 on the device of ``x``, NaN in the rows at fault; and the reason for each of these
            rows: pixels that are not finite or outside [0, 1], a model that raised, or an answer with NaN or infinity.

        Raises:
            AccessError, InputError: As :meth:`logits`.
            ModelError: The answer is not (B, K), or the model raised on every image and K is not known.
        """
        self.require(Access.SCORES, "reading scores")
        self._check(x)
        faults = dict.fromkeys(bad_rows(x).nonzero().flatten().tolist(), "pixels are not finite or outside [0, 1]")
        good = torch.tensor([row for row in range(len(x)) if row not in faults], dtype=torch.int64, device=x.device)
        pixels = x if len(good) == len(x) else x[good]
        raised: dict[int, Exception] = {}
        parts = self._run(pixels, lambda rows: (self.ask(pixels[rows]), rows), raised)
        short = [error for error in raised.values() if isinstance(error, EnvironmentFailure)]
        if not parts and short:  # no image fits: that is the machine, not the images
            raise short[0]
        if not parts and raised and self.classes is None:
            raise next(iter(raised.values()))
        logits = x.new_full((len(x), self.num_classes), torch.nan, dtype=torch.float32)
        for answer, rows in parts:
            logits[good[rows]] = answer.to(x.device)
        for row, error in raised.items():
            faults[int(good[row])] = str(error)
        for row in (~logits.isfinite().all(1)).nonzero().flatten().tolist():
            faults.setdefault(row, "the model returned NaN or infinite scores")
            logits[row] = torch.nan
        return logits, faults

    def predict(self, x: Tensor) -> Tensor:
        """Predicted classes (B,) int64: all that a labels-only classifier tells; -1 where a score is not finite.

        Raises:
            InputError, ModelError, ModelRaisedError: As :meth:`logits`.
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
        """Logits, the value of an objective, and its gradient with respect to the pixels, in one pass.

        Args:
            x: (B, C, H, W), floating point, in [0, 1]; left untouched.
            objective: From the logits (b, K) of a slice of rows, on the device of ``x`` wherever the model is, and that
                slice, to values (b,) or (b, R). Values must depend on their own row only. R values cost R backward
                passes and one forward pass.
            bounded: Whether ``x`` must be in [0, 1]; noisy copies for a smoothed gradient need not.

        Returns:
            Logits (B, K); values (B,) or (B, R); gradients (B, C, H, W) or (B, R, C, H, W), per unit of pixel value;
            all of them on the device of ``x``.

        Raises:
            AccessError: The classifier grants no gradients.
            InputError: Not such images.
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
                logits = self.ask(pixels).to(x.device)  # labels and masks of the objective are beside the images
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
        """Logits (b, K) float32 of one batch as a part of the graph that leads to ``x``: neither split nor checked.

        For callers that build a graph or hold hooks; they stay inside ``with classifier:`` and keep to
        :attr:`batch_size`. Everybody else wants :meth:`logits` or :meth:`gradient`.

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
    """Return a classifier as it is.

    Raises:
        InputError: It is something else; the message says how to make a classifier of it.
    """
    if not isinstance(value, Classifier):
        raise refuse_classifier(value)
    return value
