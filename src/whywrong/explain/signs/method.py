"""The method ``signs``, which measures what an error looks like to the eye, to the model, and under small changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.margins import error_margin
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.edits import SURVIVAL
from whywrong.explain.signs.answers import Question
from whywrong.explain.signs.crops import crop_signs
from whywrong.explain.signs.gradient import gradient_signs
from whywrong.explain.signs.listing import SIGNS
from whywrong.explain.signs.pixels_global import global_signs
from whywrong.explain.signs.pixels_local import LEAST_SIDE, local_signs
from whywrong.explain.signs.result import SignsResult, SignValues
from whywrong.explain.signs.scores import score_signs
from whywrong.explain.signs.sign import STAGES, absent
from whywrong.explain.signs.survival import survival_signs
from whywrong.explain.signs.windows import window_signs
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall

_PLACES = {sign.name: place for place, sign in enumerate(SIGNS)}
_AT_ONCE = 1 << 18  # values of the pixels whose signs are computed together on a CPU, so that they fit in its cache
_AT_ONCE_ELSEWHERE = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class SignsConfig:
    """Settings of :func:`signs`, checked once, when built.

    Attributes:
        stages: Groups of signs to measure, some of ``pixels`` (no pass), ``scores`` (1 forward pass), ``survival`` (23
            more), ``gradient`` (1 backward pass), ``crops`` (11 forward passes) and ``windows`` (49, or 16 for images
            of at least 96 pixels a side). Stages that the access does not allow are left out.
        left_out: Small edits that are no harmless change of these images and are left out of ``survival``, such as
            ``flip`` for digits.

    Example:
        >>> import whywrong as ww
        >>> ww.SignsConfig(stages=("pixels", "scores")).stages
        ('pixels', 'scores')
    """

    stages: tuple[str, ...] = STAGES
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.stages if name not in STAGES]
        if not self.stages or unknown or isinstance(self.stages, str):
            raise InputError(f"signs.stages must be some of {', '.join(STAGES)}, got {self.stages!r}")
        odd = [name for name in self.left_out if name not in SURVIVAL]
        if odd or isinstance(self.left_out, str):
            raise InputError(f"signs.left_out must be some of {', '.join(SURVIVAL)}, got {self.left_out!r}")


@open_inputs
def signs(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    logits: Tensor | None = None,
    config: SignsConfig | None = None,
) -> SignsResult:
    """Measure the signs of misclassified images.

    A correctly classified image plays the part of an error if it comes with its runner-up as the label ``y`` and is
    predicted as another class.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K). Signs that need more access than it grants are NaN.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: Class asked for, (B,), int64, in 0..K-1; for an error its label.
        keys: Seed of each image's noise, (B,), int64; None uses the row.
        detail: (B,) bool, rows to measure; None measures all.
        logits: Logits of the unchanged images, (B, K), if they are stored, which saves a pass.
        config: Settings; None uses the defaults.

    Returns:
        One column per sign, and the number of passes.

    Raises:
        InputError: A shape, type or class breaks the contract above.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> result = ww.signs(classifier, x, y, config=ww.SignsConfig(stages=("pixels", "scores")))
        >>> result.forwards
        tensor([1, 1])
    """
    config = config or SignsConfig()
    with (
        MethodCall(
            classifier, x, y, method="signs", access=Access.LABELS, keys=keys, detail=detail, skips=True
        ) as call,
        torch.no_grad(),
    ):
        return _Signs(call, config, logits).run()


class _Signs:
    """Values of all rows, filled stage by stage."""

    def __init__(self, call: MethodCall, config: SignsConfig, logits: Tensor | None) -> None:
        self.call, self.config = call, config
        self.stages = {stage for stage in STAGES if stage in config.stages and _granted(stage, call)}
        self.values = call.x.new_full((len(call.x), len(SIGNS)), torch.nan)
        self.window = torch.full_like(call.y, -1)
        self.stored = None if logits is None else self._checked(logits)

    def run(self) -> SignsResult:
        asked = self.stages - {"pixels"}
        question = self._question() if asked else None
        rows = self.call.rows if question is None else question.rows
        if "pixels" in self.stages:
            self._pixels(rows)
        if question is not None and len(rows):
            if "survival" in asked:
                self._put(rows, survival_signs(question, self.config.left_out))
            if "crops" in asked:
                self._put(rows, crop_signs(question))
            if "windows" in asked and min(self.call.x.shape[2:]) >= LEAST_SIDE:
                found, self.window[rows] = window_signs(question)
                self._put(rows, found)
        self._forget_absent()
        return SignsResult(values=SignValues(self.values), window=self.window, **self.call.outcome())

    def _checked(self, logits: Tensor) -> Tensor:
        if logits.ndim != 2 or len(logits) != len(self.call.x) or not logits.is_floating_point():
            raise InputError(
                f"logits must be a floating-point tensor ({len(self.call.x)}, K), got {logits.dtype} "
                f"{tuple(logits.shape)}"
            )
        self.call.check_classes(logits.shape[1])
        return logits.to(self.call.x.device)

    def _question(self) -> Question:
        """Classify the unchanged images, with their gradient if it is asked for, and keep those that are wrong."""
        call, rows = self.call, self.call.rows
        nothing = call.x.new_full((len(rows),), torch.nan)
        if not len(rows):
            return Question(call, rows, rows, nothing)
        if call.classifier.access < Access.SCORES:
            call.count(rows, forwards=1)
            t = call.classifier.predict(call.x[rows])
            call.check_classes()
            return self._wrong(Question(call, rows, t, nothing), t >= 0)
        gradient: Tensor | None = None
        if "gradient" in self.stages:
            logits, _, gradient = call.gradient(rows, call.x[rows], lambda z, part: error_margin(z, call.y[rows[part]]))
        elif self.stored is not None:
            logits = self.stored[rows]
        else:
            logits = call.logits(rows, call.x[rows])
        y = call.y[rows]
        t = logits.argmax(1)
        margin = (logits.gather(1, t[:, None]) - logits.gather(1, y[:, None]))[:, 0].to(call.x)
        finite = logits.isfinite().all(1)
        question = self._wrong(Question(call, rows, t, margin), finite)
        kept = finite & (t != y)
        if "scores" in self.stages:
            self._put(question.rows, score_signs(logits[kept], y[kept], t[kept]))
        if gradient is not None:
            self._put(question.rows, gradient_signs(question.x, question.margin, gradient[kept]))
        return question

    def _wrong(self, question: Question, finite: Tensor) -> Question:
        rows, t = question.rows, question.t
        self.call.mark(rows[~finite], Status.REFUSED, NOT_FINITE)
        self.call.mark(rows[finite & (t == self.call.y[rows])], Status.ALREADY_CORRECT)
        kept = finite & (t != self.call.y[rows])
        return Question(self.call, rows[kept], t[kept], question.margin[kept])

    def _pixels(self, rows: Tensor) -> None:
        x = self.call.x
        values = _AT_ONCE if x.device.type == "cpu" else _AT_ONCE_ELSEWHERE
        for piece in rows.split(max(1, values // max(1, x[:1].numel()))) if len(rows) else ():
            found = global_signs(x[piece]) if min(x.shape[2:]) >= 3 else {}
            if min(x.shape[2:]) >= LEAST_SIDE:
                found |= local_signs(x[piece])
            self._put(piece, found)

    def _put(self, rows: Tensor, found: dict[str, Tensor]) -> None:
        for name, value in found.items():
            self.values[rows, _PLACES[name]] = value.to(self.values)

    def _forget_absent(self) -> None:
        """Set signs to NaN that say nothing here, and numbers that are not finite."""
        call = self.call
        shape, known = tuple(call.x.shape[1:]), call.classifier.classes
        for place, sign in enumerate(SIGNS):
            if absent(sign, call.classifier.access, shape, None if known is None else len(known)):  # type: ignore[arg-type]
                self.values[:, place] = torch.nan
        self.values[~self.values.isfinite()] = torch.nan


def _granted(stage: str, call: MethodCall) -> bool:
    """Whether the access allows at least one sign of a stage."""
    return any(sign.access <= call.classifier.access for sign in SIGNS if sign.stage == stage)
