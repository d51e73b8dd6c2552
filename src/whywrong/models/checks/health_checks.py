"""Checks of the health probe that need no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.checks import bad_rows
from whywrong.core.errors import NotDifferentiableError
from whywrong.core.margins import error_margin
from whywrong.core.registry import methods
from whywrong.core.statistics import wilson
from whywrong.models.checks.findings import Finding
from whywrong.models.checks.labels_check import beats_chance
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_step import LastStep, step_behind

TOLERANCE = 1e-3  # relative to the spread of the logits; rounding in other batch sizes stays near 1e-5
LEAST_PROBABILITIES = 8  # images with numbers from 0 to 1 before they are taken for probabilities
LEAST_FEATURES = 32  # numbers; no backbone has fewer, and small nets may well pool straight into their classes
NONFINITE_SHARE = 0.05
NONFINITE_LEAST = 20  # minimum number of images for a meaningful share


def check_mode(classifier: Classifier) -> Iterator[Finding]:
    if classifier.left_in_train_mode:
        yield Finding(
            "warn",
            "train mode",
            "the model was left in training mode; it is used in evaluation mode and put back after",
        )


def check_range(x: Tensor) -> Iterator[Finding]:
    bad = bad_rows(x)
    if not len(x) or not bool(bad.all()):
        if len(x) and float(x[~bad].max()) <= 1 / 255 + 1e-6 and float(x.std()) > 0:
            yield Finding("stop", "range", "no pixel is above 1/255: the images were divided by 255 twice")
        return
    low, high = float(x.min()), float(x.max())
    hint = (
        "divide by 255"
        if low >= 0 and high > 1.5
        else "give images before normalisation, the classifier normalises them"
        if low < 0
        else "they must be finite"
    )
    yield Finding("stop", "range", f"pixels must be in [0, 1], they are in [{low:.3g}, {high:.3g}]: {hint}")


def check_faults(faults: dict[int, str], images: int) -> Iterator[Finding]:
    if not faults:
        return
    row, reason = next(iter(sorted(faults.items())))
    stop = len(faults) == images or (images >= NONFINITE_LEAST and len(faults) > NONFINITE_SHARE * images)
    yield Finding(
        "stop" if stop else "warn",
        "faulty images",
        f"{len(faults)} of {images} images get no valid answer; row {row}: {reason}",
    )


def check_scores(classifier: Classifier, x: Tensor, logits: Tensor) -> Iterator[Finding]:
    if not len(x):
        return
    raw_logits = classifier.output not in ("probabilities", "binary", "binary-probability")
    sums = logits.sum(1)
    if raw_logits and bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-2).all()):
        yield Finding(
            "stop",
            "probabilities",
            "the model returns probabilities where logits are due: pass output=probabilities (their logarithm is "
            "taken) or leave out the softmax",
        )
    elif raw_logits and bool(((logits >= 0) & (logits <= 1)).all()) and _last_step(classifier, x) == "sigmoid":
        yield Finding(
            "warn",
            "sigmoids",
            "each class has a sigmoid of its own, as for images with several labels: predictions hold, but confidences "
            "and margins are squeezed; return the scores before the sigmoid",
        )
    yield from _check_one_score(classifier, x, logits)
    if len(x) > 1 and float((logits - logits[:1]).abs().max()) == 0 and float((x - x[:1]).abs().max()) > 0:
        yield Finding("warn", "constant", "the model gives the same scores to all images: it does not look at them")
    yield from check_repeats(classifier, x, logits, lambda c, v: c.logits(v))
    yield from _check_batch(classifier, x, logits)


def _check_one_score(classifier: Classifier, x: Tensor, logits: Tensor) -> Iterator[Finding]:
    """Warn if a probability seems to be read as a logit.

    A probability is never negative, so every image would be predicted as class 1.
    """
    if classifier.output != "binary" or len(x) < LEAST_PROBABILITIES:
        return
    step = _last_step(classifier, x)
    score = logits[:, 1]
    inside = bool((score >= 0).all()) and bool((score <= 1).all()) and float(score.max() - score.min()) > 0
    if inside and step != "linear":
        yield Finding(
            "stop",
            "probability",
            f"output=binary expects a logit, but the model returned numbers from 0 to 1 on all of {len(x)} images, so "
            "every image would get class 1: pass --output binary-probability",
        )


def check_head(classifier: Classifier, x: Tensor, right: Tensor | None) -> Iterator[Finding]:
    """Warn if the outputs look like features of a backbone.

    Args:
        classifier: If its classes have no names, its outputs may be features that still need a linear layer.
        x: Images, (B, C, H, W), in [0, 1].
        right: (B,) bool, correctly classified images; None without labels.
    """
    classes = classifier.classes
    if classifier.module is None or classes is None or classes.named or classifier.output == "labels" or not len(x):
        return
    if right is not None and beats_chance(right, len(classes)):
        return
    if len(classes) < LEAST_FEATURES or _last_step(classifier, x) != "features":
        return
    yield Finding(
        "stop" if right is not None else "warn",
        "features",
        f"the {len(classes)} numbers that the model returns come straight from pooling, a normalisation or an "
        "activation, and no class is named: they look like the features of a backbone. Give the model with its "
        "classifier; if they are classes, name them with --classes",
    )


def _last_step(classifier: Classifier, x: Tensor) -> LastStep:
    if classifier.access < Access.GRADIENTS:
        return "unknown"
    with classifier, torch.inference_mode(False), torch.enable_grad():
        return step_behind(classifier.ask(x[:1].detach().clone().requires_grad_()))


def labels_as_scores(classifier: Classifier, x: Tensor) -> Tensor:
    return classifier.predict(x)[:, None].float()


def _differs(a: Tensor, b: Tensor) -> Tensor:
    """Return the rows (B,) bool that differ by more than rounding, relative to the spread of the scores."""
    scale = (a.amax(1) - a.amin(1)).clamp_min(1e-6) if a.shape[1] > 1 else torch.ones_like(a[:, 0])
    return ~((a - b).abs().amax(1) <= TOLERANCE * scale)


def check_repeats(
    classifier: Classifier, x: Tensor, first: Tensor, ask: Callable[[Classifier, Tensor], Tensor]
) -> Iterator[Finding]:
    again = ask(classifier, x)
    changed = _differs(first, again)
    if not bool(changed.any()):
        return
    flips = int((first.argmax(1) != again.argmax(1)).sum()) if first.shape[1] > 1 else int(changed.sum())
    with torch.random.fork_rng(devices=[classifier.device] if classifier.device.type == "cuda" else []):
        seeded = []
        for _ in range(2):
            torch.manual_seed(0)
            seeded.append(ask(classifier, x))
    share = wilson(flips, len(x))
    seen = (
        f"the same {len(x)} images asked twice: {int(changed.sum())} get other scores, {flips} another class "
        f"({100 * share.value:.1f} %, 95 % interval {100 * share.low:.1f} to {100 * share.high:.1f} %)"
    )
    if bool(_differs(*seeded).any()):
        yield Finding("warn", "stateful", f"{seen}. The model keeps state between calls, or draws numbers of its own")
    else:
        told = "The model is randomised (dropout or noise in evaluation mode); let it average several passes"
        yield Finding("warn", "random", f"{seen}. {told}")


def _check_batch(classifier: Classifier, x: Tensor, together: Tensor) -> Iterator[Finding]:
    rows = min(len(x), 4)
    if len(x) < 2:
        return
    # An image that fails alone gets NaN, and NaN differs from everything.
    alone = torch.cat([classifier.logits_or_faults(x[row : row + 1])[0] for row in range(rows)])
    changed = int(_differs(together[:rows], alone).sum())
    names = [name for name, part in classifier.module.named_modules() if _uses_batch(part)] if classifier.module else []
    again = classifier.logits(x)[:rows]
    if changed and not bool(_differs(together[:rows], again).any()):  # otherwise it is random, as reported
        why = f"; {names[0]} normalises by the batch, as it has no running statistics" if names else ""
        yield Finding(
            "warn", "batch dependence", f"{changed} of {rows} images get other scores alone than in a batch{why}"
        )
    if classifier.largest_batch is not None and classifier.largest_batch < min(len(x), 64):
        yield Finding("warn", "small batch", f"the model takes at most {classifier.largest_batch} images at once")


def _uses_batch(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None


def check_gradient(classifier: Classifier, x: Tensor) -> tuple[list[Finding], Access]:
    """Check the gradient with respect to the pixels.

    Returns findings, and the access that is still usable.
    """
    if classifier.access < Access.GRADIENTS or not len(x):
        return [], classifier.access
    with torch.no_grad():
        y = classifier.logits(x).argmin(1)  # a wrong class: its margin moves unless everything is flat
    try:
        _, _, grad = classifier.gradient(x, lambda logits, rows: error_margin(logits, y[rows]))
    except NotDifferentiableError as error:
        return [Finding("warn", "not differentiable", _offer(str(error)))], Access.SCORES
    flat = grad.flatten(1)
    if not bool(flat.isfinite().all()):
        return [Finding("warn", "gradient", "the gradient holds NaN or infinity on some images")], classifier.access
    zero = int((flat == 0).all(1).sum())
    if zero:
        text = (
            f"the gradient is zero everywhere on {zero} of {len(x)} images: it is masked (saturated or quantised "
            "layers) and methods that follow it cannot be trusted"
        )
        return [Finding("warn", "zero gradient", text)], classifier.access
    return [], classifier.access


def _offer(reason: str) -> str:
    refused = [name for name, method in methods().items() if method.access >= Access.GRADIENTS]
    offered = [name for name, method in methods().items() if method.access < Access.GRADIENTS]
    rest = f"use {', '.join(offered)}" if offered else "predictions, confusions and black-box methods remain"
    return f"{reason.split(';')[0]}. Refused: {', '.join(refused)}; {rest}"
