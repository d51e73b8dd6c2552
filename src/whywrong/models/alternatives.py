"""Other ways to prepare the images: does one of them make clearly more of them right?

They are compared with the plain accuracy on the same images by an exact sign test, so that a chance difference on a
small batch is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from whywrong.core.errors import ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.models.classifier import Classifier
from whywrong.models.findings import Finding
from whywrong.models.labels_check import gains

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def check_alternatives(classifier: Classifier, x: Tensor, y: Tensor, predicted: Tensor) -> Iterator[Finding]:
    """Other preparations of the same images that make clearly more of them right."""
    spec = classifier.preprocess
    for name, text, change, changed_spec in _alternatives(x, spec is not None and spec.mean is not None):
        other = classifier if changed_spec is None else _with_spec(classifier, changed_spec)
        before = classifier.forwards
        try:
            guess = other.predict(change(x))
        except ModelError:
            continue  # an alternative that the model refuses explains nothing
        if other is not classifier:
            classifier.forwards = before + len(x)
        if gains(guess == y, predicted == y, classifier.num_classes):
            right, plain = int((guess == y).sum()), int((predicted == y).sum())
            yield Finding("warn", name, f"{text}: {right} instead of {plain} of {len(x)} images would be right")
            return


Alternative = tuple[str, str, Callable[[Tensor], Tensor], tuple[tuple[float, ...], tuple[float, ...]] | None]


def _alternatives(x: Tensor, normalised: bool) -> Iterator[Alternative]:
    channels = x.shape[1]
    as_is, off = ((0.0,) * channels, (1.0,) * channels), (0.0,) * channels
    if normalised:
        yield (
            "normalised twice",
            "the model seems to normalise by itself; leave out mean and std",
            lambda v: v,
            as_is,
        )
    if channels == 3:
        yield "channel order", "the model seems to take channels in the order BGR", lambda v: v.flip(1), None
        if not normalised:
            yield (
                "not normalised",
                "the model seems to expect normalised images; pass mean and std, ImageNet's for example",
                lambda v: v,
                IMAGENET,
            )
    yield (
        "range 0 to 255",
        "the model seems to expect pixels from 0 to 255; pass mean 0 and std 1/255",
        lambda v: v,
        (off, (1 / 255,) * channels),
    )


def _with_spec(classifier: Classifier, stats: tuple[tuple[float, ...], tuple[float, ...]]) -> Classifier:
    """The same module under another normalisation."""
    spec = classifier.preprocess or InputSpec(height=1, width=1, channels=len(stats[0]))
    return Classifier(
        classifier.model,
        classes=classifier.classes,
        preprocess=replace(spec, mean=stats[0], std=stats[1]),
        access=classifier.access,
        output=classifier.output,
        device=classifier.device,
        batch_size=classifier.batch_size,
    )
