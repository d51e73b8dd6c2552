"""The one door to a classifier: images in [0, 1] in, logits out, every query counted.

Wrapping leaves the user's module untouched: mode and ``requires_grad`` flags are set on entry and restored on exit,
also after an exception; ``.grad`` and hooks are never written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.checks import check_images
from whywrong.core.classes import ClassList
from whywrong.core.errors import AccessError, EnvironmentFailure, ModelError, NotDifferentiableError
from whywrong.core.input_spec import InputSpec

Objective = Callable[[Tensor, slice], Tensor]
T = TypeVar("T")


class Classifier:
    """A classifier with its preprocessing, its classes and its access level.

    Use it as a context manager around many calls (``with classifier:``), so that the module is put into evaluation
    mode once; every call does so for itself otherwise.

    Args:
        model: ``nn.Module``, or any callable, from images (B, C, H, W) float32 to logits (B, K).
        classes: Classes in the order of the logits; None counts them from the first answer.
        preprocess: Input size and normalisation; without mean and std the model takes images in [0, 1].
        access: Highest level that may be used; default INTERNALS for a module, SCORES for any other callable.
        output: How the answer is read: ``logits``; ``probabilities`` (their logarithm serves as logits);
            ``binary`` (one logit z becomes the two logits 0 and z); ``labels`` (class indices, (B,)); or
            ``key:NAME`` or ``item:N`` for one part of a mapping, object or tuple.
        device: Where the module lives; default that of its first parameter.
        batch_size: Images in one pass; larger requests are split, and it is halved when memory runs out.
        identity: Hash of weights and spec, which names the model in a run.
        recipe: Picklable object with ``build() -> Classifier``, from which a worker rebuilds the classifier; None
            where the module exists only in memory.

    Attributes:
        forwards: Images sent through the model so far; a batch of 8 counts 8.
        backwards: Images differentiated through the model so far.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        *,
        classes: ClassList | None = None,
        preprocess: InputSpec | None = None,
        access: Access | None = None,
        output: str = "logits",
        device: torch.device | str | None = None,
        batch_size: int = 64,
        identity: str = "in memory",
        recipe: Any = None,
    ) -> None:
        self.module = model if isinstance(model, nn.Module) else None
        highest = Access.INTERNALS if self.module is not None else Access.SCORES
        if output == "labels":
            highest = Access.LABELS
        self.access = min(access or highest, highest)
        self.classes = classes
        self.preprocess = preprocess
        self.output = output
        self.batch_size = batch_size
        self.identity = identity
        self.recipe = recipe
        self.forwards = 0
        self.backwards = 0
        self._model = model
        self._entered = 0
        self._modes: list[tuple[nn.Module, bool]] = []
        self._trainable: list[nn.Parameter] = []
        first = next(iter([*self.module.parameters(), *self.module.buffers()]), None) if self.module else None
        self.device = (
            torch.device(device) if device is not None else first.device if first is not None else torch.device("cpu")
        )
        mean_std = (preprocess.mean, preprocess.std) if preprocess and preprocess.mean and preprocess.std else None
        self._normalise = (
            tuple(torch.tensor(v, device=self.device).view(1, -1, 1, 1) for v in mean_std) if mean_std else None
        )

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

    # Evaluation mode, and parameters without gradients, for as long as somebody is inside.

    def __enter__(self) -> Classifier:
        if self._entered == 0 and self.module is not None:
            self._modes = [(part, part.training) for part in self.module.modules() if part.training]
            self._trainable = [p for p in self.module.parameters() if p.requires_grad]
            for part, _ in self._modes:
                part.training = False  # not .eval(), which a user may have overridden and which recurses
            for parameter in self._trainable:
                parameter.requires_grad_(False)
        self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered == 0:
            for part, training in self._modes:
                part.training = training
            for parameter in self._trainable:
                parameter.requires_grad_(True)
            self._modes, self._trainable = [], []

    # Asking.

    def logits(self, x: Tensor) -> Tensor:
        """Logits of images, without gradients.

        Args:
            x: (B, C, H, W), floating point, in [0, 1].

        Returns:
            (B, K) float32, on the device of ``x``.

        Raises:
            AccessError: The classifier grants labels only.
            InputError: Not such images.
            ModelError: The answer is not (B, K).
        """
        self.require(Access.SCORES, "reading scores")
        check_images(x, self.preprocess.channels if self.preprocess else None)
        with self, torch.no_grad():
            parts = self._in_chunks(len(x), lambda rows: self._ask(x[rows]))
        return torch.cat(parts).to(x.device) if parts else x.new_zeros((0, self.num_classes), dtype=torch.float32)

    def predict(self, x: Tensor) -> Tensor:
        """Predicted classes (B,) int64: all that a labels-only classifier tells."""
        if self.access >= Access.SCORES:
            return self.logits(x).argmax(1)
        check_images(x, self.preprocess.channels if self.preprocess else None)
        with self, torch.no_grad():
            parts = self._in_chunks(len(x), lambda rows: self._read_labels(self._raw(x[rows]), rows))
        return torch.cat(parts).to(x.device) if parts else torch.zeros(0, dtype=torch.int64)

    def gradient(self, x: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the value of an objective, and its gradient with respect to the pixels, in one pass.

        Args:
            x: (B, C, H, W), floating point, in [0, 1]; left untouched.
            objective: From the logits (b, K) of a slice of rows, and that slice, to values (b,) or (b, R). Values
                must depend on their own row only. R values cost R backward passes and one forward pass.

        Returns:
            Logits (B, K); values (B,) or (B, R); gradients (B, C, H, W) or (B, R, C, H, W), per unit of pixel value.

        Raises:
            AccessError: The classifier grants no gradients.
            NotDifferentiableError: No gradient reaches the pixels.
        """
        self.require(Access.GRADIENTS, "a gradient")
        check_images(x, self.preprocess.channels if self.preprocess else None)

        def ask(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            pixels = x[rows].detach().clone().requires_grad_()
            with torch.enable_grad():
                logits = self._ask(pixels)
                value = objective(logits, rows)
            columns = value[:, None] if value.ndim == 1 else value
            grads = []
            for r in range(columns.shape[1]):
                grads.append(self._differentiate(columns[:, r], pixels, last=r == columns.shape[1] - 1))
            grad = torch.stack(grads, 1)
            return logits.detach(), value.detach(), grad[:, 0] if value.ndim == 1 else grad

        with self:
            parts = self._in_chunks(len(x), ask)
        if not parts:
            empty = x.new_zeros((0, self.num_classes))
            return empty, objective(empty, slice(0, 0)), torch.zeros_like(x)
        return tuple(torch.cat(column).to(x.device) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def _differentiate(self, value: Tensor, pixels: Tensor, *, last: bool) -> Tensor:
        grad = None
        if value.requires_grad:
            grad = torch.autograd.grad(value.sum(), pixels, retain_graph=not last, allow_unused=True)[0]
        if grad is None:
            raise NotDifferentiableError(
                "no gradient reaches the pixels: the model detaches, rounds or leaves torch on the way; "
                "use a method that needs scores or labels only"
            )
        self.backwards += len(pixels)
        return grad.detach()

    # One pass.

    def _in_chunks(self, n: int, run: Callable[[slice], T]) -> list[T]:
        """``run`` over slices of at most ``batch_size`` rows; a slice that does not fit in memory is halved."""
        parts: list[T] = []
        start = 0
        while start < n:
            rows = slice(start, min(start + self.batch_size, n))
            try:
                parts.append(run(rows))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                size = rows.stop - rows.start
                if size == 1:
                    raise EnvironmentFailure(
                        "one image alone does not fit into memory; free some, or use a smaller model or input"
                    ) from error
                self.batch_size = size // 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            start = rows.stop
        return parts

    def _raw(self, x: Tensor) -> Any:
        x = x.to(self.device, torch.float32)
        if self._normalise is not None:
            x = (x - self._normalise[0]) / self._normalise[1]
        self.forwards += len(x)
        return self._model(x)

    def _ask(self, x: Tensor) -> Tensor:
        return self._read_logits(self._raw(x), len(x))

    def _read_logits(self, answer: Any, batch: int) -> Tensor:
        scores = read_part(answer, self.output)
        if self.output == "binary":
            scores = scores.reshape(batch, -1)
            if scores.shape[1] != 1:
                raise ModelError(f"output=binary expects one logit an image, the model returned {scores.shape[1]}")
            scores = torch.cat([torch.zeros_like(scores), scores], 1)
        if scores.ndim != 2 or len(scores) != batch:
            raise ModelError(
                f"the model must return scores (B, K); for {batch} images it returned {tuple(scores.shape)}"
            )
        if scores.shape[1] < 2:
            raise ModelError("the model returns one score an image; say output=binary if that is the logit of class 1")
        if self.classes is None:
            self.classes = ClassList(tuple(str(i) for i in range(scores.shape[1])))
        if len(self.classes) != scores.shape[1]:
            raise ModelError(f"{len(self.classes)} class names were given, the model returns {scores.shape[1]} scores")
        scores = scores.float()
        return scores.clamp_min(1e-30).log() if self.output == "probabilities" else scores

    def _read_labels(self, answer: Any, rows: slice) -> Tensor:
        labels = torch.as_tensor(answer, device=self.device)
        batch = rows.stop - rows.start
        if labels.shape != (batch,) or labels.is_floating_point():
            raise ModelError(
                f"a labels-only model must return class indices (B,); for {batch} images it returned "
                f"{labels.dtype} {tuple(labels.shape)}"
            )
        return labels.long()


def read_part(answer: Any, output: str) -> Tensor:
    """The tensor of scores inside a model's answer.

    Raises:
        ModelError: The answer is of several parts and ``output`` does not say which; the message says how.
    """
    part: Any = answer
    if output.startswith("item:"):
        part = answer[int(output[5:])]
    elif output.startswith("key:"):
        name = output[4:]
        part = answer[name] if isinstance(answer, Mapping) else getattr(answer, name)
    elif isinstance(answer, Mapping):
        part = answer.get("logits", answer)
    elif isinstance(getattr(answer, "logits", None), torch.Tensor):
        part = answer.logits
    if isinstance(part, torch.Tensor):
        return part
    if hasattr(part, "__array__"):
        return torch.as_tensor(part.__array__())
    if isinstance(part, Mapping):
        seen = f"a mapping with {', '.join(map(str, part))}; say output=key:NAME"
    elif isinstance(part, (tuple, list)):
        seen = f"a {type(part).__name__} of {len(part)}; say output=item:N"
    else:
        seen = f"{type(part).__name__}, not a tensor"
    raise ModelError(f"the model returned {seen}")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
