"""Find out once what kind of model a classifier is, and whether relevance can follow it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from whywrong.core.errors import ModelError, ModelRaisedError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.relevance.engine import Propagation
from whywrong.explain.relevance.rules import Rules
from whywrong.models.classifier import Classifier

_SAME = 1e-3  # of the largest logit; the same sums in another order
_FOUND: WeakKeyDictionary[Classifier, dict[tuple[int, ...], bool]] = WeakKeyDictionary()


def is_transformer(classifier: Classifier, input_size: tuple[int, int, int]) -> bool:
    """Return whether a model has attention or layer normalisation.

    Two passes over synthetic images, which are not counted, also compare the scores with and without the rules.

    Raises:
        ModelError: The model returns no logits, has a step without a rule, or computes other scores with the rules.
    """
    if classifier.output in ("probabilities", "binary-probability"):
        raise ModelError(
            "relevance starts at logits, and this model returns probabilities; give it without its last softmax or "
            "sigmoid"
        )
    found = _FOUND.setdefault(classifier, {})
    if input_size not in found:
        before = classifier.forwards
        try:
            found[input_size] = _probe(classifier, input_size)
        finally:
            classifier.forwards = before
    return found[input_size]


def _probe(classifier: Classifier, input_size: tuple[int, int, int]) -> bool:
    x = keyed_uniform(row_keys(0, 2, classifier.device), input_size)
    with classifier, torch.inference_mode(False), torch.no_grad():
        plain = classifier.ask(x)
        try:
            made = Propagation(classifier, x, Rules())
        except ModelRaisedError as error:
            if isinstance(error.__cause__, NotImplementedError):
                raise ModelError(str(error.__cause__)) from error
            raise
    if not bool(((made.logits - plain).abs() <= _SAME * plain.abs().amax().clamp_min(1e-3)).all()):
        raise ModelError(
            "the model computes other scores if its functions return new tensors: one of them writes into its input "
            "and its result is not used; relevance cannot follow it"
        )
    return made.transformer
