"""Fine-tune a copy of a classifier, and move its weights only as far as helps.

Statistics of batch normalisation and dropout stay as they are in use. Source: ours, docs/guides/repair.md; moving the
weights a part of the way, Wortsman et al. 2022, arXiv 2109.01903.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from whywrong.models.classifier import Classifier
from whywrong.models.copies import copy_of, descend
from whywrong.verdicts.repair.config import RepairConfig

SHARES = (0.25, 0.5, 0.75, 1.0)
"""How far the weights may move from the old to the trained ones."""

Weights = Mapping[str, Tensor]


def train(
    classifier: Classifier, data: Iterable[tuple[Tensor, Tensor, Tensor]], config: RepairConfig
) -> tuple[Classifier, Weights]:
    """Train a copy on batches.

    Args:
        classifier: Must wrap a plain module; it is never changed.
        data: Images, classes, and which images keep the predictions of the model as it was.
        config: Settings.

    Returns:
        The copy, and its weights before training.

    Raises:
        AccessError, ModelError: The module cannot be copied.
        NonFiniteError: The loss is no longer finite.
    """
    trained = copy_of(classifier)
    module = trained.module
    assert module is not None
    before = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / config.steps)
    with torch.inference_mode(False), torch.enable_grad():
        for x, y, keeps in data:
            x, y, keeps = (part.to(trained.device) for part in (x, y, keeps))
            old = classifier.logits(x[keeps]).detach().clone() if config.pull and bool(keeps.any()) else None
            logits = trained.ask(x)
            loss = nn.functional.cross_entropy(logits, y)
            if old is not None:
                pair = logits[keeps].log_softmax(1), old.log_softmax(1)
                loss = loss + config.pull * nn.functional.kl_div(*pair, reduction="batchmean", log_target=True)
            descend(trained, optimizer, loss, len(x))
            schedule.step()
    return trained, before


def move(trained: Classifier, before: Weights, after: Weights, share: float) -> None:
    """Set the weights of a copy between those before and after training."""
    assert trained.module is not None
    mixed = {
        name: torch.lerp(value, after[name], share) if value.is_floating_point() else value
        for name, value in before.items()
    }
    trained.module.load_state_dict(mixed)


def best_share(trained: Classifier, before: Weights, x: Tensor, y: Tensor, old_right: int) -> float:
    """Choose how far the weights move by the images that are right, the shortest way of equal ones.

    Args:
        trained: A trained copy; afterwards it has the chosen weights.
        before: Weights before training.
        x: (N, C, H, W) uint8 images that were not trained on.
        y: (N,) int64 labels.
        old_right: How many of them were right before.

    Returns:
        One of :data:`SHARES`, or 0 if none gives more right answers than before.
    """
    assert trained.module is not None
    after = copy.deepcopy(trained.module.state_dict())
    best, share = old_right, 0.0
    for one in SHARES if len(y) else ():
        move(trained, before, after, one)
        right = int((predictions(trained, x) == y).sum())
        if right > best:
            best, share = right, one
    move(trained, before, after, share)
    return share


def predictions(classifier: Classifier, x: Tensor) -> Tensor:
    """Predict uint8 images (N, C, H, W) in batches; (N,) int64 on the CPU."""
    parts = [classifier.predict(part.to(classifier.device).float() / 255) for part in x.split(classifier.batch_size)]
    return torch.cat(parts).cpu() if parts else torch.zeros(0, dtype=torch.int64)
