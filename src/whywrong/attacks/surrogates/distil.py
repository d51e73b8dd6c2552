"""Distil a surrogate from the answers of a black box, and count every query.

Source: Papernot et al. 2017, arXiv 1602.02697, section 4 (substitute training with Jacobian augmentation); here the
augmentation walks around the misclassified images, where directions are needed, and toward and away from their true
class in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from whywrong.attacks.surrogates.answers import TrainingAnswers, ask_answers
from whywrong.attacks.surrogates.directions import DirectionConfig, directions
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.attacks.surrogates.train import DistilConfig, Trained, train
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.models.classifier import Classifier, need_classifier
from whywrong.models.surrogates.files import SurrogateCard


def distil(
    classifier: Classifier,
    x: Tensor,
    *,
    errors: tuple[Tensor, Tensor] | None = None,
    config: DistilConfig | None = None,
    progress: Callable[[int], None] | None = None,
) -> Surrogate:
    """Train a surrogate on what a black box answers about unlabelled images.

    Args:
        classifier: The black box; predictions suffice, and scores are used if it grants them.
        x: Images to ask about, (N, C, H, W), in [0, 1], at least 20; one query each.
        errors: Misclassified images (E, C, H, W) and their true classes (E,), around which ``config.rounds`` rounds of
            Jacobian augmentation ask one more image each.
        config: Settings.
        progress: Called after every epoch with the epochs that are done, of ``config.epochs`` for each network and
            round.

    Raises:
        InputError: There are too few images, or the number of classes is not known.

    Example:
        >>> import torch, whywrong as ww
        >>> black_box = ww.load_classifier("planted:cnn", access="scores")
        >>> config = ww.DistilConfig(nets=("plain",), epochs=1)
        >>> ww.distil(black_box, torch.rand(40, 3, 64, 64), config=config).queries
        40
    """
    config = config or DistilConfig()
    need_classifier(classifier)
    if config.rounds and errors is None:
        raise InputError("rounds of Jacobian augmentation need errors=(images, true classes)")
    with classifier:
        answers, asked = ask_answers(classifier, x, labels_only=config.labels_only), len(x)
        trained = train(answers, config, progress=progress)
        for number in range(config.rounds):
            assert errors is not None
            moved = _moved(trained, *errors, number, config)
            answers = TrainingAnswers.join([answers, ask_answers(classifier, moved, labels_only=config.labels_only)])
            asked += len(moved)
            start = (number + 1) * len(config.nets) * config.epochs
            told = None if progress is None else lambda done, start=start: progress(start + done)
            trained = train(answers, config, begin=trained.module, progress=told)
    return _surrogate(classifier, trained, answers, asked, config)


def refine(
    surrogate: Surrogate, answers: TrainingAnswers, *, asked: int = 0, config: DistilConfig | None = None
) -> Surrogate:
    """Train a surrogate further on answers that arrived later, such as those of a search.

    Args:
        surrogate: Result of :func:`distil`; it is left as it is.
        answers: All answers to train on; join the earlier ones to keep what they taught.
        asked: Queries to add to those of the surrogate.
        config: Settings; the architectures must be those of the surrogate.

    Raises:
        InputError: The surrogate was not distilled, or has other architectures.
    """
    if surrogate.card is None or surrogate.module is None:
        raise InputError("only a surrogate that was distilled can be refined")
    config = config or DistilConfig(nets=surrogate.card.nets, epochs=10)
    if config.nets != surrogate.card.nets:
        raise InputError(f"nets must be those of the surrogate, {', '.join(surrogate.card.nets)}, got {config.nets}")
    trained = train(answers, config, begin=surrogate.module)
    card = replace(
        surrogate.card, queries=surrogate.queries + asked, agreement=trained.agreement, held_out=trained.held_out
    )
    return Surrogate.distilled(trained.module, card)


def _moved(trained: Trained, x: Tensor, y: Tensor, number: int, config: DistilConfig) -> Tensor:
    """Move each error by ``config.step`` along the surrogate's direction, toward and away from ``y`` in turn."""
    model = Classifier(trained.module)
    keys = row_keys(config.seed + number, len(x), x.device)
    with model:
        way = directions([model], x, y, keys, None, DirectionConfig(steps=1))
    sign = 1 if number % 2 == 0 else -1
    return (x + sign * config.step * way).clamp(0, 1)


def _surrogate(
    classifier: Classifier, trained: Trained, answers: TrainingAnswers, asked: int, config: DistilConfig
) -> Surrogate:
    channels, height, width = answers.x.shape[1:]
    names = classifier.classes.names if classifier.classes is not None else map(str, range(answers.classes))
    card = SurrogateCard(
        nets=config.nets,
        shape=(channels, height, width),
        classes=tuple(names),
        access="labels" if answers.log_scores is None else "scores",
        queries=asked,
        agreement=trained.agreement,
        held_out=trained.held_out,
        black_box=classifier.identity,
        seed=config.seed,
    )
    return Surrogate.distilled(trained.module, card)
