"""Null cases, in which there is nothing to find, built from a classifier and labelled images.

A statement of a method is evidence only if it is rare in null cases. Each case asks the method to explain an "error"
whose label is random, whose model has no knowledge, or whose image has no content. Source: Adebayo et al. 2018, arXiv
1810.03292 (randomised models and labels); noise and phase-scrambled images are ours (docs/guides/reproduce.md).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whywrong.core.checks import check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.models.classifier import Classifier

NULL_CASES = ("error, random label", "right image, random label", "permuted weights", "noise", "phase-scrambled")
_LABELS, _NOISE, _PHASES, _ORDER = 1, 2, 3, 4  # random streams of the keys


@dataclass(frozen=True, slots=True, eq=False)
class NullCase:
    """Images to explain as errors although there is nothing to find.

    Attributes:
        name: One of :data:`NULL_CASES`.
        classifier: The model; a copy with permuted weights in the case of that name.
        x: (N, C, H, W) float, in [0, 1].
        y: (N,) int64, the labelled class; never the predicted one.
    """

    name: str
    classifier: Classifier
    x: Tensor
    y: Tensor


def null_cases(classifier: Classifier, x: Tensor, y: Tensor, *, most: int = 200, seed: int = 0) -> Iterator[NullCase]:
    """Yield the null cases of a classifier, in the order of :data:`NULL_CASES`.

    A case without images is omitted: errors of a model that makes none, and permuted weights of a callable that is not
    a module.

    Args:
        classifier: Must grant scores; at least 3 classes.
        x: Images, (N, C, H, W), in [0, 1].
        y: True classes, (N,) int64.
        most: Images per case. If there are fewer errors than that, each gets several different random labels.
        seed: Seed of labels, weights and pixels.

    Raises:
        InputError: A shape, type or class breaks the contract above, or the model has fewer than 3 classes.
    """
    check_images(x)
    check_labels(y, len(x))
    predicted = classifier.predict(x)
    classes = classifier.num_classes
    check_labels(y, len(x), classes)
    if classes < 3:
        raise InputError(f"null cases need at least 3 classes, so that a random label can be wrong; got {classes}")
    right = predicted == y

    def relabelled(name: str, images: Tensor, *avoided: Tensor, cycles: bool = False) -> Iterator[NullCase]:
        rows = torch.arange(min(most, len(images) * (classes - len(avoided)) if cycles else len(images)))
        if len(rows):
            labels = random_labels(classes, *avoided, seed=seed)
            turn, row = rows // len(images), rows % len(images)
            yield NullCase(name, classifier, images[row.to(x.device)], labels[row, turn].to(x.device))

    yield from relabelled(NULL_CASES[0], x[~right], y[~right], predicted[~right], cycles=True)
    yield from relabelled(NULL_CASES[1], x[right], y[right])
    if classifier.module is not None:
        permuted = permuted_classifier(classifier, x, seed=seed)
        wrong = (permuted.predict(x) != y).nonzero().flatten()[:most]
        if len(wrong):
            yield NullCase(NULL_CASES[2], permuted, x[wrong], y[wrong])
    for name, made in (
        (NULL_CASES[3], keyed_uniform(row_keys(seed, min(most, len(x))), x.shape[1:], _NOISE).to(x)),
        (NULL_CASES[4], phase_scrambled(x[:most], seed=seed)),
    ):
        yield from relabelled(name, made, classifier.predict(made))


def random_labels(classes: int, *avoided: Tensor, seed: int = 0) -> Tensor:
    """Draw a random order of the classes for every row, avoided classes last.

    Args:
        classes: K.
        avoided: (N,) int64 each, classes that must not be drawn.
        seed: Seed of the order.

    Returns:
        (N, K) int64; the first column is a label drawn uniformly from the classes that are not avoided.
    """
    score = keyed_uniform(row_keys(seed, len(avoided[0])), (classes,), _LABELS)
    for column in avoided:
        score.scatter_(1, column.to(score.device)[:, None], -1.0)
    return score.argsort(dim=1, descending=True)


def phase_scrambled(x: Tensor, *, seed: int = 0) -> Tensor:
    """Give images random phases and keep their spectra.

    The result is textures without objects, clipped to [0, 1]. All channels of an image get the same phases, which
    preserves its colours.

    Args:
        x: (N, C, H, W), in [0, 1].
        seed: Seed of the phases.
    """
    keys = row_keys(seed, len(x))
    # The phases of a real, positive image are antisymmetric, which keeps the result real, and 0 for the mean.
    phases = torch.fft.fft2(keyed_uniform(keys, x.shape[2:], _PHASES).to(x)).angle()
    turned = torch.fft.fft2(x) * torch.polar(torch.ones_like(phases), phases)[:, None]
    return torch.fft.ifft2(turned).real.clamp(0, 1)


def permuted_classifier(classifier: Classifier, x: Tensor, *, seed: int = 0) -> Classifier:
    """Copy a classifier and permute the values within each of its parameters.

    Running statistics of batch normalisation are estimated again on ``x``, so that activations keep their scale.

    Args:
        classifier: Must wrap a module, which is not changed.
        x: (N, C, H, W), in [0, 1], the images that the statistics are estimated on.
        seed: Seed of the permutations.
    """
    if classifier.module is None:
        raise InputError("weights can be permuted only of a torch module, and this classifier is another callable")
    module = copy.deepcopy(classifier.module).eval()
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            draw = keyed_uniform(row_keys(seed + number, 1), (weight.numel(),), _ORDER)[0]
            weight.copy_(weight.flatten()[draw.argsort().to(weight.device)].view_as(weight))
    permuted = Classifier(
        module,
        classes=classifier.classes,
        preprocess=classifier.preprocess,
        access=classifier.access,
        output=classifier.output,
        batch_size=classifier.batch_size,
    )
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    if norms:
        with torch.no_grad():
            for images in x.split(classifier.batch_size):
                permuted.ask(images)
        module.eval()
    return permuted
