"""Interventions that take a suspected cause away from each image, as a method over the registry.

Source: ours, docs/methods/interventions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.result import MethodResult, column, result_class
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.edits import EDITS
from whywrong.explain.interventions.catalogue import BY_NAME, INTERVENTIONS, LADDER, Intervention
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall

_CAUSES = tuple(dict.fromkeys(test.cause for test in INTERVENTIONS if test.cause))


@dataclass(frozen=True, slots=True, kw_only=True)
class InterventionsConfig:
    """Settings of :func:`interventions`, checked once, when built.

    Attributes:
        causes: Causes to take away; the neutral edits are always made. Empty for neutral edits only.
        flip: Whether mirroring left and right is harmless for these images; False for text or digits.

    Example:
        >>> from whywrong.explain.interventions import InterventionsConfig
        >>> InterventionsConfig(causes=("adversarial",)).flip
        True
    """

    causes: tuple[str, ...] = _CAUSES
    flip: bool = True

    def __post_init__(self) -> None:
        for cause in self.causes:
            if cause not in _CAUSES:
                raise InputError(f'no intervention takes "{cause}" away; the causes are {", ".join(_CAUSES)}')

    @property
    def tests(self) -> tuple[Intervention, ...]:
        """The interventions that are made."""
        return tuple(test for test in INTERVENTIONS if not test.cause or test.cause in self.causes)

    @property
    def edits(self) -> tuple[str, ...]:
        """Their edits; one that several share is made once."""
        names = dict.fromkeys(edit for test in self.tests for edit in test.edits)
        return tuple(name for name in names if self.flip or name != "flip")


@result_class
class InterventionsResult(MethodResult):
    """Effect of the interventions, one row per image.

    Each column named after an intervention is the share of its edits after which the asked class is predicted. It is
    NaN unless the row is ``ok``, if the intervention was not asked for, or if none of its edits changes such images.

    Example:
        >>> import torch, whywrong as ww
        >>> from whywrong.explain.interventions import interventions
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> interventions(classifier, x, y).small_changes.shape
        torch.Size([2])
    """

    status: Sequence[Status] = column("string", "`ok`, `already_correct`, `skipped`, `bad_input` or `refused`.")
    reason: Sequence[str | None] = column("string", "Why a row is refused; null otherwise.")
    predicted: Tensor = column("int64", "Predicted class of the unchanged image; -1 if there is none.")
    denoise: Tensor = column("float32", "Share restored by denoising: median, total variation.")
    despeckle: Tensor = column("float32", "Share restored by replacing odd pixels by their median.")
    deblur: Tensor = column("float32", "Share restored by sharpening: deconvolution, unsharp mask.")
    decompress: Tensor = column("float32", "Share restored by undoing JPEG: block edges, colour resolution, smoothing.")
    stretch: Tensor = column("float32", "Share restored by raising the contrast: stretch, unsharp mask.")
    brighten: Tensor = column("float32", "Share restored by brightening.")
    darken: Tensor = column("float32", "Share restored by darkening.")
    saturate: Tensor = column("float32", "Share restored by stronger colours.")
    desaturate: Tensor = column("float32", "Share restored by weaker colours.")
    disturb: Tensor = column(
        "float32", "Share restored by JPEG, smoothing, a flip and shifts, which brittle pixels do not survive."
    )
    small_changes: Tensor = column("float32", "Share restored by slight noise, JPEG and smoothing.", check=True)
    rung: Tensor = column("int64", "Weakest of these that restores, from 0; -1 if none does or they were not made.")
    zoom: Tensor = column("float32", "Share restored by enlarging the middle of the image.")
    neutral: Tensor = column("float32", "Share restored by a flip and small shifts, which no cause predicts to help.")
    answers: Tensor
    forwards: Tensor
    backwards: Tensor


def restored_matrix(result: InterventionsResult) -> Tensor:
    """Return the shares restored by all interventions, (B, T) float32, in the order of ``INTERVENTIONS``."""
    return torch.stack([getattr(result, test.name) for test in INTERVENTIONS], 1)


@open_inputs
def interventions(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    config: InterventionsConfig | None = None,
) -> InterventionsResult:
    """Take each suspected cause away and count how often ``y`` is then predicted.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to classes; labels suffice.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: Asked class, (B,), int64; for a misclassified image its label, for a control its runner-up.
        keys: Seed of each image's noise, (B,), int64; None uses the row.
        detail: (B,) bool, rows to test; None tests all.
        config: Settings; None uses the defaults.

    Returns:
        Shares restored. ``answers`` (B, E) int64 is the prediction after each edit of ``config.edits``, -1 if there is
        none. An image costs one forward pass, and one per edit (32) unless it is predicted as ``y``.

    Raises:
        InputError: A shape, type or class breaks the contract above.

    Example:
        >>> import torch, whywrong as ww
        >>> from whywrong.explain.interventions import interventions
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> result = interventions(classifier, torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
        >>> int(result.forwards.max()) <= 33
        True
    """
    config = config or InterventionsConfig()
    with (
        MethodCall(
            classifier,
            x,
            y,
            method="interventions",
            access=Access.LABELS,
            keys=keys,
            detail=detail,
            skips=True,
        ) as call,
        torch.no_grad(),
    ):
        predicted, answers = _answers(call, config)
        return _result(call, config, predicted, answers)


def _answers(call: MethodCall, config: InterventionsConfig) -> tuple[Tensor, Tensor]:
    """Classify the images (B,) and their edited copies (B, E); -1 where there is no prediction."""
    x, y, keys = call.x, call.y, call.keys
    predicted = torch.full_like(y, -1)
    answers = torch.full((len(x), len(config.edits)), -1, dtype=torch.int64, device=x.device)
    rows = call.rows
    predicted[rows] = _predict(call, rows, x[rows])
    call.mark(rows[predicted[rows] < 0], Status.REFUSED, NOT_FINITE)
    call.mark(rows[predicted[rows] == y[rows]], Status.ALREADY_CORRECT)
    used = [at for at, name in enumerate(config.edits) if _changes(name, x.shape[1])]
    rows = call.rows
    for piece in rows.split(call.classifier.batch_size) if len(rows) else ():
        for at in used:
            changed = EDITS[config.edits[at]].apply(x[piece], keys[piece])
            answers[piece, at] = _predict(call, piece, changed)
    call.mark(rows[(answers[rows][:, used] < 0).any(1)], Status.REFUSED, NOT_FINITE)
    return predicted, answers


def _predict(call: MethodCall, rows: Tensor, pixels: Tensor) -> Tensor:
    if not len(rows):
        return rows
    call.count(rows, forwards=1)
    answer = call.classifier.predict(pixels)
    call.check_classes()
    return answer


def _changes(name: str, channels: int) -> bool:
    """Tell whether an edit changes images of this many channels."""
    return channels == 3 or not EDITS[name].colour


def _result(call: MethodCall, config: InterventionsConfig, predicted: Tensor, answers: Tensor) -> InterventionsResult:
    channels, valid = call.x.shape[1], torch.zeros_like(call.detail)
    valid[call.rows] = True
    restored = answers == call.y[:, None]
    places = {name: at for at, name in enumerate(config.edits) if _changes(name, channels)}
    shares: dict[str, Tensor] = {}
    for test in INTERVENTIONS:
        columns = [places[edit] for edit in test.edits if edit in places] if test in config.tests else []
        share = restored[:, columns].float().mean(1)  # NaN without edits
        shares[test.name] = share.where(valid, torch.nan)
    ladder = [places[edit] for edit in BY_NAME[LADDER].edits] if BY_NAME[LADDER] in config.tests else []
    steps = restored[:, ladder] & valid[:, None]
    weakest = steps.int().argmax(1).where(steps.any(1), -1) if ladder else torch.full_like(predicted, -1)
    return InterventionsResult(predicted=predicted, answers=answers, rung=weakest, **shares, **call.outcome())
