"""Test whether the model expects another preprocessing.

Higher accuracy alone is not enough evidence. The images may have been selected because they are errors, or share a cue
that another colour order or range removes; any change helps on such images. Images that are correctly classified either
way are better evidence: if the preprocessing was wrong, the model becomes more confident on these, too, once it is
right. A warning therefore needs three things, compared on the same images with and without the change: clearly more
images are correctly classified, the margin of the true class grows over all of them, and it grows over those that are
correctly classified either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import wilcoxon
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import EnvironmentFailure, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.core.margins import error_margin
from whywrong.models.checks.findings import Finding
from whywrong.models.checks.labels_check import SIGNIFICANCE, beats_chance, gains, worthwhile
from whywrong.models.classifier import Classifier

SURER = 0.05  # level of the test on images that are correct either way, which a selection of errors does not bias
LEAST_SURER = 10  # minimum number of these images; with fewer, the test is skipped

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def check_alternatives(classifier: Classifier, x: Tensor, y: Tensor, plain: Tensor) -> Iterator[Finding]:
    """Find another preprocessing that the model seems to expect.

    Yields at most one finding.

    Args:
        classifier: The classifier as given.
        x: Images, (B, C, H, W), in [0, 1].
        y: Labels, (B,) int64.
        plain: Its answers to ``x``, logits (B, K), or predictions (B, 1) if it grants labels only.
    """
    spec = classifier.preprocess
    for name, text, change, changed_spec in _alternatives(x, spec is not None and spec.mean is not None):
        other = classifier if changed_spec is None else _with_spec(classifier, changed_spec)
        before = classifier.forwards
        try:
            answers = _answers(other, change(x))
        except (ModelError, EnvironmentFailure):
            continue  # an alternative that the model refuses explains nothing
        if other is not classifier:
            classifier.forwards = before + len(x)
        if _wired_for(answers, plain, y, classifier.num_classes):
            right, as_given = (int((_classes(scores) == y).sum()) for scores in (answers, plain))
            yield Finding("warn", name, f"{text}: {right} instead of {as_given} of {len(x)} images would be right")
            return


def _answers(classifier: Classifier, x: Tensor) -> Tensor:
    """Return logits (B, K), or predictions (B, 1) of a labels-only classifier."""
    return classifier.logits(x) if classifier.access >= Access.SCORES else classifier.predict(x)[:, None]


def _classes(answers: Tensor) -> Tensor:
    """Return predictions (B,) int64, -1 if a score is not finite."""
    if answers.shape[1] == 1:
        return answers[:, 0]
    return answers.argmax(1).where(answers.isfinite().all(1), -1)


def _wired_for(new: Tensor, plain: Tensor, y: Tensor, classes: int) -> bool:
    """Return whether the answers suggest that the model expects the changed images.

    Without scores, only the number of correct predictions is compared.
    """
    right, was = _classes(new) == y, _classes(plain) == y
    if new.shape[1] == 1:
        return gains(right, was, classes)
    if not (worthwhile(right, was) and beats_chance(right, classes)):
        return False
    gain = _margins(new, y) - _margins(plain, y)
    gain = gain.nan_to_num(nan=-torch.inf)  # NaN is not an answer
    either_way = gain[right & was]
    return _rises(gain) < SIGNIFICANCE and (len(either_way) < LEAST_SURER or _rises(either_way) < SURER)


def _margins(logits: Tensor, y: Tensor) -> Tensor:
    """Return the margin (B,) of the true class in standard deviations of the logits.

    Scaling all logits therefore does not increase it.
    """
    return -error_margin(logits, y) / logits.std(1).clamp_min(1e-12)


def _rises(gain: Tensor) -> float:
    """Return the p-value of a signed-rank test that paired gains (B,) exceed zero."""
    if not bool((gain != 0).any()):
        return 1.0
    test: Any = wilcoxon(gain.cpu().numpy(), alternative="greater")
    return float(test.pvalue)


Alternative = tuple[str, str, Callable[[Tensor], Tensor], tuple[tuple[float, ...], tuple[float, ...]] | None]


def _alternatives(x: Tensor, normalised: bool) -> Iterator[Alternative]:
    channels = x.shape[1]
    as_is, off = ((0.0,) * channels, (1.0,) * channels), (0.0,) * channels
    if normalised:
        yield (
            "normalised twice",
            "the model seems to normalise by itself; give --mean none and --std none",
            lambda v: v,
            as_is,
        )
    if channels == 3:
        yield "channel order", "the model seems to take channels in the order BGR", lambda v: v.flip(1), None
        if not normalised:
            yield (
                "not normalised",
                "the model seems to expect normalised images; give --mean and --std, those of ImageNet being "
                "0.485,0.456,0.406 and 0.229,0.224,0.225",
                lambda v: v,
                IMAGENET,
            )
    yield (
        "range 0 to 255",
        "the model seems to expect pixels from 0 to 255; give --mean 0,0,0 and --std 0.00392,0.00392,0.00392 (1/255)",
        lambda v: v,
        (off, (1 / 255,) * channels),
    )


def _with_spec(classifier: Classifier, stats: tuple[tuple[float, ...], tuple[float, ...]]) -> Classifier:
    """Return a classifier of the same module with another normalisation."""
    spec = classifier.preprocess or InputSpec(height=1, width=1, channels=len(stats[0]))
    return Classifier(
        classifier.model,
        classes=classifier.classes,
        preprocess=replace(spec, mean=stats[0], std=stats[1]),
        access=classifier.access,
        output=classifier.output,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
    )
